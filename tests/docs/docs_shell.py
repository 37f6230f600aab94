"""What runs a documented shell block: `camgate` in this process, the rest as far as it can be checked."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable

import pytest
from docs_blocks import REPO

from camgate.cli import main

_CODE = re.compile(r"#\s*exit code (\d)\s*$")
_EXTRAS = re.compile(r"camgate\[([\w,]+)\]|\.\[([\w,]+)\]")


class Shell:
    """Runs lines as a reader would type them, in the working folder."""

    def __init__(self, patch: pytest.MonkeyPatch, before: dict[str, Callable[[], None]]) -> None:
        """`before`: what must have happened before the first command that begins so."""
        self._patch = patch
        self._before = dict(before)

    def run(self, text: str, place: str) -> None:
        """Run each line; a line ends in the exit code 0, or in the one that its comment says."""
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                code = _CODE.search(line)
                self._command(words, 0 if code is None else int(code[1]), f"{place}: {' '.join(words)}")

    def _command(self, words: list[str], expected: int, place: str) -> None:
        for start in [start for start in self._before if " ".join(words).startswith(start)]:
            self._before.pop(start)()
        match words:
            case ["camgate", *arguments]:
                code, said = camgate(arguments)
                assert code == expected, f"{place}\nexit code {code}, not {expected}\n{said}"
            case ["python", *arguments]:
                done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
                assert done.returncode == expected, f"{place}\n{done.stdout}{done.stderr}"
            case ["zenml", *arguments]:
                self._zenml(arguments, place)
            case ["export", setting] if "=" in setting:
                name, _, value = setting.partition("=")
                self._patch.setenv(name, value)
            case ["make", *targets]:
                planned = ["make", "--dry-run", *targets]  # that there is such a target; CI runs them
                done = subprocess.run(planned, cwd=REPO, capture_output=True, text=True)
                assert done.returncode == 0, f"{place}\n{done.stderr}"
            case ["pip", "install", *what]:
                missing = _extras(" ".join(what)) - set(_project()["optional-dependencies"])
                assert not missing, f"{place}: camgate has no extra {', '.join(missing)}"
            case _:
                pytest.fail(
                    f"{place}: nothing here runs `{words[0]}`; mark the block, or teach docs_shell.py"
                )

    def _zenml(self, arguments: list[str], place: str) -> None:
        from zenml.cli.cli import cli

        code, said = _in_process(lambda: cli.main(arguments, prog_name="zenml"))
        assert code == 0, f"{place}\nexit code {code}\n{said}"


def camgate(arguments: list[str]) -> tuple[int, str]:
    """Run the command line in this process: its exit code, and all it prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["camgate", *arguments])
        return _in_process(main)


def _in_process(run: Callable[[], object]) -> tuple[int, str]:
    said = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            run()
        except SystemExit as end:
            code = end.code
    return int(code or 0) if isinstance(code, int) or code is None else 1, said.getvalue()


def _extras(text: str) -> set[str]:
    named = [one or other for one, other in _EXTRAS.findall(text)]
    return {extra for names in named for extra in names.split(",")}


def _project() -> dict[str, dict[str, object]]:
    content: dict[str, dict[str, object]] = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    return content
