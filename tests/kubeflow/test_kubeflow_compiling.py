"""Compiled YAML, the hub's metadata and the READMEs agree with the code."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from kfp import components
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from camgate import kubeflow
from camgate.kubeflow.compiling import committed, write_yaml

PLACES = {path.parent.name: path for path in committed()}


def documents(path: Path) -> list[dict[str, object]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", PLACES)
def test_compiled_yaml_is_current(name: str, tmp_path: Path) -> None:
    made, kept = documents(write_yaml(tmp_path / "made.yaml", part=getattr(kubeflow, name))), PLACES[name]
    held = documents(kept)
    for each in (*made, *held):
        each.pop("sdkVersion", None)  # any of those that are allowed
    assert made == held, f"{kept} is not current: see the command in docs/how-to/kubeflow.md"


def test_another_image_is_in_every_container_and_the_code_keeps_its_own(tmp_path: Path) -> None:
    image = "registry.example.com/team/camgate:9"
    target = tmp_path / "made.yaml"
    command = [sys.executable, "-m", "camgate.kubeflow", "--image", image, "--out", str(target)]
    subprocess.run(command, check=True, timeout=120)
    (spec,) = documents(target)
    executors = spec["deploymentSpec"]["executors"]  # type: ignore[index]
    assert len(executors) == len(kubeflow.COMPONENTS)
    assert {each["container"]["image"] for each in executors.values()} == {image}
    assert image not in write_yaml(tmp_path / "own.yaml").read_text()
    one = write_yaml(tmp_path / "one.yaml", image=image, part=kubeflow.open_audit)
    assert f"image: {image}" in one.read_text()
    loaded = components.load_component_from_file(str(one))  # how other people's pipelines take it
    assert set(loaded.component_spec.inputs) >= {"model", "shards", "key"}


@pytest.mark.parametrize("name", PLACES)
def test_metadata_has_what_the_hub_asks_for(name: str) -> None:
    content = yaml.safe_load(PLACES[name].with_name("metadata.yaml").read_text(encoding="utf-8"))
    assert set(content) <= {"name", "stability", "dependencies", "tags", "lastVerified", "ci", "links"}
    assert content["name"] == name
    assert content["stability"] in {"experimental", "alpha", "beta", "stable"}
    (pipelines,) = content["dependencies"]["kubeflow"]
    assert pipelines["name"] == "Pipelines"
    assert Version("2.16.1") in SpecifierSet(pipelines["version"])
    assert Version("2.17.0") not in SpecifierSet(pipelines["version"])
    for service in content["dependencies"].get("external_services", ()):
        assert service["name"]
        SpecifierSet(service["version"])
    assert isinstance(content["lastVerified"], datetime)
    assert content["lastVerified"] <= datetime.now(UTC)
    assert all(isinstance(tag, str) for tag in content["tags"])


@pytest.mark.parametrize("name", PLACES)
def test_readme_lists_every_input_and_output(name: str) -> None:
    spec = getattr(kubeflow, name).component_spec
    lines = PLACES[name].with_name("README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1].strip(" `") for line in lines if line.startswith("| `")]
    assert rows == [*(spec.inputs or {}), *(spec.outputs or {})]


def test_without_kfp_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['kfp'] = None; from camgate.kubeflow import heatmap_audit"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert "pip install 'camgate[kubeflow]'" in run.stderr
