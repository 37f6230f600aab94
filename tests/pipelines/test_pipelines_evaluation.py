"""Evaluation and audit by one pass: the same numbers, and each image through the network once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pipelines_data import SIDE
from torch import nn

from camgate.audit.runner import audit
from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.pipelines import training_pipeline
from camgate.steps import evaluate_model, load_data


def classifier(classes: tuple[str, str] = ("blue", "red")) -> Classifier:
    torch.manual_seed(0)
    module = build("resnet_small", {}, 2)
    return Classifier(module, list(classes), Preprocessing(size=(SIDE, SIDE)), builder="resnet_small")


def count_images(module: nn.Module) -> Counter[bytes]:
    """How often each image passes through the network from now on; through copies of it is not counted."""
    seen: Counter[bytes] = Counter()

    def count(each: nn.Module, inputs: tuple[Any, ...]) -> None:
        if each is module:
            seen.update(image.contiguous().numpy().tobytes() for image in inputs[0])

    module.register_forward_pre_hook(count)
    return seen


@pytest.mark.usefixtures("stores")
def test_the_evaluation_of_an_audit_is_that_of_a_pass_of_its_own(squares: Path) -> None:
    manifest = load_data.entrypoint(data=str(squares))
    tested = int((manifest["split"] == "test").sum())
    model = classifier()
    seen = count_images(model.module)
    own = evaluate_model.entrypoint(classifier=model, manifest=manifest)
    images = set(seen)
    assert len(images) == tested
    seen.clear()
    # The choice of a layer, the sanity of the explainer and the pictures have budgets of their own.
    few = {"target_layer": "stage3", "sanity": False, "gallery_worst": 0, "gallery_sample": 0}
    result = audit(model, manifest, interventions=False, **few)
    shared = evaluate_model.entrypoint(classifier=model, manifest=manifest, result=result)
    assert {image: seen[image] for image in images} == dict.fromkeys(images, 1)
    assert shared.n == own.n == tested
    assert shared.metrics() == pytest.approx(own.metrics(), abs=1e-6)
    pd.testing.assert_frame_equal(shared.confusion, own.confusion)
    pd.testing.assert_frame_equal(shared.per_class, own.per_class)

    with pytest.raises(InputError, match="audit of other data"):
        evaluate_model.entrypoint(classifier=model, manifest=manifest[:-1], result=result)
    with pytest.raises(InputError, match="other classes"):
        evaluate_model.entrypoint(classifier=classifier(("red", "blue")), manifest=manifest, result=result)


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("shards", [None, {"count": 2}])
def test_the_training_pipeline_shares_the_pass_where_asked(shards: dict[str, int] | None) -> None:
    audit = "audit_heatmaps" if shards is None else "merge_shards"
    first = "audit_heatmaps" if shards is None else "plan_shards"
    for share in (False, True):
        pipeline = training_pipeline.copy()
        pipeline.prepare(data="nowhere.csv", shards=shards, share_pass=share)
        steps = pipeline.create_snapshot(name=f"share {share}").step_configurations
        before = {name: set(step.spec.upstream_steps) for name, step in steps.items()}
        assert (audit in before["evaluate_model"], "evaluate_model" in before[first]) == (share, not share)
        assert {audit, "evaluate_model"} <= before["gate_promotion"]
