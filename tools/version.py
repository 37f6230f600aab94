"""The version: it stands in one place, and the changelog has it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.version import Version

from tools.outcome import Outcome, outcome

PLACE = "src/camgate/_version.py"
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_HEADING = re.compile(r"^## (\S+)(.*)$", re.MULTILINE)


def current(repo: Path) -> Version:
    """The version in the one place that holds it."""
    found = _VERSION.findall((repo / PLACE).read_text(encoding="utf-8"))
    if len(found) != 1:
        raise SystemExit(f'{PLACE}: one line `__version__ = "..."` is expected, {len(found)} found')
    return Version(found[0])


def check_version(repo: Path) -> Outcome:
    """One place, and a heading of the changelog."""
    version = current(repo)
    project = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = {
        name: (repo / name).read_text(encoding="utf-8", errors="ignore")
        for name in tracked(repo)
        if (repo / name).is_file() and not (repo / name).is_symlink()
    }
    findings = [*_elsewhere(version, project, texts), *_unlisted(version, texts["CHANGELOG.md"])]
    development = f"{version} is a development version; before publishing change {PLACE} and the heading"
    return outcome(
        f"version {version} in one place and in the changelog",
        findings,
        [development] if version.is_devrelease and not findings else [],
    )


def tracked(repo: Path) -> list[str]:
    """Paths of all files that git knows, below `repo`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repo, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def _elsewhere(version: Version, project: Mapping[str, object], texts: Mapping[str, str]) -> Iterator[str]:
    if "version" in project or project.get("dynamic") != ["version"]:
        yield f"pyproject.toml: the version must be dynamic, read from {PLACE}"
    spelled = re.compile(rf'(__version__|version)\s*[=:]\s*"?{re.escape(str(version))}\b')
    for name, text in texts.items():
        if name != PLACE and not name.startswith("tests/") and spelled.search(text):
            yield f"{name}: says the version {version}, which {PLACE} alone should"


def _unlisted(version: Version, changelog: str) -> Iterator[str]:
    headings = dict(_HEADING.findall(changelog))
    rest = headings.get(version.base_version)
    if rest is None:
        yield f"CHANGELOG.md: no heading `## {version.base_version}`"
    elif version.is_devrelease != ("unreleased" in rest):
        yield f"CHANGELOG.md: the version is {version}, the heading `## {version.base_version}{rest}`"
