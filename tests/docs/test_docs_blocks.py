"""Every code block of the README and of the documentation is run, or says that it is not."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from docs_blocks import PAGES, Block, blocks_of, fences_in
from docs_files import check_example, check_json, check_yaml, write
from docs_pages import Setting, module, prepare
from docs_shell import Shell
from docs_workshop import Workshop
from sybil.evaluators.python import PythonEvaluator


def code(block: Block) -> bool:
    """Whether a block is to be run at all."""
    return not block.shown and not block.not_run


ALL = {name: blocks_of(name) for name in PAGES}
WITH_CODE = [name for name, blocks in ALL.items() if any(code(block) and not block.long for block in blocks)]
WITH_LONG = [name for name, blocks in ALL.items() if any(block.long for block in blocks)]
NOT_RUN = [block for blocks in ALL.values() for block in blocks if block.not_run]


class Runner:
    """Runs the blocks of one page, in their order, in the working folder."""

    def __init__(self, name: str, setting: Setting, patch: pytest.MonkeyPatch) -> None:
        self.name = name
        self.setting = setting
        self.patch = patch
        self.shell = Shell(patch, setting.before)
        self.ran: list[str] = []

    def run(self, wanted: Callable[[Block], bool]) -> None:
        blocks = blocks_of(self.name, self._one)
        page = ModuleType("page")  # ZenML asks in which module a pipeline is
        page.__file__ = str(Path("page.py").absolute())
        self.patch.setitem(sys.modules, "page", page)
        for block in blocks:
            block.example.namespace.update({"__name__": "page", **self.setting.names})
            if wanted(block):
                block.example.evaluate()
        names = blocks[0].example.namespace
        self.setting.after(names)
        if all(wanted(block) for block in blocks if code(block)):
            self.setting.after_long(names)

    def _one(self, block: Block) -> None:
        if block.title is not None and block.title.startswith("examples/"):
            check_example(block.title, block.source)
            self.ran.append(block.place)
            return
        path = None if block.title is None else write(block.title, block.source)
        if block.language == "python" and path is not None:
            block.example.namespace.update(module(path))
        elif block.language == "python":
            PythonEvaluator()(block.example)
        elif block.language == "bash":
            self.shell.run(block.source, block.place)
        elif path is not None and path.name.startswith("wrong"):
            pass  # an example of a mistake: the page shows what a command makes of it
        elif block.language == "yaml":
            check_yaml(block.source)
        elif block.language == "json":
            check_json(block.source)
        else:
            pytest.fail(
                f"{block.place}: nothing here runs {block.language or 'a block without a language'!r}"
            )
        self.ran.append(block.place)


def run_page(
    name: str, workshop: Workshop, patch: pytest.MonkeyPatch, wanted: Callable[[Block], bool]
) -> Setting:
    setting = prepare(name, workshop, patch)
    runner = Runner(name, setting, patch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner.run(wanted)
    assert runner.ran == [block.place for block in ALL[name] if wanted(block)]
    return setting


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_blocks_of_a_page_run(
    name: str, workshop: Workshop, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(name, workshop, monkeypatch, lambda block: code(block) and not block.long)


@pytest.mark.long
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name", WITH_LONG)
def test_all_blocks_of_a_page_run(
    name: str, workshop: Workshop, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(name, workshop, monkeypatch, code)


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: block.place)
def test_a_block_that_says_it_is_not_run(block: Block) -> None:
    assert not block.long, f"{block.place}: long, and not run"
    pytest.skip(f"{block.place}: not run: {block.not_run}")


def test_no_block_is_overlooked(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name: len(blocks) for name, blocks in ALL.items()} == {name: fences_in(name) for name in PAGES}
    counts = Counter(
        "shown" if block.shown else "not run" if block.not_run else "long" if block.long else "run"
        for blocks in ALL.values()
        for block in blocks
    )
    assert counts["run"] > 30
    with capsys.disabled():
        told = ", ".join(f"{counts[kind]} {kind}" for kind in ("run", "long", "not run", "shown"))
        print(f"\ncode blocks of {len(PAGES)} pages: {told}")
