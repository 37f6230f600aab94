"""Component: fail the run, last of all, when the model was not accepted."""

from kfp import dsl
from kfp.dsl import Artifact, Input

from camgate.kubeflow.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def enforce_verdict(
    verdict: Input[Artifact],
    promotion: Input[Artifact],
    run_id: str = "",
    tracking_uri: str = "",
) -> None:
    """Fail unless the model was accepted, where the policy says `on_block: fail`; else warn.

    Last of all, so that the artifacts of all other components are kept: KFP uploads none of a component that
    failed. The MLflow run is marked as failed, too.

    Args:
        verdict: of `promotion_gate`.
        promotion: of `promote_model`; a PASS that could not be promoted does not end silently.
        run_id: MLflow run of `open_audit`.
        tracking_uri: MLflow's tracking server; empty takes `MLFLOW_TRACKING_URI`.
    """
    import json
    from contextlib import nullcontext
    from pathlib import Path

    from camgate.gate.verdict import Verdict
    from camgate.registry.enforcing import enforce
    from camgate.registry.promotion import Promotion
    from camgate.registry.runs import ending

    with ending(run_id, tracking_uri=tracking_uri or None) if run_id else nullcontext():
        done = json.loads(Path(promotion.path).read_text(encoding="utf-8"))
        enforce(
            Verdict.model_validate_json(Path(verdict.path, "verdict.json").read_text(encoding="utf-8")),
            None if done is None else Promotion(**done),
        )
