"""Step: the audit of today's champion on the candidate's images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pandas as pd
from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.result import AuditResult
from camgate.data.preprocessing import Preprocessing
from camgate.materializers.sources import pin
from camgate.registry.champion import Rival, rival_of
from camgate.registry.tracking import audit_run
from camgate.steps._progress import reporter
from camgate.steps._tracking import tracked

SHARED = ("batch_size", "workers", "allow_code", "allow_pickle")


def champion_options(
    audit: Mapping[str, Any] | None, champion: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Options of `audit_champion`: its own, and those of `audit_heatmaps` that hold for any model."""
    return {name: value for name, value in (audit or {}).items() if name in SHARED} | dict(champion or {})


@step(enable_cache=False)
def audit_champion(
    manifest: pd.DataFrame,
    result: AuditResult,
    name: str,
    alias: str = "champion",
    classes: list[str] | None = None,
    preprocessing: Preprocessing | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    allow_code: bool = False,
    allow_pickle: bool = False,
    experiment: str | None = None,
) -> Annotated[Rival, "champion"]:
    """Find today's champion and its audit on these images, or audit it as the candidate was; never cached.

    Hand the output to `gate_promotion`, which compares, and to `promote_model`, which then moves nothing
    when another version has become champion meanwhile.

    Args:
        manifest: the data that the candidate was audited on.
        result: the candidate's audit; the champion is audited by the same settings.
        name: registered model in MLflow; need not exist.
        alias: that the champion holds.
        classes: names of the champion's outputs, in order, where it does not hold them.
        preprocessing: how images become its input, where it does not hold that.
        batch_size: images per forward pass.
        workers: loader processes.
        allow_code: the champion may name a builder by import path, whose code then runs.
        allow_pickle: it may be a model that others logged with pickle.
        experiment: MLflow experiment; by default the pipeline's name.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with tracked(experiment) as run:
        return rival_of(
            result,
            manifest,
            name=name,
            run_id=audit_run(run.run_id, result, tracking_uri=run.uri),
            alias=alias,
            classes=classes,
            preprocessing=preprocessing,
            allow_code=allow_code,
            allow_pickle=allow_pickle,
            batch_size=batch_size,
            workers=workers,
            progress=reporter(),
            tracking_uri=run.uri,
        )


pin(audit_champion.entrypoint)
