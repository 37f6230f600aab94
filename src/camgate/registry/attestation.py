"""The verdict as an in-toto statement: what was found, of which model, by which exam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camgate.audit.result import AuditResult
from camgate.errors import InputError
from camgate.gate.verdict import Verdict
from camgate.registry.signing import seal, signing_key, unseal

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://camgate.dev/audit/v1"
_OF_CHECK = {"name", "status", "reason", "value", "low", "high", "limit", "n", "groups"}


def attest(verdict: Verdict, result: AuditResult, *, runs: Mapping[str, str]) -> str:
    """The statement in a DSSE envelope, signed where `CAMGATE_SIGNING_KEY` names a key.

    The same verdict with the same key gives the same text.

    Args:
        verdict: of `result`.
        result: the audit.
        runs: MLflow run ids by role, `{"audit": ...}`.

    Raises:
        InputError: the key cannot be read.
    """
    return seal(statement_of(verdict, result, runs=runs), signing_key())


def statement_of(verdict: Verdict, result: AuditResult, *, runs: Mapping[str, str]) -> dict[str, Any]:
    """The statement: subject is the model by its digest, the predicate all that the verdict rests on."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": result.model_uri or "model", "digest": {"sha256": verdict.model_digest}}],
        "predicateType": PREDICATE,
        "predicate": {
            "verdict": {
                "status": str(verdict.status),
                "reason": verdict.reason,
                "checks": [check.model_dump(mode="json", include=_OF_CHECK) for check in verdict.checks],
            },
            "dataDigest": verdict.data_digest,
            "policyDigest": verdict.policy_digest,
            "auditSettings": verdict.settings,
            "scoresDigest": result.scores_digest(),
            "versions": {**result.versions, "camgate": verdict.camgate_version},
            "time": verdict.created,
            "maxEvidenceDays": verdict.max_evidence_days,
            "runs": dict(runs),
        },
    }


def attested_scores(text: str) -> str | None:
    """The scores digest in an attestation, whoever signed it; None where it has none."""
    try:
        statement, _, _ = unseal(text, ())
        return str(statement["predicate"]["scoresDigest"])
    except (InputError, KeyError, TypeError):
        return None
