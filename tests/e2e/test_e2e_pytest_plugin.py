"""A team's own tests hold a model to a policy in three lines."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from camgate.audit.result import AuditResult
from camgate.data.reading import read_data
from camgate.errors import InputError
from camgate.models.classifier import Classifier
from camgate.testing import assert_valid_activation
from candidates import LENIENT, STRICT, make_candidate

TESTS = """
from camgate.testing import assert_valid_activation

def test_by_function():
    assert_valid_activation("model", "data", "lenient.yaml")

def test_by_fixture(valid_activation):
    verdict = valid_activation("model", "data", "lenient.yaml")
    assert verdict.status == "PASS"

def test_that_fails(valid_activation):
    valid_activation("model", "data", "strict.yaml")
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plugin")
    make_candidate(root)
    for name, terms in (("lenient", LENIENT), ("strict", STRICT)):
        (root / f"{name}.yaml").write_text(yaml.safe_dump(terms), encoding="utf-8")
    (root / "test_model.py").write_text(TESTS, encoding="utf-8")
    return root


def test_in_a_project_of_its_own(case: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml=junit.xml", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(case), "-c", os.devnull, "--basetemp", str(case / "kept")]
    command += ["-p", "camgate.pytest_plugin"] if "camgate" not in _plugins() else []
    run = subprocess.run(
        [*command, "test_model.py"], cwd=case, capture_output=True, text=True, timeout=240, check=False
    )
    assert "2 passed" in run.stdout, run.stdout + run.stderr
    assert "1 failed" in run.stdout
    assert "FAIL: Blocked: accuracy is" in run.stdout
    assert "accuracy: FAIL (below_limit)" in run.stdout
    cases = {each.get("name"): each for each in ElementTree.parse(case / "junit.xml").iter("testcase")}
    held = {each.get("name"): each.get("value") for each in cases["test_that_fails"].iter("property")}
    assert held["camgate.status"] == "FAIL"
    assert Path(held["camgate.report"] or "").is_file()
    assert {each.get("value") for each in cases["test_by_fixture"].iter("property")} >= {"PASS", "ok"}


def _plugins() -> list[str]:
    return [each.name for each in entry_points(group="pytest11")]


def test_objects_options_and_evidence(case: Path, tmp_path: Path) -> None:
    model, manifest = Classifier.load(case / "model"), read_data(case / "data")
    verdict = assert_valid_activation(model, manifest, LENIENT, out=tmp_path / "kept", batch_size=5)
    assert verdict.status == "PASS"
    assert AuditResult.load(tmp_path / "kept").model_digest == model.digest()
    written = {each.name for each in (tmp_path / "kept").iterdir()}
    assert {"report.html", "junit.xml", "trustworthy-ai.md"} <= written
    with pytest.raises(InputError, match=r"not empty|holds something"):
        assert_valid_activation(model, manifest, LENIENT, out=tmp_path / "kept")


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (STRICT, "FAIL: Blocked: accuracy"),
        (LENIENT | {"audit": LENIENT["audit"] | {"min_images": 50}}, "INCONCLUSIVE"),
        (LENIENT | {"audit": LENIENT["audit"] | {"data_digest": "0" * 64}}, "ERROR"),
    ],
)
def test_whatever_is_no_pass_fails_the_test(terms: dict[str, object], said: str, case: Path) -> None:
    with pytest.raises(AssertionError, match=said) as failed:
        assert_valid_activation(case / "model", case / "data", terms)
    assert "report:" not in str(failed.value)


def test_the_plugin_alone_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'zenml', 'mlflow', 'pandas'}"
    code = f"import sys, camgate.pytest_plugin; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "set()"
