"""Component: register the model, and move the alias if the verdict is PASS."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from camgate.kubeflow.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def promote_model(
    audit: Input[Artifact],
    verdict: Input[Artifact],
    promotion: Output[Artifact],
    name: str = "",
    alias: str = "champion",
    run_id: str = "",
    tracking_uri: str = "",
) -> bool:
    """Register and tag the audited model; the alias moves on PASS, or on FAIL under a signed waiver.

    A refused model is registered too and tagged `rejected`, so that there is a record. Raises nothing because
    of the verdict: that is `enforce_verdict`'s part.

    Args:
        audit: of `merge_audits`; says where the model was logged.
        verdict: of `promotion_gate`.
        promotion: JSON with version, status and what happened, in plain words; `null` without a name.
        name: registered model in MLflow; empty registers nothing.
        alias: to move.
        run_id: MLflow run of `open_audit`.
        tracking_uri: MLflow's tracking server; empty takes `MLFLOW_TRACKING_URI`.

    Returns:
        Whether the alias moved.
    """
    import json
    from contextlib import nullcontext
    from dataclasses import asdict
    from pathlib import Path

    from camgate.audit.result import AuditResult
    from camgate.errors import InputError
    from camgate.gate.verdict import Verdict
    from camgate.registry.champion import RIVAL_FOLDER, Rival
    from camgate.registry.runs import ending
    from camgate.report.logged import promote_audited

    if name and not run_id:
        raise InputError("the audit is in no MLflow run, so nothing can be promoted: give `run_id`")
    uri, content = tracking_uri or None, None
    with ending(run_id, tracking_uri=uri) if run_id else nullcontext():
        if name:
            held = Path(audit.path, RIVAL_FOLDER)
            done = promote_audited(
                Verdict.model_validate_json(Path(verdict.path, "verdict.json").read_text(encoding="utf-8")),
                AuditResult.load(audit.path),
                run_id=run_id,
                name=name,
                alias=alias,
                champion=Rival.load(held) if held.is_dir() else None,
                tracking_uri=uri,
            )
            content = asdict(done)
            promotion.metadata.update(version=done.version, status=done.status, sentence=done.sentence)
        Path(promotion.path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return content is not None and bool(content["alias_moved"])
