"""Build `Dockerfile` in a plain Debian root and use the result, without a container engine.

    sudo python docker/try_build.py --build-arg TORCH=cuda

Runs the file's own instructions (recipe.py reads them) by debootstrap, chroot and private mounts, and at the
end the health check and the entrypoint as the image's user. Needs root, debootstrap (Debian: `apt-get install
debootstrap`) and some 20 GB in build/. The roots take over this machine's settings for apt and pip, so that
packages come from where they come from here; a folder that these settings name is shown to them by `--bind`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipe import Stage, Step, context_files, read_recipe

REPO = Path(__file__).resolve().parents[1]
ROOTS = REPO / "build" / "clean-root"
SUITES = {"debian:12-slim": "bookworm"}
BORROWED = (
    "etc/resolv.conf",
    "etc/hosts",
    "etc/apt/apt.conf.d",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/debian.sources",
    "etc/pip.conf",
    "etc/xdg/pip",
)
"""This machine's settings for apt and pip."""
CERTIFICATES = "/etc/machine-certificates.crt"
"""In the roots: those that pip trusts here. Under a name of their own, for apt installs others."""

# Mounts are seen by this command alone, and end with it.
_INSIDE = """
root=$1; shift
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev/shm"
while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --bind -o ro "$1" "$root$1"; shift; done
shift
exec chroot "$@"
"""


def main() -> None:
    """Build all stages, check the last, and tell how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--bind", action="append", default=[], metavar="FOLDER", help="show it to the roots")
    parser.add_argument("--demo", action="store_true", help="run the whole demo in the result (minutes)")
    parser.add_argument("--keep", action="store_true", help="leave the roots in build/clean-root")
    asked = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        sys.exit("this needs root, and debootstrap (Debian: apt-get install debootstrap)")
    stages = read_recipe(dict(item.split("=", 1) for item in asked.build_arg))
    try:
        roots: dict[str, Path] = {}
        for number, stage in enumerate(stages):
            root = ROOTS / f"stage-{number}"
            _build(stage, root, roots, asked.bind)
            roots[stage.name or str(number)] = root
        _check(stages[-1], root, asked.demo)
        _sizes(root)
    finally:
        if not asked.keep:
            for number in range(len(stages)):
                shutil.rmtree(ROOTS / f"stage-{number}", ignore_errors=True)


def _build(stage: Stage, root: Path, roots: Mapping[str, Path], bind: Sequence[str]) -> None:
    print(f"\n=== FROM {stage.base}{f' AS {stage.name}' if stage.name else ''}", flush=True)
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "--archive", roots.get(stage.base) or _base(stage.base), root], check=True)
    for step in stage.steps:
        began = time.monotonic()
        print(f"{step.kind} {' '.join(' '.join(step.words).split())}", flush=True)
        if step.kind == "RUN":
            settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
            if _inside(root, CERTIFICATES).is_file():
                settings["PIP_CERT"] = CERTIFICATES
            _run(
                root,
                ["/bin/sh", "-c", *step.words],
                {"HOME": "/root", **settings, **step.environment},
                step.workdir,
                bind=bind,
            )
        elif step.kind == "WORKDIR":
            _inside(root, step.workdir).mkdir(parents=True, exist_ok=True)
        else:
            _copy(step, root, roots)
        print(f"    {time.monotonic() - began:.0f} s", flush=True)


def _base(image: str) -> Path:
    """A fresh Debian root of the image's release, kept between runs."""
    if image not in SUITES:
        sys.exit(f"base image {image}: this script can make {', '.join(SUITES)} only")
    root = ROOTS / SUITES[image]
    if not (root / "etc" / "debian_version").is_file():
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run(["debootstrap", "--variant=minbase", SUITES[image], root], check=True)
        print(f"base: {_bytes(root):,} bytes", flush=True)
        for name in BORROWED:
            source, target = Path("/") / name, root / name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        trusted = Path(os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"))
        if trusted.is_file():
            shutil.copyfile(trusted, _inside(root, CERTIFICATES))
        if (root / "etc/apt/sources.list.d/debian.sources").is_file():
            (root / "etc/apt/sources.list").unlink(missing_ok=True)  # debootstrap's, the same again
    return root


def _run(
    root: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    workdir: str,
    *,
    user: str = "0:0",
    bind: Sequence[str] = (),
    expected: int = 0,
) -> str:
    """Run a command in the root; gives back what it printed, if anybody but root runs it."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    done = subprocess.run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
            *("sh", "-euc", _INSIDE, "sh", root, *bind, "--", f"--userspec={user}", root),
            *(
                "/usr/bin/env",
                "-i",
                *settings,
                "sh",
                "-c",
                'cd "$1"; shift; exec "$@"',
                "sh",
                workdir,
                *command,
            ),
        ],
        stdout=None if user == "0:0" else subprocess.PIPE,
        text=True,
    )
    if done.returncode != expected:
        sys.exit(f"exit code {done.returncode}, not {expected}: {' '.join(command)}\n{done.stdout or ''}")
    return done.stdout or ""


def _copy(step: Step, root: Path, roots: Mapping[str, Path]) -> None:
    *sources, last = step.words
    target = os.path.join(step.workdir, last)
    if step.source is not None:
        for source in sources:
            destination = _inside(root, target)
            destination.parent.mkdir(parents=True, exist_ok=True)
            # Hard links: the other root is not changed any more.
            subprocess.run(
                ["cp", "--archive", "--link", _inside(roots[step.source], source), destination], check=True
            )
        return
    context = context_files(REPO)
    for source in sources:
        below = [path for path in context if path == Path(source) or Path(source) in path.parents]
        if not below:
            sys.exit(f"COPY {source}: nothing of that name is in the build context (.dockerignore)")
        for path in below:
            inner = (
                path.name if path == Path(source) and last.endswith("/") else str(path.relative_to(source))
            )
            destination = _inside(root, os.path.normpath(os.path.join(target, inner)))
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / path, destination, follow_symlinks=False)


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _check(stage: Stage, root: Path, demo: bool) -> None:
    """What somebody would do with the image, as its user."""
    print(f"\n=== as user {stage.user}", flush=True)
    entries = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
    home = next(entry[5] for entry in entries if entry[2] == stage.user.partition(":")[0])
    environment = {**stage.environment, "HOME": home}

    def run(*command: str, expected: int = 0) -> None:
        print(f"$ {' '.join(command)}", flush=True)
        said = _run(root, command, environment, stage.workdir, user=stage.user, expected=expected)
        print("    " + "\n    ".join(said.strip().splitlines()[-12:]), flush=True)

    run(*stage.healthcheck)
    run(*stage.entrypoint, *stage.command)
    run("python", "-c", "import torch; print('torch', torch.__version__, torch.version.cuda)")
    run("python", "-c", "import camgate.pipelines; print(camgate.__file__)")
    run("mlflow", "--version")
    run("touch", "/opt/camgate/changed", expected=1)  # the code is not the user's
    run("touch", "mine")
    if demo:
        run(*stage.entrypoint, "demo", "--workdir", "demo")


def _sizes(root: Path) -> None:
    environment = root / "opt" / "camgate"
    everything, installed = _bytes(root), _bytes(environment)
    print(f"\n{everything:,} bytes: /opt/camgate {installed:,}, base and Python {everything - installed:,}")


def _bytes(folder: Path) -> int:
    """All files, a hard-linked one once, as `du` counts them."""
    out = subprocess.run(
        ["du", "--summarize", "--bytes", "--one-file-system", folder],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(out.stdout.split()[0])


if __name__ == "__main__":
    main()
