"""What each page takes for granted: files in the working folder, names in Python, what happened before."""

from __future__ import annotations

import copy
import hashlib
import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision.models as tv_models
from docs_shell import camgate
from docs_workshop import MY_SIZE, SMALL, Workshop, promoted, versions_before
from mlflow.models.evaluation.evaluator_registry import _model_evaluation_registry
from zenml.utils import source_utils

from camgate.audit.result import AuditResult
from camgate.audit.runner import audit
from camgate.audit.scores import RegionGrid
from camgate.gate.policy import Policy
from camgate.models.builders import build
from camgate.registry import times
from camgate.registry.evaluator import CamgateEvaluator

# Squares on noise are learnt so thoroughly that few stamps get through to the mutants of a drill.
POLICY = (
    "drill: {min_mutants: 3}\n"
    "checks:\n  accuracy: {min: 0.85}\n  invalid_lift: {max: 0.4}\n  background_gap: {max: 0.1}\n"
)
STRICTER = "checks:\n  accuracy: {min: 0.9}\n  invalid_lift: {max: 0.3}\n"


@dataclass
class Setting:
    """Where a page is run.

    Attributes:
        names: what Python blocks know from the start.
        before: what happens before the first command that begins so.
        after: what is done with the page's names at the end.
        after_long: the same, where all blocks were run.
    """

    names: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    after: Callable[[dict[str, Any]], None] = lambda names: None
    after_long: Callable[[dict[str, Any]], None] = lambda names: None


Prepare = Callable[[Workshop, pytest.MonkeyPatch], Setting]
_PAGES: dict[str, Prepare] = {}


def page(*names: str) -> Callable[[Prepare], Prepare]:
    """Register what prepares these pages."""

    def register(prepare: Prepare) -> Prepare:
        _PAGES.update(dict.fromkeys(names, prepare))
        return prepare

    return register


