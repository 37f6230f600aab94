"""Hooks of the documentation site (mkdocs.yml): files outside `docs/`, and pages made from the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

REPO = Path(__file__).resolve().parents[1]
FOLDER = "repository"
"""Where files from outside `docs/` lie in the site."""

_OUTSIDE = re.compile(r"(?<=\]\()(?:\.\./)+(?=[\w.])([\w./-]+)")
_FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
_COMMANDS = "<!-- commands -->"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Take the files along that pages link to outside of `docs/`."""
    from mkdocs.structure.files import File

    for path in sorted({path for file in files.documentation_pages() for path in _linked(file)}):
        place = f"{FOLDER}/{path.relative_to(REPO).as_posix()}"
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **rest: Any) -> str:
    """Point such links at the copies, and fill in the commands."""
    source = Path(page.file.abs_src_path)
    up = "../" * page.file.src_uri.count("/")

    def moved(link: re.Match[str]) -> str:
        path = (source.parent / link[0]).resolve()
        if path.is_relative_to(REPO / "docs") or not path.is_file():
            return link[0]  # a page, or a mistake that MkDocs reports
        return f"{up}{FOLDER}/{path.relative_to(REPO).as_posix()}"

    parts = _FENCE.split(markdown)
    text = "".join(part if part.startswith("```") else _OUTSIDE.sub(moved, part) for part in parts)
    return text.replace(_COMMANDS, commands()) if _COMMANDS in text else text


def commands() -> str:
    """Every command of `camgate` with its options, as Markdown, from the command line itself."""
    from camgate.cli import app

    group: Any = typer.main.get_command(app)
    return "\n".join(line for name, command in group.commands.items() for line in _command(name, command))


def _linked(file: Any) -> Iterator[Path]:
    source = Path(file.abs_src_path)
    for link in _OUTSIDE.finditer(source.read_text(encoding="utf-8")):
        path = (source.parent / link[0]).resolve()
        if path.is_file() and path.is_relative_to(REPO) and not path.is_relative_to(REPO / "docs"):
            yield path


def _command(name: str, command: Any) -> Iterator[str]:
    yield from (f"## camgate {name}", "", inspect.cleandoc(command.help or ""), "")
    yield from ("| option | | default |", "|---|---|---|")
    for parameter in command.params:
        names = [*parameter.opts, *parameter.secondary_opts]
        if not names[0].startswith("-"):
            names = [names[0].upper()]
        told = " ".join((parameter.help or "").split()).replace("|", "\\|")
        yield f"| {', '.join(f'`{each}`' for each in names)} | {told} | {_default(parameter)} |"
    yield ""


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    return "" if value is None or isinstance(value, bool) or callable(value) else f"`{value}`"
