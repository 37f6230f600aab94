"""Component: the MLflow run, the logged model and the shards of an audit."""

from typing import NamedTuple

from kfp import dsl

from camgate.kubeflow.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def open_audit(
    model: str,
    shards: int,
    key: str,
    model_name: str = "",
    model_spec: dict = {},  # noqa: B006 (KFP copies it)
    allow_code: bool = False,
    allow_pickle: bool = False,
    experiment: str = "camgate",
    tracking_uri: str = "",
) -> NamedTuple("Opened", [("run_id", str), ("model_uri", str), ("numbers", list)]):  # type: ignore[valid-type]
    """Open the MLflow run, log the model where MLflow does not hold it yet, and number the shards.

    What is audited is what is logged, so the model is logged before the first heatmap. Without MLflow
    (`tracking_uri` empty and no `MLFLOW_TRACKING_URI` in the container) nothing is logged, and nothing can be
    promoted.

    Args:
        model: folder of a saved classifier, a file of weights, or an MLflow URI (`models:/name@champion`).
        shards: how many parts the audit has, 1 or more.
        key: names the pipeline run; the same key gets the same MLflow run.
        model_name: registered model that is to be promoted; without MLflow that fails here, not at the end.
        model_spec: facts that the model does not hold itself (`classes`, `preprocessing`, `builder`).
        allow_code: the model may name a builder by import path, whose code then runs.
        allow_pickle: the model may be one that others logged with pickle.
        experiment: MLflow experiment; made if absent.
        tracking_uri: MLflow's tracking server; empty takes `MLFLOW_TRACKING_URI`.

    Returns:
        run_id: MLflow run of this pipeline run, empty without MLflow.
        model_uri: what to audit, `models:/m-<id>`; `model` itself where it could not be logged.
        numbers: of the shards, from 0.
    """
    import os

    from camgate.errors import InputError
    from camgate.models.spec import ModelSpec
    from camgate.registry.flavor import log_where_new, resolve_model
    from camgate.registry.runs import ending, open_run

    if shards < 1:
        raise InputError(f"`shards` must be 1 or more, got {shards}")
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if model_name and not uri:
        raise InputError("`model_name` is to be promoted in MLflow: give `tracking_uri`")
    run_id, model_uri = "", model
    if uri:
        run_id = open_run(experiment=experiment, key=key, tracking_uri=uri)
        with ending(run_id, tracking_uri=uri):
            classifier = resolve_model(
                model,
                spec=ModelSpec.read(model_spec),
                allow_code=allow_code,
                allow_pickle=allow_pickle,
                tracking_uri=uri,
            )
            log_where_new(classifier, run_id=run_id, tracking_uri=uri)
            model_uri = classifier.model_uri or model
    return run_id, model_uri, list(range(shards))
