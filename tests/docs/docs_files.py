"""What checks a documented file: that the code takes it as what it is said to be."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from docs_blocks import REPO

from camgate.data.reading import DataOptions
from camgate.data.sources import load_coco, load_folder, load_manifest, load_voc, load_yolo
from camgate.gate.policy import Policy
from camgate.models.spec import ModelSpec
from camgate.operate.charts import ChartOptions
from camgate.operate.delivery import NotifyOptions
from camgate.operate.drift import DriftLimits

_READERS: tuple[Callable[..., Any], ...] = (load_coco, load_folder, load_manifest, load_voc, load_yolo)


def check_json(source: str) -> None:
    """The facts of a model."""
    ModelSpec.read(json.loads(source))


def check_example(title: str, source: str) -> None:
    """A file of `examples/`, whose own tests run it: the page shows what it is."""
    assert source == (REPO / title).read_text(encoding="utf-8"), (
        f"{title} is another file than the page shows"
    )


def check_yaml(source: str) -> None:
    """A policy or a part of one, data options, or a run configuration."""
    content = yaml.safe_load(source)
    assert isinstance(content, dict), "a mapping is expected"
    options = {name for reader in _READERS for name in inspect.signature(reader).parameters}
    if content.keys() <= Policy.model_fields.keys():
        Policy.parse(content)
    elif "parameters" in content:
        _check_configuration(content["parameters"])
    else:
        unknown = content.keys() - DataOptions.model_fields.keys() - options
        assert not unknown, f"no policy, data options or run configuration has {sorted(unknown)}"
        DataOptions.read(content)


def _check_configuration(given: dict[str, Any]) -> None:
    from camgate.pipelines import (
        Shards,
        audit_pipeline,
        monitoring_pipeline,
        retraining_pipeline,
        training_pipeline,
    )
    from camgate.steps import audit_heatmaps, drill_gate, train_model

    pipeline = audit_pipeline if "model" in given else training_pipeline
    if "notify" in given:
        pipeline = monitoring_pipeline if "charts" in given else retraining_pipeline
    _known(given, pipeline.entrypoint, "parameters")
    Shards.read(given.get("shards"))
    for key, options in (("drift", DriftLimits), ("notify", NotifyOptions), ("charts", ChartOptions)):
        options.model_validate(given.get(key, {}))
    for key, step in (("training", train_model), ("audit", audit_heatmaps), ("drill", drill_gate)):
        _known(given.get(key, {}), step.entrypoint, key)
    if isinstance(given.get("data_options"), dict):
        check_yaml(yaml.safe_dump(given["data_options"]))
    if isinstance(given.get("policy"), dict):
        Policy.parse(given["policy"])


def _known(given: dict[str, Any], function: Callable[..., Any], where: str) -> None:
    unknown = given.keys() - inspect.signature(function).parameters.keys()
    assert not unknown, f"{where} has no {sorted(unknown)}"


def write(title: str, source: str) -> Path:
    """Write a file of the page into the working folder."""
    path = Path(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path
