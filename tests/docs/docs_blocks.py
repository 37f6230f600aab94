"""The code blocks of the README and of `docs/`, found by Sybil.

A block is marked in one of two ways. `<!-- long -->` on the line above it (readers do not see that) leaves it
to `make test-long`. A first line `# not run by the tests: WHY` (readers see that) says that nobody runs it.
Whatever has neither mark is run; blocks of the language `text` show what something prints and are no code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

REPO = Path(__file__).resolve().parents[2]
PAGES = tuple(
    path.relative_to(REPO).as_posix()
    for path in [
        *sorted(REPO.glob("*.md")),
        *sorted((REPO / "docs").rglob("*.md")),
        *sorted((REPO / "examples").rglob("*.md")),
    ]
)
SHOWN = "text"

_INFO = re.compile(r"(?P<language>\w*)(?: title=\"(?P<title>[^\"\n]+)\")?[ \t]*\n")
_LONG = re.compile(r"<!-- long -->\n[ \t]*\Z")
_NOT_RUN = re.compile(r"# not run by the tests: (?P<why>.+)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: path below the repository.
        line: of its fence, from 1.
        language: after the fence; empty where there is none.
        title: of the file that it is, where it is one.
        source: its text.
        long: left to `make test-long`.
        not_run: why nobody runs it; None where somebody does.
        example: Sybil's.
    """

    page: str
    line: int
    language: str
    title: str | None
    source: str
    long: bool
    not_run: str | None
    example: Example

    @property
    def place(self) -> str:
        """`page:line`."""
        return f"{self.page}:{self.line}"

    @property
    def shown(self) -> bool:
        """No code, but what something prints."""
        return self.language == SHOWN


def blocks_of(page: str, run: Callable[[Block], None] | None = None) -> list[Block]:
    """The blocks of a page in their order; evaluating the `example` of one calls `run` with it."""

    def fences(document: Document) -> Iterable[Region]:
        for region in RawFencedCodeBlockLexer(_INFO)(document):
            region.parsed = region.lexemes["source"]
            region.evaluator = lambda example: None if run is None else run(_block(page, example))
            yield region

    document = Sybil([fences]).parse(REPO / page)
    return [_block(page, example) for example in document.examples()]


def fences_in(page: str) -> int:
    """The number of fenced blocks, counted in the simplest way: every other line that begins with a fence."""
    text = (REPO / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.lstrip().startswith(("```", "~~~"))]
    assert len(lines) % 2 == 0, f"{page}: a fence is not closed"
    return len(lines) // 2


def _block(page: str, example: Example) -> Block:
    lexemes = example.region.lexemes
    source = str(example.parsed)
    mark = _NOT_RUN.match(source)
    return Block(
        page=page,
        line=example.line,
        language=lexemes["language"],
        title=lexemes["title"],
        source=source,
        long=bool(_LONG.search(example.document.text[: example.start])),
        not_run=None if mark is None else mark["why"],
        example=example,
    )
