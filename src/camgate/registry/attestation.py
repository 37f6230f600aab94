"""The verdict as an in-toto statement: what was found, of which model, by which exam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from camgate.audit.result import AuditResult
from camgate.errors import InputError
from camgate.gate.verdict import Verdict
from camgate.gate.waivers import WaiverTerms
from camgate.registry.signing import seal, signing_key, unseal
from camgate.registry.waivers import Failed

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
            "waivers": verdict.waivers.model_dump(mode="json"),
            "runs": dict(runs),
        },
    }


@dataclass(frozen=True)
class Claim:
    """What an attested statement says, as far as others act on it.

    Attributes:
        model, policy, data: digests.
        status, reason: of the verdict.
        checks: status of each check, by name.
        time: when it was judged, as written.
        run: that holds the audit.
        max_days: age in days up to which it may promote; None sets no limit.
        waivers: the policy's terms.
    """

    model: str
    policy: str
    data: str
    status: str
    reason: str
    checks: Mapping[str, str]
    time: str
    run: str
    max_days: float | None
    waivers: WaiverTerms

    @classmethod
    def of(cls, statement: Mapping[str, Any]) -> Claim:
        """Of a statement.

        Raises:
            InputError: it is a statement of another kind, or lacks something.
        """
        if statement.get("_type") != STATEMENT or statement.get("predicateType") != PREDICATE:
            raise InputError("the attestation holds a statement of another kind")
        try:
            (subject,) = statement["subject"]
            said = statement["predicate"]
            verdict, days = said["verdict"], said["maxEvidenceDays"]
            return cls(
                model=str(subject["digest"]["sha256"]),
                policy=str(said["policyDigest"]),
                data=str(said["dataDigest"]),
                status=str(verdict["status"]),
                reason=str(verdict["reason"]),
                checks={str(check["name"]): str(check["status"]) for check in verdict["checks"]},
                time=str(said["time"]),
                run=str(said["runs"]["audit"]),
                max_days=None if days is None else float(days),
                waivers=WaiverTerms.model_validate(said["waivers"]),
            )
        except ValidationError as error:
            raise InputError("the attested statement has no readable terms about waivers") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the attested statement lacks {error}") from error

    @property
    def failed(self) -> Failed:
        """What a waiver would have to cover."""
        return Failed(self.status, self.checks, self.policy, self.waivers)


def attested_scores(text: str) -> str | None:
    """The scores digest in an attestation, whoever signed it; None where it has none."""
    try:
        statement, _, _ = unseal(text, ())
        return str(statement["predicate"]["scoresDigest"])
    except (InputError, KeyError, TypeError):
        return None
