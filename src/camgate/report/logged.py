"""Verdict and promotion with their pages in an MLflow run: what ZenML's steps and KFP's components share."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from camgate.audit.result import AuditResult
from camgate.errors import CamgateError, InputError
from camgate.gate.drilled import DrillResult
from camgate.gate.policy import Policy
from camgate.gate.verdict import Verdict
from camgate.registry.attestation import attest
from camgate.registry.champion import Rival
from camgate.registry.promotion import Promotion, register_and_promote
from camgate.registry.record import read_record
from camgate.registry.tracking import audit_run, log_audit, log_verdict
from camgate.report.files import write_report

_log = logging.getLogger(__name__)


def log_judgement(
    run_id: str,
    folder: str | Path,
    result: AuditResult,
    verdict: Verdict,
    policy: Policy,
    *,
    tracking_uri: str | None = None,
) -> str:
    """Add the verdict, what tells it and its attestation to the run that holds the audit.

    Args:
        run_id: see `camgate.registry.tracking.audit_run`.
        folder: what `camgate.report.files.write_judgement` wrote; joins the audit's files.
        result: the audit, which is logged already.
        verdict: about it.
        policy: that judged.
        tracking_uri: None takes MLflow's own.

    Returns:
        Id of the run that holds the audit.
    """
    held = log_audit(run_id, result, folder=folder, verdict=verdict, pictures=0, tracking_uri=tracking_uri)
    statement = attest(verdict, result, runs={"audit": held})
    log_verdict(held, verdict, policy, attestation=statement, tracking_uri=tracking_uri)
    return held


def promote_audited(
    verdict: Verdict,
    result: AuditResult,
    *,
    run_id: str,
    name: str,
    alias: str = "champion",
    champion: Rival | None = None,
    drill: DrillResult | None = None,
    tracking_uri: str | None = None,
) -> Promotion:
    """Register the audited model with its attested verdict, and move the alias where it may move.

    The report in the run then shows waivers and earlier attempts, where there are any.

    Args:
        verdict: of the gate.
        result: the audit that it judged; says where the model was logged.
        run_id: see `camgate.registry.tracking.audit_run`.
        name: registered model.
        alias: to move.
        champion: nothing moves when another version holds the alias by now.
        drill: for the report.
        tracking_uri: None takes MLflow's own.

    Raises:
        InputError: the audited model was not logged to MLflow.
        RegistryError: the registry cannot be reached or refuses.
    """
    if result.model_uri is None:
        raise InputError(
            "the audited model is not in MLflow, so it cannot be registered: give `builder` to "
            "audit_heatmaps, or log the model yourself and audit it by `source='models:/...'`"
        )
    held = audit_run(run_id, result, tracking_uri=tracking_uri)
    promotion = register_and_promote(
        verdict,
        model_uri=result.model_uri,
        name=name,
        run_id=held,
        attestation=attest(verdict, result, runs={"audit": held}),
        alias=alias,
        champion=None if champion is None else champion.version,
        tracking_uri=tracking_uri,
    )
    try:
        _report_again(tracking_uri, held, promotion, result, verdict, drill)
    except CamgateError as error:  # what was decided stands
        _log.warning("the report does not show the record of this version: %s", error)
    return promotion


def _report_again(
    uri: str | None,
    run_id: str,
    promotion: Promotion,
    result: AuditResult,
    verdict: Verdict,
    drill: DrillResult | None,
) -> None:
    record = read_record(f"models:/{promotion.name}/{promotion.version}", tracking_uri=uri)
    if not record.waivers and len(record.attempts) < 2:
        return
    with tempfile.TemporaryDirectory(prefix="camgate-promote-") as folder:
        write_report(folder, result, verdict, drill=drill, record=record)
        log_audit(run_id, result, folder=folder, pictures=0, tracking_uri=uri)
