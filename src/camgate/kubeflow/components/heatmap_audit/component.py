"""Component: heatmaps and scores of one shard of the data."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from camgate.kubeflow.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def heatmap_audit(
    model: str,
    data: str,
    shard: int,
    shards: int,
    part: Output[Dataset],
    parts: str = "",
    policy: dict = {},  # noqa: B006 (KFP copies it)
    data_options: dict = {},  # noqa: B006
    model_spec: dict = {},  # noqa: B006
    slices: list = [],  # noqa: B006
    batch_size: int = 32,
    workers: int = 0,
    allow_code: bool = False,
    allow_pickle: bool = False,
    tracking_uri: str = "",
) -> str:
    """Heatmaps and scores of one shard, in memory that does not grow with the number of images.

    A stable hash of the image ids says which rows belong to the shard. A shard that `parts` holds is not done
    again; it is refused where it belongs to another audit.

    Args:
        model: MLflow URI, or folder of a saved classifier.
        data: manifest, annotation file or folder, or a URL of one.
        shard: number of this shard, from 0.
        shards: how many there are.
        part: the shard: `shard-00000-of-00002.parquet`, and `.json` which says that it is complete.
        parts: folder or URL that keeps finished shards across runs; empty keeps none.
        policy: content of the policy; its `audit:` section says how the audit is made. Empty is the default.
        data_options: how the data are read and where valid pixels are.
        model_spec: facts that the model does not hold itself (`classes`, `preprocessing`, `builder`).
        slices: manifest columns to judge by value.
        batch_size: images per forward pass; changes no score.
        workers: loader processes.
        allow_code: the model may name a builder by import path, whose code then runs.
        allow_pickle: the model may be one that others logged with pickle.
        tracking_uri: MLflow's tracking server; empty takes `MLFLOW_TRACKING_URI`.

    Returns:
        Folder or URL that holds the shard, for `merge_audits`: below `parts`, or else the artifact's own.
    """
    from camgate.audit.shards import keep_shard
    from camgate.data.reading import read_data
    from camgate.gate.policy import Policy
    from camgate.models.spec import ModelSpec
    from camgate.registry.flavor import resolve_model
    from camgate.storage import join
    from camgate.terminal import progress

    classifier = resolve_model(
        model,
        spec=ModelSpec.read(model_spec),
        allow_code=allow_code,
        allow_pickle=allow_pickle,
        tracking_uri=tracking_uri or None,
    )
    with progress() as listener:
        made = keep_shard(
            classifier,
            read_data(data, data_options),
            shard=shard,
            shards=shards,
            folder=join(parts, classifier.digest()[:16]) if parts else part.path,
            progress=listener,
            **Policy.read(policy or None).audit_options(),
            slices=slices,
            batch_size=batch_size,
            workers=workers,
        )
    if parts:
        made.save(part.path)
    part.metadata.update(rows=made.mark.rows, sha256=made.mark.sha256, model_digest=made.mark.model_digest)
    return join(parts, classifier.digest()[:16]) if parts else part.uri
