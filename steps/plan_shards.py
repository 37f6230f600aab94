"""Step: what all shards of an audit must have in common, decided once."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict
from torch import nn
from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.errors import InputError, ModelError
from camgate.materializers.sources import pin
from camgate.models.classifier import Classifier
from camgate.registry.flavor import log_where_new
from camgate.steps._request import AuditRequest
from camgate.steps._tracking import tracked


@pin
class AuditPlan(BaseModel):
    """Of which model and by which options all shards are made.

    Attributes:
        model_uri: the model in MLflow; an alias is resolved.
        model_digest: `Classifier.digest` of it.
        request: how the model is read and audited.
        arguments: of `camgate.audit`, the policy's terms among them.
        shards: their number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model_uri: str
    model_digest: str
    request: AuditRequest
    arguments: dict[str, Any]
    shards: int

    def load(self, *, tracking_uri: str | None) -> Classifier:
        """The model, from MLflow.

        Raises:
            ModelError: the files in MLflow are no longer those that the audit was planned for.
            RegistryError: MLflow cannot be reached.
        """
        classifier = self.request.classifier(None, self.model_uri, tracking_uri=tracking_uri)
        if classifier.digest() != self.model_digest:
            raise ModelError(
                f"{self.model_uri}: its files have changed since the audit was planned (digest "
                f"{classifier.digest()}, planned {self.model_digest}); start the pipeline again."
            )
        return classifier


@step(enable_cache=False)
def plan_shards(
    shards: int,
    model: Classifier | nn.Module | None = None,
    source: str | None = None,
    policy: str | dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    experiment: str | None = None,
) -> tuple[Annotated[AuditPlan, "plan"], Annotated[list[int], "numbers"]]:
    """Find the model once, for `audit_shard` and `merge_shards`; never cached.

    The shards load it from MLflow: one that is not there yet is logged, so it needs a `builder`. A builder
    that is an import path needs `allow_code`, as for any model that is read from MLflow.

    Args:
        shards: their number.
        model: as in `audit_heatmaps`; or else
        source: as in `audit_heatmaps`. An alias is resolved here, and may move afterwards.
        policy: path of a YAML file, or its content; None takes the default policy.
        options: those of `audit_heatmaps`, by name.
        experiment: MLflow experiment; by default the pipeline's name.

    Returns:
        The plan, and the numbers of the shards, 0 to `shards` - 1, for `audit_shard.map`.

    Raises:
        InputError: no model or two, one that cannot be logged, or an option cannot be used.
        RegistryError: MLflow cannot be reached.
    """
    if shards < 1:
        raise InputError(f"`shards` must be at least 1, not {shards}.")
    request = AuditRequest.read(options)
    with tracked(experiment) as run:
        classifier = request.classifier(model, source, tracking_uri=run.uri)
        log_where_new(classifier, run_id=run.run_id, tracking_uri=run.uri)
        if classifier.model_uri is None:
            raise InputError(
                "The shards of an audit load the model from MLflow, and a model without `builder` cannot be "
                "logged. Give `builder` in the options of the audit, log the model yourself and audit it by "
                "`source='models:/...'`, or audit it without shards."
            )
        plan = AuditPlan(
            model_uri=classifier.model_uri,
            model_digest=classifier.digest(),
            request=request,
            arguments=request.arguments(policy),
            shards=shards,
        )
    return plan, list(range(shards))


pin(plan_shards.entrypoint)
