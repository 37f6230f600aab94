"""Is this checkout fit to be released? `make release-check` runs everything, `--quick` what takes seconds.

    python -m tools.release_check [--quick]

One line a check: ok, failed, or not checked where something could not be known. Ends with 1 if any failed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tools.dependencies import check_imports, check_vulnerabilities
from tools.distributions import build, check_contents, check_installed
from tools.licences import check_licences
from tools.outcome import FAILED, NOT_CHECKED, OK, REPO, Outcome
from tools.papers import check_papers
from tools.version import check_version


def quick(repo: Path) -> Iterator[Outcome]:
    """What needs neither a build nor the network."""
    yield check_version(repo)
    yield check_papers(repo)
    yield check_imports(repo)
    yield check_licences(repo)


def slow(repo: Path, folder: Path) -> Iterator[Outcome]:
    """Vulnerabilities, the build, and the installation in a clean environment (several GB while it runs)."""
    yield check_vulnerabilities(repo)
    out = repo / "dist"
    shutil.rmtree(out, ignore_errors=True)
    try:
        built = build(repo, out, folder)
    except subprocess.CalledProcessError as error:
        yield Outcome("python -m build", FAILED, tuple((error.stdout + error.stderr).splitlines()[-20:]))
        return
    yield check_contents(repo, built)
    yield from check_installed(repo, built, folder)


def main() -> None:
    """Print each outcome as soon as it is there, and the sum of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="leave out the network, the build and the installation"
    )
    options = parser.parse_args()
    start = time.monotonic()
    states: list[str] = []
    for each in quick(REPO):
        _tell(each, states)
    if not options.quick:
        with tempfile.TemporaryDirectory() as folder:
            for each in slow(REPO, Path(folder)):
                _tell(each, states)
    counts = ", ".join(f"{states.count(state)} {state}" for state in (OK, FAILED, NOT_CHECKED))
    print(f"release check: {counts}; {time.monotonic() - start:.0f} s")
    raise SystemExit(FAILED in states)


def _tell(each: Outcome, states: list[str]) -> None:
    print(each, flush=True)
    states.append(each.state)


if __name__ == "__main__":
    main()
