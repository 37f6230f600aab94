"""The crontab line and the systemd units of the documentation: well-formed, and what they run does run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_blocks import REPO, blocks_of
from docs_pages import POLICY
from docs_workshop import Workshop

PAGE = "docs/how-to/retraining.md"
COMMAND = ".venv/bin/camgate retrain --config retraining.yaml"
FIELD = r"(?:\*|\d+)(?:[-,/]\d+)*"
UNIT = re.compile(r"^# (/etc/systemd/system/(\S+))$", re.MULTILINE)


def cron() -> tuple[list[str], str]:
    """The five fields of the crontab line, and its command."""
    (line,) = re.findall(
        r"^(?:[\d*]\S* ){5}.*camgate retrain.*$", (REPO / PAGE).read_text(encoding="utf-8"), re.MULTILINE
    )
    *fields, command = line.split(" ", 5)
    return fields, command


def units() -> dict[str, str]:
    """The units of the page by file name."""
    text = next(block.source for block in blocks_of(PAGE) if "[Service]" in block.source)
    parts = UNIT.split(text)[1:]
    return dict(zip(parts[1::3], parts[2::3], strict=True))


def test_the_crontab_line() -> None:
    fields, command = cron()
    assert all(re.fullmatch(FIELD, field) for field in fields), fields
    assert command == f"cd /srv/pets && {COMMAND} >> retrain.log 2>&1"
    assert "%" not in command, "cron takes it for a line break"


def test_the_units_run_the_same_command(tmp_path: Path) -> None:
    found = units()
    assert set(found) == {"camgate-retrain.service", "camgate-retrain.timer"}
    assert f"ExecStart=/srv/pets/{COMMAND}\n" in found["camgate-retrain.service"]
    minute, hour, *_ = cron()[0]
    assert f"OnCalendar=*-*-* {int(hour):02d}:{int(minute):02d}:00\n" in found["camgate-retrain.timer"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine to read the units")
    executable = tmp_path / "camgate"
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    for name, text in found.items():
        ready = text.replace("/srv/pets/.venv/bin/camgate", str(executable)).replace(
            "/srv/pets", str(tmp_path)
        )
        (tmp_path / name).write_text(ready)
    (tmp_path / "camgate.env").write_text("MLFLOW_TRACKING_URI=http://mlflow\n")
    paths = [str(tmp_path / name) for name in found]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True)
    about = [line for line in done.stderr.splitlines() if "camgate-retrain" in line]
    assert about == []


@pytest.mark.long
def test_the_command_of_the_crontab_runs(workshop: Workshop, stores: Path) -> None:
    """In a shell of its own, twice: the second time there is nothing new."""
    shutil.copytree(workshop.folder / "data", "data")
    Path("policy.yaml").write_text(POLICY)
    (configuration,) = [block.source for block in blocks_of(PAGE) if block.title == "retraining.yaml"]
    Path("retraining.yaml").write_text(configuration)
    script = Path(".venv/bin/camgate")
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m camgate.cli "$@"\n')
    script.chmod(0o755)
    command = cron()[1].replace("/srv/pets", str(stores))
    for _ in range(2):
        done = subprocess.run(["sh", "-c", command], env=dict(os.environ), check=False)
        assert done.returncode == 0, Path("retrain.log").read_text()
    said = Path("retrain.log").read_text()
    assert "Version 1 of pets is champion." in said
    assert "Nothing new: version 1 of pets was made of the same data and code" in said
