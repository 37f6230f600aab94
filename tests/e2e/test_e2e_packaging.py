"""The wheel holds everything and works from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(REPO)],
        check=True,
        capture_output=True,
    )
    assert len(list(out.glob("*.tar.gz"))) == 1
    return next(out.glob("*.whl"))


def test_the_wheel_holds_code_templates_steps_and_pipelines(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "src/camgate", "steps", "pipelines"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    wanted = {
        name.replace("src/", "", 1) if name.startswith("src/") else f"camgate/{name}"
        for name in tracked
        if not name.endswith(("camgate/steps", "camgate/pipelines"))
    }
    assert wanted - names == set()
    assert {"camgate/steps/audit.py", "camgate/pipelines/training.py", "camgate/py.typed"} <= names


def test_the_installed_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = """
import camgate, sys
from pathlib import Path
assert Path(camgate.__file__).is_relative_to(sys.argv[1]), camgate.__file__
from camgate.pipelines.training import training_pipeline
from camgate.steps import audit_heatmaps, gate_promotion, load_data
from zenml.config.source import Source
for step in (audit_heatmaps, gate_promotion, load_data):
    source = step.resolve()
    assert source.import_path.startswith("camgate."), source.import_path
from camgate.report.html import _asset
assert "main" in _asset("report.css")
print("fine")
"""
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
    }
    run = subprocess.run(
        [sys.executable, "-c", code, str(site)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "fine" in run.stdout
    version = subprocess.run(
        [sys.executable, "-m", "camgate.cli", "--version"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert version.stdout.strip().startswith("0.1.0")


def test_importing_camgate_is_light() -> None:
    code = "import sys, camgate; print([m for m in ('torch', 'zenml', 'mlflow') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
