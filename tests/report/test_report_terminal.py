"""What the command line shows while something takes long: on a terminal, and where there is none."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time

import pytest

from camgate import terminal

LONG = """
import time
from camgate.terminal import progress
with progress("  ") as listener:
    for done in range(7):
        listener("looking", done, 6)
        time.sleep(0.2)
"""


def on_a_terminal(code: str, **environment: str) -> str:
    """What a Python program writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=plain | {"TERM": "xterm-256color", "COLUMNS": "140"} | environment,
    )
    os.close(theirs)
    found = b""
    while True:
        try:
            found += os.read(ours, 65536)
        except OSError:  # its other end is closed
            break
    os.close(ours)
    assert process.wait() == 0, found
    return found.decode()


def test_bars_tell_rate_and_time_left_and_the_colour_can_be_had_without() -> None:
    shown = on_a_terminal(LONG)
    assert "\x1b[3" in shown
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "━" in said
    assert re.search(r"looking .* 6/6 +[3-5]\.\d/s", said)
    assert re.search(r"[1-5]/6 .* left +0:00:0[01]", said)
    plain = on_a_terminal(LONG, NO_COLOR="1")
    assert "6/6" in plain
    assert "\x1b[3" not in plain


def test_lines_tell_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "EVERY", 0.5)
    with terminal.progress("  ") as listener:
        listener("looking", 10, 50)  # ten of them before anybody looked at the clock
        listener("looking", 11, 50)  # too soon for a line
        time.sleep(1.2)
        listener("looking", 22, 50)
        listener("looking", 50, 50)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "  looking: 10 of 50, 0 s"
    found = re.fullmatch(r"  looking: 22 of 50, 1 s, (\S+)/s, (\d+) s left", second)
    assert found is not None
    assert 7 < float(found[1]) <= 10
    assert float(found[2]) == pytest.approx(28 / float(found[1]), abs=1)
    assert re.fullmatch(r"  looking: 50 of 50, 1 s, \S+/s", third)


def test_what_takes_longer_than_a_second_is_told_by_its_length() -> None:
    assert terminal.rate(152.04) == "152.0/s"
    assert terminal.rate(1 / 61) == "61.0 s each"


def test_nothing_is_shown_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress(enabled=False) as listener:
        listener("looking", 1, 2)
    assert capsys.readouterr().err == ""
