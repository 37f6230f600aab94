"""Step: hold the audit against the policy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from zenml import log_metadata, save_artifact, step
from zenml.types import HTMLString

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.result import AuditResult
from camgate.gate.drilled import DrillResult
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.gate.verdict import Verdict
from camgate.materializers.sources import pin
from camgate.registry.champion import Rival
from camgate.report.files import write_judgement
from camgate.report.logged import log_judgement
from camgate.steps._tracking import in_pipeline, tracked


@step(enable_cache=False)
def gate_promotion(
    result: AuditResult,
    policy: str | dict[str, Any] | None = None,
    champion: Rival | AuditResult | None = None,
    drill: DrillResult | None = None,
    experiment: str | None = None,
) -> Annotated[Verdict, "verdict"]:
    """Judge; decides nothing itself, so that all evidence is kept whatever the verdict is.

    Writes the report, the policy and the verdict into the MLflow run, and the report as the artifact
    `report` for ZenML's dashboard. Never cached.

    Args:
        result: the audit.
        policy: path of a YAML file, or its content; None takes the default policy.
        champion: of `audit_champion`, or an audit of today's champion on the same images, for the check
            `champion`.
        drill: of this model under this policy, where the policy requires one; it is shown in the report.
        experiment: MLflow experiment; by default the pipeline's name.
    """
    terms = Policy.read(policy)
    rival = champion.audit if isinstance(champion, Rival) else champion
    verdict = judge(result, terms, champion=rival, drill=drill)
    with tracked(experiment) as run, tempfile.TemporaryDirectory(prefix="camgate-gate-") as scratch:
        folder = Path(scratch)
        shown = rival if isinstance(rival, AuditResult) else None
        page = write_judgement(folder, result, verdict, drill=drill, champion=shown)
        held = log_judgement(run.run_id, folder, result, verdict, terms, tracking_uri=run.uri)
        html = page.read_text(encoding="utf-8")
    if in_pipeline():
        save_artifact(HTMLString(html), name="report")
        log_metadata(metadata={"mlflow_run_id": held, "verdict": verdict.status.value})
    return verdict


pin(gate_promotion.entrypoint)
