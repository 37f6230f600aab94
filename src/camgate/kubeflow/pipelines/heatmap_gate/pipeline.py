"""Pipeline: audit a model in shards, judge it, and promote it if it passes the gate."""

from typing import List  # noqa: UP035 (what KFP reads)

from kfp import dsl

from camgate.kubeflow.components.enforce_verdict.component import enforce_verdict
from camgate.kubeflow.components.heatmap_audit.component import heatmap_audit
from camgate.kubeflow.components.merge_audits.component import merge_audits
from camgate.kubeflow.components.open_audit.component import open_audit
from camgate.kubeflow.components.promote_model.component import promote_model
from camgate.kubeflow.components.promotion_gate.component import promotion_gate


@dsl.pipeline(name="camgate-shards")
def audit_shards(
    model: str,
    data: str,
    numbers: list,
    shards: int,
    parts: str,
    policy: dict,
    data_options: dict,
    model_spec: dict,
    slices: list,
    batch_size: int,
    workers: int,
    allow_code: bool,
    allow_pickle: bool,
    tracking_uri: str,
) -> List[str]:  # noqa: UP006 (what KFP reads)
    """All shards, side by side; the folders that hold them, by number."""
    # A pipeline of its own: kfp.local runs a loop after everything else in its pipeline, also after what
    # waits for the loop. It cannot collect artifacts either, so the shards' addresses are collected.
    with dsl.ParallelFor(items=numbers) as number:
        part = heatmap_audit(
            model=model,
            data=data,
            shard=number,
            shards=shards,
            parts=parts,
            policy=policy,
            data_options=data_options,
            model_spec=model_spec,
            slices=slices,
            batch_size=batch_size,
            workers=workers,
            allow_code=allow_code,
            allow_pickle=allow_pickle,
            tracking_uri=tracking_uri,
        ).set_caching_options(False)
    return dsl.Collected(part.outputs["Output"])


@dsl.pipeline(name="camgate-heatmap-gate")
def heatmap_gate(
    model: str,
    data: str,
    model_name: str = "",
    shards: int = 4,
    parts: str = "",
    policy: dict = {},  # noqa: B006 (KFP copies it)
    data_options: dict = {},  # noqa: B006
    model_spec: dict = {},  # noqa: B006
    slices: list = [],  # noqa: B006
    batch_size: int = 32,
    workers: int = 0,
    allow_code: bool = False,
    allow_pickle: bool = False,
    alias: str = "champion",
    experiment: str = "camgate",
    tracking_uri: str = "",
) -> None:
    """Audit an image classifier by its heatmaps in shards, judge it, and promote it in MLflow if it passes.

    The run fails last, after all evidence is kept, where the policy says so. Nothing is cached: what lies
    behind a path or a URL may change.

    Args:
        model: folder of a saved classifier, or an MLflow URI (`models:/name@champion`).
        data: manifest, annotation file or folder, or a URL of one.
        model_name: registered model in MLflow; empty only judges.
        shards: how many parts are audited side by side.
        parts: folder or URL that keeps finished shards across runs. Needed on a cluster whose artifact store
            fsspec cannot read (`minio://`): all pods must reach it.
        policy: content of the policy; empty is the default.
        data_options: how the data are read and where valid pixels are.
        model_spec: facts that the model does not hold itself (`classes`, `preprocessing`, `builder`).
        slices: manifest columns to judge by value.
        batch_size: images per forward pass; changes no score.
        workers: loader processes.
        allow_code: the model may name a builder by import path, whose code then runs.
        allow_pickle: the model may be one that others logged with pickle.
        alias: moves to the new version on PASS.
        experiment: MLflow experiment; made if absent.
        tracking_uri: MLflow's tracking server; empty takes `MLFLOW_TRACKING_URI` of the containers. Without
            either nothing is logged.
    """
    opened = open_audit(
        model=model,
        shards=shards,
        key=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        model_name=model_name,
        model_spec=model_spec,
        allow_code=allow_code,
        allow_pickle=allow_pickle,
        experiment=experiment,
        tracking_uri=tracking_uri,
    ).set_caching_options(False)
    run_id, logged = opened.outputs["run_id"], opened.outputs["model_uri"]
    finished = audit_shards(
        model=logged,
        data=data,
        numbers=opened.outputs["numbers"],
        shards=shards,
        parts=parts,
        policy=policy,
        data_options=data_options,
        model_spec=model_spec,
        slices=slices,
        batch_size=batch_size,
        workers=workers,
        allow_code=allow_code,
        allow_pickle=allow_pickle,
        tracking_uri=tracking_uri,
    )
    merged = merge_audits(
        model=logged,
        data=data,
        folders=finished.output,
        policy=policy,
        data_options=data_options,
        model_spec=model_spec,
        slices=slices,
        batch_size=batch_size,
        workers=workers,
        allow_code=allow_code,
        allow_pickle=allow_pickle,
        model_name=model_name,
        alias=alias,
        run_id=run_id,
        tracking_uri=tracking_uri,
    ).set_caching_options(False)
    judged = promotion_gate(
        audit=merged.outputs["audit"], policy=policy, run_id=run_id, tracking_uri=tracking_uri
    ).set_caching_options(False)
    promoted = promote_model(
        audit=merged.outputs["audit"],
        verdict=judged.outputs["verdict"],
        name=model_name,
        alias=alias,
        run_id=run_id,
        tracking_uri=tracking_uri,
    ).set_caching_options(False)
    enforce_verdict(
        verdict=judged.outputs["verdict"],
        promotion=promoted.outputs["promotion"],
        run_id=run_id,
        tracking_uri=tracking_uri,
    ).set_caching_options(False)
