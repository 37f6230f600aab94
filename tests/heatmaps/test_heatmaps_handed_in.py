"""Maps from a function that is handed in: in an audit, and before the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from camgate.audit.result import AuditResult
from camgate.audit.runner import audit
from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.data.rle import region_cell
from camgate.errors import InputError, ModelError, PolicyError
from camgate.gate.judge import judge
from camgate.models.classifier import Classifier


@pytest.fixture
def data(tmp_path: Path) -> pd.DataFrame:
    region = np.zeros((16, 16), dtype=bool)
    region[:8, :8] = True
    rows = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (16, 16), (40 * number, 0, 0)).save(path)
        rows.append({"image": str(path), "label": "ab"[number % 2], "region": region_cell(region)})
    return validate_manifest(pd.DataFrame(rows).assign(split="test", group=list("uvwxyz")))


@pytest.fixture
def model() -> Classifier:
    """Without any layer that has a map: only a function can show where it looks."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    return Classifier(net.eval(), ["a", "b"], Preprocessing(size=(16, 16)))


def saliency(classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
    """Gradient of the logit at each pixel."""
    inputs = classifier.preprocessing.normalise(images).requires_grad_()
    logits = classifier.module(inputs)
    (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), inputs)
    return gradient.abs().sum(dim=1)


def corner(classifier: Classifier, images: Tensor, targets: Tensor) -> np.ndarray:
    maps = np.full((len(images), 4, 4), -1.0)
    maps[:, 3, 3] = np.asarray(targets) + 1
    return maps


def test_any_function_gives_the_maps_of_an_audit(model: Classifier, data: pd.DataFrame) -> None:
    result = audit(model, data, method=saliency, interventions=False)
    assert result.settings.method == result.settings.method_requested == f"{__name__}:saliency"
    assert result.settings.map_size == (16, 16)
    weights = model.module[1].weight.detach()
    for row in result.scores.itertuples():
        heat = weights[model.classes.index(row.target)].reshape(3, 16, 16).abs().sum(dim=0)
        assert row.invalid_activation == pytest.approx(1 - float(heat[:9, :9].sum() / heat.sum()), abs=1e-5)


def test_negative_values_count_as_zero(model: Classifier, data: pd.DataFrame) -> None:
    result = audit(model, data, method=corner, interventions=False)
    np.testing.assert_allclose(result.scores["invalid_activation"], 1.0)


def test_no_verdict_rests_on_it(model: Classifier, data: pd.DataFrame, tmp_path: Path) -> None:
    result = audit(model, data, method=corner, interventions=False)
    policy: dict[str, Any] = {"audit": {"interventions": False}, "checks": {"accuracy": {"min": 0}}}
    for seen in (result, AuditResult.load(result.save(tmp_path / "audit"))):
        verdict = judge(seen, policy)
        assert verdict.status.value == "ERROR"
        assert "corner is for looking: only class-specific gradient methods may gate" in verdict.sentence


@pytest.mark.parametrize("method", ["eigencam", "scorecam", "ablationcam", "finercam", "shapleycam"])
def test_methods_for_looking_never_gate(method: str, data: pd.DataFrame) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    model = Classifier(net.eval(), ["a", "b"], Preprocessing(size=(16, 16)))
    result = audit(model, data, method=method, interventions=False)
    terms = {"interventions": False, "min_images": 1, "min_groups": 2}
    verdict = judge(result, {"audit": terms, "checks": {"accuracy": {"min": 0}}})
    assert verdict.status.value == "ERROR"
    assert f"{method} is for looking" in verdict.sentence
    with pytest.raises(PolicyError, match=f"{method}' may not gate"):
        judge(result, {"audit": {**terms, "method": method}, "checks": {"accuracy": {"min": 0}}})
    gating = audit(model, data, method="hirescam", interventions=False)
    verdict = judge(gating, {"audit": {**terms, "method": "hirescam"}, "checks": {"accuracy": {"min": 0}}})
    assert "for looking" not in verdict.sentence


def _raises(classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
    raise KeyError("layer9")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_raises, r"_raises raised KeyError: 'layer9'"),
        (lambda model, images, targets: images[:, 0, 0], r"must return maps \(2, h, w\) .* shape \(2, 16\)"),
        (lambda model, images, targets: images[:1, 0], r"must return maps \(2, h, w\)"),
        (lambda model, images, targets: "heat", "must return maps"),
    ],
)
def test_what_is_no_map_is_said(function: Any, message: str, model: Classifier, data: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match=message):
        audit(model, data, method=function, interventions=False)


def test_a_layer_cannot_be_named_besides(model: Classifier, data: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="a function finds its maps itself"):
        audit(model, data, method=saliency, target_layer="1")
