"""CONTRIBUTING.md and SECURITY.md name what there is: paths, make targets, options, parts of the package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.outcome import Outcome, outcome
from tools.version import tracked

PAPERS = ("CONTRIBUTING.md", "SECURITY.md")
_CODE = re.compile(r"`([^`]+)`")
_PATH = re.compile(r"[\w.-]*/[\w./-]*|[\w-]+\.(?:md|toml|txt|yml|py)")


def check_papers(repo: Path) -> Outcome:
    """Both exist, and name nothing that is not there."""
    names = tracked(repo)
    targets = set(re.findall(r"^([a-z-]+):", (repo / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    source = "\n".join(
        (repo / name).read_text(encoding="utf-8")
        for name in names
        if name.endswith(".py")
        and name.startswith(("src/", "steps/", "pipelines/"))
        and (repo / name).is_file()
    )
    findings: list[str] = []
    for paper in PAPERS:
        if not (repo / paper).is_file():
            findings.append(f"{paper} is missing")
            continue
        text = (repo / paper).read_text(encoding="utf-8")
        findings += [f"{paper}: {each}" for each in _wrong(text, names, targets, source)]
    if (repo / PAPERS[0]).is_file():
        findings += unmapped((repo / PAPERS[0]).read_text(encoding="utf-8"), names)
    return outcome("CONTRIBUTING.md and SECURITY.md name what there is", findings)


def _wrong(text: str, names: list[str], targets: set[str], source: str) -> Iterator[str]:
    folders = {parent.as_posix() for name in names for parent in Path(name).parents}
    for code in _CODE.findall(text):
        if code.startswith("make "):
            if code.split()[1] not in targets:
                yield f"there is no `{code}`"
        elif code.startswith(("--", "CAMGATE_")):
            written = code.strip("-").replace("-", "_")
            if code not in source and written not in source:
                yield f"the code knows no `{code}`"
        elif _PATH.fullmatch(code) and not code.startswith(".."):
            path = code.rstrip("/")
            if not any(each in folders or each in names for each in (path, f"src/camgate/{path}")):
                yield f"there is no `{code}`"


def unmapped(text: str, names: list[str]) -> Iterator[str]:
    """Parts of the package, and folders of the checkout, that the map of the house leaves out."""
    parts = {"/".join(name.split("/")[:3]) for name in names if re.match(r"src/camgate/\w+/", name)}
    folders = {name.split("/")[0] for name in names if "/" in name and name[0] != "."} - {"src"}
    for place in sorted(parts | {f"{folder}/" for folder in folders}):
        if f"`{place}`" not in text:
            yield f"CONTRIBUTING.md: the map leaves out `{place}`"
