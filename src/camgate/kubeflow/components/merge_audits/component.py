"""Component: the audit from its shards."""

from typing import List  # noqa: UP035 (what KFP reads)

from kfp import dsl
from kfp.dsl import Artifact, Metrics, Output

from camgate.kubeflow.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def merge_audits(
    model: str,
    data: str,
    folders: List[str],  # noqa: UP006 (what KFP reads)
    audit: Output[Artifact],
    metrics: Output[Metrics],
    policy: dict = {},  # noqa: B006 (KFP copies it)
    data_options: dict = {},  # noqa: B006
    model_spec: dict = {},  # noqa: B006
    slices: list = [],  # noqa: B006
    batch_size: int = 32,
    workers: int = 0,
    allow_code: bool = False,
    allow_pickle: bool = False,
    model_name: str = "",
    alias: str = "champion",
    run_id: str = "",
    tracking_uri: str = "",
) -> str:
    """The audit from all its shards: the same as without shards. Logged to the MLflow run, if there is one.

    Interventions, sanity, clusters and pictures are made here: their work is bounded whatever the number of
    images. Where the policy has the check `champion`, today's champion is audited on the same images, too.

    Args:
        model: as the shards were made with.
        data: as the shards were made with.
        folders: the output of `heatmap_audit`, one of each shard, by number.
        audit: folder of the audit, as `camgate audit --out` writes it.
        metrics: the audit's numbers, called as in MLflow (`audit/invalid_activation_mean`).
        policy: as the shards were made with.
        data_options: as the shards were made with.
        model_spec: as the shards were made with.
        slices: as the shards were made with.
        batch_size: images per forward pass.
        workers: loader processes.
        allow_code: the model may name a builder by import path, whose code then runs.
        allow_pickle: the model may be one that others logged with pickle.
        model_name: registered model whose champion is compared; empty compares with none.
        alias: that the champion holds.
        run_id: MLflow run of `open_audit`; empty logs nothing.
        tracking_uri: MLflow's tracking server; empty takes `MLFLOW_TRACKING_URI`.

    Returns:
        Id of the MLflow run that holds the audit, empty without MLflow.
    """
    from contextlib import nullcontext
    from pathlib import Path

    from camgate.audit.shards import Shard, merge_shards
    from camgate.data.reading import read_data
    from camgate.gate.policy import Policy
    from camgate.models.spec import ModelSpec
    from camgate.registry.champion import RIVAL_FOLDER, rival_of
    from camgate.registry.flavor import resolve_model
    from camgate.registry.runs import ending
    from camgate.registry.tracking import audit_metrics, log_audited
    from camgate.terminal import progress

    uri = tracking_uri or None
    with ending(run_id, tracking_uri=uri) if run_id else nullcontext(), progress() as listener:
        terms, manifest = Policy.read(policy or None), read_data(data, data_options)
        classifier = resolve_model(
            model,
            spec=ModelSpec.read(model_spec),
            allow_code=allow_code,
            allow_pickle=allow_pickle,
            tracking_uri=uri,
        )
        result = merge_shards(
            classifier,
            manifest,
            [Shard.load(folder, number, len(folders)) for number, folder in enumerate(folders)],
            **terms.audit_options(),
            slices=slices,
            batch_size=batch_size,
            workers=workers,
            progress=listener,
        )
        result.save(audit.path)
        held = log_audited(run_id, result, manifest, tracking_uri=uri) if run_id else ""
        if held and model_name and "champion" in terms.checks:
            rival = rival_of(
                result,
                manifest,
                name=model_name,
                alias=alias,
                run_id=held,
                allow_code=allow_code,
                allow_pickle=allow_pickle,
                batch_size=batch_size,
                workers=workers,
                progress=listener,
                tracking_uri=uri,
            )
            folder = Path(audit.path, RIVAL_FOLDER)
            folder.mkdir()
            rival.save(folder)
        for name, value in audit_metrics(result).items():
            metrics.log_metric(name, value)
        audit.metadata.update(
            model_digest=result.model_digest, data_digest=result.data_digest, model_uri=result.model_uri or ""
        )
    return held
