"""`mlflow.models.evaluate(..., evaluators=["camgate"])`: what MLflow finds by its entry point.

MLflow imports this module for every user of `evaluate`, whatever they evaluate, so it imports nothing that
takes time; the audit itself is in `camgate.registry.evaluation`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.models.evaluation.base import EvaluationResult, ModelEvaluator
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from camgate.errors import InputError

NAME = "camgate"


class EvaluatorConfig(BaseModel):
    """`evaluator_config` of this evaluator.

    Attributes:
        policy: path of a YAML file, or its content; None takes the default policy.
        audit: options of `camgate.audit`, such as `slices` or `batch_size`; where they are not given the
            policy says how the audit is made.
        model_name: registered model whose champion the check `champion` compares with.
        alias: that the champion holds.
        spec: facts that a model which others logged does not hold, see `camgate.models.spec.ModelSpec`: path
            of a JSON file, or its content.
        allow_code: the model may name a builder by import path, whose code then runs.
        allow_pickle: it may be one that others logged with pickle.
        root: folder that relative paths in the data start from; None is the working folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Path | dict[str, Any] | None = None
    audit: dict[str, Any] = Field(default_factory=dict)
    model_name: str | None = None
    alias: str = "champion"
    spec: Path | dict[str, Any] | None = None
    allow_code: bool = False
    allow_pickle: bool = False
    root: Path | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any] | None) -> EvaluatorConfig:
        """Validate what MLflow hands over.

        Raises:
            InputError: names every key that is unknown or wrong.
        """
        try:
            return cls.model_validate(dict(values or {}))
        except ValidationError as error:
            faults = "; ".join(dict.fromkeys(_fault(each) for each in error.errors()))
            raise InputError(f"evaluator_config of {NAME}: {faults}") from error


class CamgateEvaluator(ModelEvaluator):
    """Audits an image classifier by its heatmaps and judges it; see ``docs/mlflow-evaluate.md``."""

    @classmethod
    def can_evaluate(cls, *, model_type: str, evaluator_config: dict[str, Any] | None, **kwargs: Any) -> bool:
        """Whether the user asked for this evaluator: by name, or by a configuration that is all its own.

        Without `evaluators` MLflow asks every evaluator that is installed, and says nothing about the model:
        whoever evaluates something else must not notice that camgate is there.
        """
        # MLflow's choice among all evaluators is made elsewhere; `_evaluate` asks those that are named.
        named = sys._getframe(1).f_code.co_name == "_evaluate"
        given = set(evaluator_config or ())
        return named or (bool(given) and given <= EvaluatorConfig.model_fields.keys())

    def evaluate(
        self,
        *,
        model_type: str,
        dataset: Any,
        run_id: str,
        evaluator_config: dict[str, Any] | None,
        model: Any = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Audit, judge, and log both to the run.

        Args:
            model_type: any.
            dataset: MLflow's EvaluationDataset of a manifest.
            run_id: that holds the metrics and the files.
            evaluator_config: see `EvaluatorConfig`.
            model: a logged model as `mlflow.pyfunc` loads it.
            kwargs: what other evaluators take (`extra_metrics`, `custom_artifacts`, `predictions`).

        Raises:
            InputError: the configuration, the data or the model cannot be used.
            RegistryError: MLflow refuses or cannot be reached.
        """
        config = EvaluatorConfig.read(evaluator_config)
        from camgate.registry.evaluation import evaluate_logged

        return evaluate_logged(model, dataset, config, run_id=run_id)


def _fault(fault: Any) -> str:
    key = str(fault["loc"][0])
    if fault["type"] != "extra_forbidden":
        return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
    return f"unknown key {near(key, EvaluatorConfig.model_fields)}"


def near(key: str, known: Any) -> str:
    """A wrong key, with the nearest right one or all of them."""
    found = difflib.get_close_matches(key, known, n=1)
    return f"{key!r} (did you mean {found[0]!r}?)" if found else f"{key!r}; known: {', '.join(known)}"
