"""Step: the audit from its shards."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit import shards as core
from camgate.audit.result import AuditResult
from camgate.audit.shards import Shard
from camgate.materializers.sources import pin
from camgate.registry.tracking import log_audited
from camgate.steps._progress import reporter
from camgate.steps._tracking import tracked
from camgate.steps.plan_shards import AuditPlan


@step(enable_cache=False)
def merge_shards(
    manifest: pd.DataFrame, plan: AuditPlan, finished: list[Shard], experiment: str | None = None
) -> Annotated[AuditResult, "audit"]:
    """The same audit, and the same in MLflow, as `audit_heatmaps` makes in one step; never cached.

    Interventions, sanity, clusters and pictures are made here: their work does not grow with the number of
    images.

    Args:
        manifest: the data that the shards were made from.
        plan: of `plan_shards`.
        finished: all outputs of `audit_shard`, in any order.
        experiment: MLflow experiment; by default the pipeline's name.

    Raises:
        InputError: a shard is missing, twice there, or of another audit.
        ModelError: the model has changed.
        RegistryError: MLflow cannot be reached.
    """
    with tracked(experiment) as run:
        classifier = plan.load(tracking_uri=run.uri)
        result = core.merge_shards(classifier, manifest, finished, progress=reporter(), **plan.arguments)
        log_audited(run.run_id, result, manifest, tracking_uri=run.uri)
    return result


pin(merge_shards.entrypoint)
