"""Component: hold the audit against the policy."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Metrics, Output

from camgate.kubeflow.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def promotion_gate(
    audit: Input[Artifact],
    verdict: Output[Artifact],
    report: Output[HTML],
    metrics: Output[Metrics],
    policy: dict = {},  # noqa: B006 (KFP copies it)
    run_id: str = "",
    tracking_uri: str = "",
) -> str:
    """Judge; raises nothing whatever the verdict is, so that all evidence is kept.

    Verdict, policy, report and attestation join the audit in the MLflow run, if there is one.

    Args:
        audit: of `merge_audits`.
        verdict: folder with `verdict.json` and what tells it: report, summaries for people and for CI.
        report: the report, one HTML page with all its pictures in it.
        metrics: the value of each check as `gate/<check>`, and `gate/passed`, 1 on PASS.
        policy: content of the policy; empty is the default.
        run_id: MLflow run of `open_audit`; empty logs nothing.
        tracking_uri: MLflow's tracking server; empty takes `MLFLOW_TRACKING_URI`.

    Returns:
        PASS, FAIL, INCONCLUSIVE or ERROR.
    """
    import shutil
    from contextlib import nullcontext
    from pathlib import Path

    from camgate.audit.result import AuditResult
    from camgate.gate.judge import judge
    from camgate.gate.policy import Policy
    from camgate.registry.champion import RIVAL_FOLDER, Rival
    from camgate.registry.runs import ending
    from camgate.registry.tracking import verdict_metrics
    from camgate.report.files import write_judgement
    from camgate.report.logged import log_judgement

    uri = tracking_uri or None
    with ending(run_id, tracking_uri=uri) if run_id else nullcontext():
        result, terms = AuditResult.load(audit.path), Policy.read(policy or None)
        held = Path(audit.path, RIVAL_FOLDER)
        rival = Rival.load(held).audit if held.is_dir() else None
        answer = judge(result, terms, champion=rival)
        folder = Path(verdict.path)
        folder.mkdir(parents=True)
        shown = rival if isinstance(rival, AuditResult) else None
        page = write_judgement(folder, result, answer, champion=shown)
        shutil.copyfile(page, report.path)
        if run_id:
            log_judgement(run_id, folder, result, answer, terms, tracking_uri=uri)
        for name, value in verdict_metrics(answer).items():
            metrics.log_metric(name, value)
        verdict.metadata.update(
            status=answer.status.value,
            reason=answer.reason,
            sentence=answer.sentence,
            policy_digest=answer.policy_digest,
        )
    return answer.status.value
