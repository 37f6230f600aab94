"""Licences of what camgate installs, listed in docs/licences.md: `python -m tools.licences --write`.

A licence that `tools/release.toml` does not allow must be explained there, package by package. What is
listed is what a package declares of itself; libraries inside of wheels are not looked into.
"""

from __future__ import annotations

import argparse
import re
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from importlib import metadata
from importlib.metadata import PackageMetadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.dependencies import SETTINGS, settings
from tools.distributions import DEVELOPMENT
from tools.outcome import REPO, Outcome, outcome

PAGE = "docs/licences.md"
CORE = "core"
UNKNOWN = "UNKNOWN"
_EXTRA = re.compile(r"""\bextra\s*==\s*["']([^"']+)["']""")
_PARTS = re.compile(r"\s+(?:AND|OR)\s+|\s*;\s*")

_PAGE = """
<!-- Written by `python -m tools.licences --write`; tools/release.toml has the reasons. -->
# Licences

camgate is under the [Apache License 2.0](../LICENSE). These are the packages that it and its extras install
on Linux (x86-64, Python 3.11), {count} in all, with the licence that each declares of itself. Wheels may hold
further libraries under licences of their own (`opencv-python-headless` has FFmpeg under LGPL-2.1, for
instance): the licence files in them say so. `make release-check` fails at a licence that is neither
permissive nor explained here.

## Not simply permissive

{reasons}

## All

| package | licence | needed by |
|---|---|---|
{rows}
"""


def check_licences(repo: Path) -> Outcome:
    """Each licence is allowed or explained, and the page lists what is installed."""
    name = "licences are allowed or explained, and listed"
    required, wanted = _required(repo), _required(repo, development=True)
    declared = declared_licences()
    absent = [f"{package} is not installed: its licence is unknown" for package in required.keys() - declared]
    if absent:
        return outcome(name, absent)
    findings = [*unexplained({each: declared[each] for each in wanted if each in declared}, settings(repo))]
    page = repo / PAGE
    if not page.is_file() or page.read_text(encoding="utf-8") != render(required, declared, settings(repo)):
        findings.append(f"{PAGE} is not up to date: python -m tools.licences --write")
    return outcome(f"{name} ({len(required)} packages)", findings)


def unexplained(declared: Mapping[str, str], terms: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Packages with a licence that is neither allowed nor explained."""
    allowed = terms["licences"]["allowed"]
    explained = terms["licences"]["explained"]
    assert isinstance(allowed, list)
    assert isinstance(explained, dict)
    for package, licence in sorted(declared.items()):
        odd = [part for part in _PARTS.split(licence) if part not in allowed]
        if odd and not any(fnmatch(package, pattern) for pattern in explained):
            yield f"{package}: {', '.join(odd)}: neither allowed nor explained in {SETTINGS}"


def declared_licences() -> dict[str, str]:
    """The licence of every installed package, from its metadata."""
    return {
        canonicalize_name(each.name): declared_licence(each.metadata) for each in metadata.distributions()
    }


def declared_licence(stated: PackageMetadata) -> str:
    """The SPDX expression, else the classifiers, else the first line of the free text; `UNKNOWN` without."""
    classifiers = [each.split(" :: ") for each in stated.get_all("Classifier") or ()]
    named = [parts[-1] for parts in classifiers if parts[0] == "License" and parts[-1] != "OSI Approved"]
    expression, text = ((stated.get_all(key) or [""])[0] for key in ("License-Expression", "License"))
    return expression or "; ".join(sorted(named)) or text.strip().partition("\n")[0] or UNKNOWN


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of all packages that these need on this machine, themselves included."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        one = waiting.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key not in seen:
            seen.add(key)
            waiting += _needs(*key)
    return {name for name, _ in seen}


@cache
def _needs(name: str, extras: frozenset[str]) -> tuple[Requirement, ...]:
    """What an installed package asks for here; nothing where it is not installed."""
    try:
        stated = metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        return ()
    # A marker takes long to evaluate, and there are many `; extra == "..."` that do not concern us.
    found = (Requirement(each) for each in stated if _extra(each) in (None, *extras))
    return tuple(each for each in found if each.marker is None or _holds(each.marker, extras))


def _extra(requirement: str) -> str | None:
    named = _EXTRA.search(requirement)
    return None if named is None else named[1]


def _holds(marker: Marker, extras: Iterable[str]) -> bool:
    return any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _required(repo: Path, *, development: bool = False) -> dict[str, str]:
    """Package -> `core`, or the extras that need it."""
    project = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = closure(project["dependencies"])
    by_package: dict[str, list[str]] = {name: [CORE] for name in core}
    for extra, requirements in project["optional-dependencies"].items():
        if development or extra not in DEVELOPMENT:
            for name in closure(each for each in requirements if not each.startswith("camgate[")) - core:
                by_package.setdefault(name, []).append(extra)
    return {name: ", ".join(sorted(extras)) for name, extras in by_package.items()}


def render(
    required: Mapping[str, str], declared: Mapping[str, str], terms: Mapping[str, Mapping[str, object]]
) -> str:
    """The page."""
    explained = terms["licences"]["explained"]
    assert isinstance(explained, dict)
    rows = [f"| {name} | {declared[name]} | {required[name]} |" for name in sorted(required)]
    reasons = [
        _item(f"`{pattern}`: {'; '.join(sorted({declared[name] for name in found}))}. {reason}")
        for pattern, reason in sorted(explained.items())
        if (found := [name for name in required if fnmatch(name, pattern)])
    ]
    page = _PAGE.format(count=len(rows), reasons="\n".join(reasons), rows="\n".join(rows))
    return page.removeprefix("\n")


def _item(text: str) -> str:
    return textwrap.fill(f"- {text}", width=115, subsequent_indent="  ", break_on_hyphens=False)


def main() -> None:
    """Write the page, or say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    if parser.parse_args().write:
        page = render(_required(REPO), declared_licences(), settings(REPO))
        (REPO / PAGE).write_text(page, encoding="utf-8")
    found = check_licences(REPO)
    print(found)
    raise SystemExit(bool(found.findings))


if __name__ == "__main__":
    main()