def prepare(page_name: str, workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    """Copy the workshop into the working folder, and do what the page needs besides."""
    shutil.copytree(workshop.folder, ".", dirs_exist_ok=True)
    Path("policy.yaml").write_text(POLICY)
    for name, few in SMALL.items():  # pictures take half of an audit's time
        patch.setitem(audit.__kwdefaults__, name, few)
    patch.syspath_prepend(str(Path.cwd()))
    patch.setattr(source_utils, "_CUSTOM_SOURCE_ROOT", str(Path.cwd()))
    return _PAGES.get(page_name, lambda workshop, patch: Setting())(workshop, patch)


def module(path: Path) -> dict[str, Any]:
    """The names of a file of the page, imported, so that ZenML finds its steps."""
    sys.modules.pop(path.stem, None)
    importlib.invalidate_caches()
    return {
        name: value for name, value in vars(importlib.import_module(path.stem)).items() if name[:2] != "__"
    }


def _audited(workshop: Workshop, **options: Any) -> AuditResult:
    return audit(workshop.classifier, workshop.manifest, **options)


@page("README.md")
def _readme(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    versions_before("underpass", 2)
    promoted(workshop, "underpass")
    Path("stricter.yaml").write_text(STRICTER)
    Path("data.yaml").write_text("images: data/images\nregion: {grow: 0.01}\n")
    Path("my_steps.py").write_text(MY_STEPS)
    step = module(Path("my_steps.py"))["my_training_step"]

    def run(names: dict[str, Any]) -> None:
        names["my_pipeline"]()

    return Setting(names={"my_training_step": step, "MY_SIZE": MY_SIZE}, after_long=run)


MY_STEPS = """
from typing import Annotated

import pandas as pd
from docs_workshop import train_network
from torch import nn
from zenml import step


@step
def my_training_step(manifest: pd.DataFrame) -> Annotated[nn.Module, "network"]:
    return train_network(manifest)
"""


@page("docs/clusters.md")
def _clusters(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    chance = np.random.default_rng(0)
    maps, valid = chance.random((120, 8, 8)) * 0.05, np.zeros((120, 8, 8))
    for row, (top, left) in enumerate(chance.integers(0, (4, 7), (120, 2))):
        valid[row, top : top + 5, left : left + 2] = 1.0  # an object that is anywhere
    maps += valid
    maps[::2, 0, 0] += 20.0  # an overlay in the corner of every other image

    def look(names: dict[str, Any]) -> None:
        assert any(cluster.fixed_place for cluster in names["found"].findings)

    known = {"maps": maps, "labels": ["cat"] * 120, "groups": [f"g{row}" for row in range(120)]}
    return Setting(names=known | {"regions": RegionGrid(valid, np.ones_like(valid))}, after=look)


@page("docs/drill.md")
def _drill(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    versions_before("underpass", 2)
    promoted(workshop, "underpass")
    _run(
        "audit",
        "--model",
        "models:/underpass/3",
        "--data",
        "data/",
        "--policy",
        "policy.yaml",
        "--out",
        "audit",
    )
    return Setting()


@page("docs/mlflow-evaluate.md")
def _evaluate(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    evaluators = dict(_model_evaluation_registry._builtin_evaluators) | {"camgate": CamgateEvaluator}
    patch.setattr(_model_evaluation_registry, "_registry", evaluators)

    def look(names: dict[str, Any]) -> None:
        mlflow.clear_active_model()
        assert 0.4 < names["result"].metrics["audit/invalid_lift"] < 0.9
        assert names["result"].metrics["gate/passed"] == 0.0

    return Setting(after=look)


@page("docs/models.md")
def _models(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    def my_maps(network: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(images), 6, 6)

    return Setting(names={"model": workshop.classifier, "manifest": workshop.manifest, "my_maps": my_maps})


@page("docs/statistics.md")
def _statistics(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    result = _audited(workshop)
    return Setting(names={"result": result, "champion": result})


@page("docs/transfer-learning.md")
def _transfer(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    for name in ("images", "masks"):
        shutil.copytree(Path("data") / name, name)
    torch.manual_seed(0)
    weights = Path("resnet18-f37072fd.pth")
    torch.save(tv_models.resnet18().state_dict(), weights)
    # The same file as what torchvision offers: its name must then carry its hash.
    offered = Path(f"resnet18-{hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}.pth")
    shutil.copy(weights, offered)
    patch.setenv("TORCH_HOME", str(Path("torch").absolute()))
    patch.setattr(tv_models.ResNet18_Weights.IMAGENET1K_V1.value, "url", offered.absolute().as_uri())
    Path("checkpoints").mkdir()
    network = build("timm:convnext_atto", {}, 5)
    torch.save({"state_dict": network.state_dict()}, "checkpoints/last.ckpt")
    return Setting(names={"manifest": workshop.manifest})


@page("docs/verify.md")
def _verify(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    terms = Policy.load("policy.yaml")
    return Setting(before={"camgate verify": lambda: _moved(workshop, "underpass", terms)})


@page("docs/waivers.md")
def _waivers(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    _run("keygen", "--out", "keys/ada")
    patch.setenv("CAMGATE_TRUSTED_KEYS", "keys/ada.pub")
    # The day on which the page is read: --until names a day soon after.
    patch.setattr(times, "now", lambda: datetime(2026, 11, 24, 12, tzinfo=UTC))
    versions_before("underpass", 6)
    impossible = {"accuracy": {"min": 0.85}, "background_gap": {"max": -0.9}}
    terms = Policy.parse({"checks": impossible, "waivers": {"allowed": True}})
    assert promoted(workshop, "underpass", terms).status == "rejected"
    return Setting()


def _moved(workshop: Workshop, name: str, terms: Policy) -> None:
    done = promoted(workshop, name, terms)
    assert done.alias_moved, done.sentence


def _run(*arguments: str) -> None:
    code, said = camgate(list(arguments))
    assert code == 0, said


@page("docs/how-to/own-model.md")
def _own_model(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    torch.manual_seed(0)
    network = copy.deepcopy(workshop.classifier.module)
    with mlflow.start_run():
        mlflow.pytorch.log_model(
            network,
            name="model",
            serialization_format="pickle",
            registered_model_name="pets",
            pip_requirements=[],
        )

    def look(names: dict[str, Any]) -> None:
        assert names["verdict"].status == "PASS"

    return Setting(names={"my_network": network}, after=look)


@page("docs/how-to/no-masks.md")
def _no_masks(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    table = pd.read_csv("data/manifest.csv").drop(columns="region")
    table["image"] = "data/" + table["image"]
    table.to_csv("unmasked.csv", index=False)
    return Setting()


@page("docs/how-to/ci.md")
def _ci(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    _run("audit", "--model", "model/", "--data", "data/", "--policy", "policy.yaml", "--out", "audit")
    return Setting()


@page("docs/how-to/policy.md")
def _policy(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    promoted(workshop, "pets")
    return Setting()


@page("docs/tutorial/demo.md")
def _demo(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    def demo() -> None:
        command = [sys.executable, "-m", "camgate.cli", "demo", "--workdir", "demo"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    return Setting(before={"camgate audit": demo})


@page("docs/how-to/zenml.md")
def _zenml(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    Path("my_training.py").write_text("from docs_workshop import train_network as train\n")
    return Setting()


@page("docs/how-to/verify-before-deployment.md")
def _deploy(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    terms = Policy.load("policy.yaml")
    return Setting(before={"camgate verify": lambda: _moved(workshop, "pets", terms)})


@page("docs/how-to/retraining.md")
def _retraining(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    def look(names: dict[str, Any]) -> None:
        outcome = names["outcome"]
        assert (outcome.action, outcome.version, outcome.promoted) == ("nothing_new", 1, True)
        told = list(Path("notifications").glob("*-promoted.json"))
        assert len(told) == len(mlflow.MlflowClient().search_model_versions("name = 'pets'"))  # once each

    return Setting(after=look)


@page("docs/how-to/monitoring.md")
def _monitoring(workshop: Workshop, patch: pytest.MonkeyPatch) -> Setting:
    promoted(workshop, "pets")

    def look(names: dict[str, Any]) -> None:
        assert (names["outcome"].action, names["outcome"].exit_code) == ("nothing_new", 0)

    return Setting(after=look)
