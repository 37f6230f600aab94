"""The distributions: what is in them, and whether they work where nothing of this checkout is."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.outcome import FAILED, Outcome, outcome
from tools.version import current, tracked

LINKED = ("steps", "pipelines")
KINDS = (".css", ".html", ".js", ".json", ".py", ".yaml")
# Extras for those who work on camgate: nothing of them comes with it.
DEVELOPMENT = ("bench", "dev", "docs", "release")


@dataclass(frozen=True)
class Built:
    """What `python -m build` made.

    Attributes:
        sdist: the source distribution.
        wheel: made from the sdist, as pip does it where there is no wheel.
        direct: made from the files of the checkout.
    """

    sdist: Path
    wheel: Path
    direct: Path


def build(repo: Path, out: Path, beside: Path) -> Built:
    """Build from a copy of the files that git knows, so that nothing else gets in, nor is anything left.

    Args:
        repo: the checkout.
        out: where what is to be published goes.
        beside: where the wheel goes that is only compared.

    Raises:
        subprocess.CalledProcessError: with the builder's output.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in tracked(repo):
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repo / name, target, follow_symlinks=False)
        command = [sys.executable, "-m", "build", folder, "--outdir"]
        for more in ([str(out)], [str(beside), "--wheel"]):
            subprocess.run([*command, *more], check=True, capture_output=True, text=True)
    return Built(next(out.glob("*.tar.gz")), next(out.glob("*.whl")), next(beside.glob("*.whl")))


def check_contents(repo: Path, built: Built) -> Outcome:
    """Code, steps, pipelines and data files are in sdist and wheels, and nothing else is in the wheels."""
    version = str(current(repo))
    wanted = packaged(tracked(repo))
    sdist, wheel, direct = sdist_files(built.sdist), wheel_files(built.wheel), wheel_files(built.direct)
    in_sdist = {name.removeprefix("src/"): digest for name, digest in sdist.items()}
    findings = [*missing("sdist", wanted, in_sdist), *missing("wheel", wanted, wheel), *strays(wheel)]
    findings += [
        f"the wheel from the sdist and that from the checkout differ: {name}"
        for name in differing(wheel, direct)
    ]
    findings += [
        f"{each.name}: not of version {version}"
        for each in vars(built).values()
        if f"-{version}" not in each.name
    ]
    findings += [
        f"the sdist lacks {name}" for name in ("LICENSE", "README.md", "pyproject.toml") if name not in sdist
    ]
    kinds = ", ".join(f"{sum(name.endswith(kind) for name in wheel)} {kind[1:]}" for kind in KINDS)
    sizes = (
        f"{built.sdist.stat().st_size / 1000:.0f} kB sdist, {built.wheel.stat().st_size / 1000:.0f} kB wheel"
    )
    return outcome("sdist and wheels hold everything", findings, [f"{kinds}; {sizes}"])


def packaged(names: Iterable[str]) -> set[str]:
    """Where the tracked files of the package lie in a wheel; `steps/` and `pipelines/` by their links."""
    links = {f"src/camgate/{name}" for name in LINKED}
    wanted = {
        name.removeprefix("src/") for name in names if name.startswith("src/camgate/") and name not in links
    }
    return wanted | {f"camgate/{name}" for name in names if name.split("/")[0] in LINKED}


def missing(where: str, wanted: set[str], held: Mapping[str, str]) -> Iterator[str]:
    """What a distribution lacks; a kind of file of which it has none is a mistake of this check."""
    yield from (f"the {where} lacks {name}" for name in sorted(wanted - held.keys()))
    for kind in KINDS:
        if not any(name.endswith(kind) for name in held):
            yield f"the {where} has no {kind} file at all"


def strays(held: Iterable[str]) -> Iterator[str]:
    """What is neither the package nor its metadata."""
    for name in sorted(held):
        if name.split("/")[0] != "camgate" and ".dist-info/" not in name:
            yield f"the wheel installs {name}, outside of the package"


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Files that only one has, or that have another content; metadata are made anew each time."""
    names = sorted(one.keys() | other.keys())
    return [name for name in names if ".dist-info/" not in name and one.get(name) != other.get(name)]


def wheel_files(path: Path) -> dict[str, str]:
    """Path in the wheel -> SHA-256."""
    with zipfile.ZipFile(path) as archive:
        return {name: _digest(archive.read(name)) for name in archive.namelist() if not name.endswith("/")}


def sdist_files(path: Path) -> dict[str, str]:
    """Path below the sdist's folder -> SHA-256."""
    with tarfile.open(path) as archive:
        read = ((each.name, archive.extractfile(each)) for each in archive.getmembers())
        return {
            name.partition("/")[2]: _digest(content.read()) for name, content in read if content is not None
        }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_installed(repo: Path, built: Built, folder: Path) -> Iterator[Outcome]:
    """In a clean virtual environment: sdist, then wheel, each with the smoke test from another folder."""
    environment = folder / "venv"
    venv.create(environment, with_pip=True, clear=True)
    python = str(environment / "bin" / "python")
    constraints = ["--constraint", str(repo / "constraints.txt")]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    smoke = [python, "-I", str(repo / "tools" / "smoke.py"), str(current(repo))]
    yield _ran("the sdist installs in a clean environment", [*pip, *constraints, str(built.sdist)], folder)
    yield _ran("the sdist works from another folder", smoke, folder)
    again = [*pip, "--force-reinstall", "--no-deps", str(built.wheel)]
    yield _ran("the wheel installs", again, folder)
    yield _ran("the wheel works from another folder", smoke, folder)
    yield _ran("what is installed fits together", [python, "-m", "pip", "check"], folder)
    extras = ",".join(sorted(user_extras(repo)))
    dry = [*pip, "--dry-run", *constraints, f"camgate[{extras}] @ {built.wheel.as_uri()}"]
    yield _ran(f"the extras {extras.replace(',', ', ')} resolve", dry, folder)


def user_extras(repo: Path) -> dict[str, list[str]]:
    """The extras that are for users, with what they ask for."""
    project = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        name: asked for name, asked in project["optional-dependencies"].items() if name not in DEVELOPMENT
    }


def _ran(name: str, command: list[str], folder: Path) -> Outcome:
    """Run a command in an empty folder, without what this environment tells Python."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with tempfile.TemporaryDirectory(dir=folder) as elsewhere:
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode == 0:
        return outcome(name, [], done.stdout.strip().splitlines()[-1:])
    return Outcome(name, FAILED, tuple((done.stdout + done.stderr).strip().splitlines()[-20:]))
