"""Step: heatmaps and scores of one shard of an audit."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.shards import Shard, score_shard
from camgate.materializers.sources import pin
from camgate.steps._progress import reporter
from camgate.steps._tracking import tracking_server
from camgate.steps.plan_shards import AuditPlan


@step(enable_cache=False)
def audit_shard(manifest: pd.DataFrame, plan: AuditPlan, shard: int) -> Annotated[Shard, "shard"]:
    """Heatmaps and scores of the images of one shard; several may run at once; never cached.

    It opens no MLflow run and only reads the model from there, so that it does not matter what a tracker
    does in other threads of this process.

    Args:
        manifest: the whole of the data, see `load_data`.
        plan: of `plan_shards`.
        shard: 0-based number.

    Raises:
        InputError: an option or the manifest cannot be used.
        ModelError: the model cannot be audited, or has changed.
        RegistryError: MLflow cannot be reached.
    """
    with tracking_server() as uri:
        classifier = plan.load(tracking_uri=uri)
    return score_shard(
        classifier, manifest, shard=shard, shards=plan.shards, progress=reporter(), **plan.arguments
    )


pin(audit_shard.entrypoint)
