"""What a version carries as proof: the verdict's tags, and one record for each judged attempt. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import Key

from camgate.errors import InputError
from camgate.gate.verdict import Status, Verdict
from camgate.registry import names, times
from camgate.registry.attestation import Claim
from camgate.registry.signing import unseal
from camgate.registry.waivers import Failed, Waiver, waivers_in

STATUSES = {
    Status.PASS: "approved",
    Status.FAIL: "rejected",
    Status.INCONCLUSIVE: "inconclusive",
    Status.ERROR: "error",
}
PINNED = "camgate.pinned_policy"
"""Tag of the registered model: digest of the policy that must have judged."""
ATTESTATION = "camgate.attestation"
ATTEMPT = "camgate.attempt."
VALIDATION = "validation_status"
WAIVED = "camgate.waived"
"""Tag of a version whose FAIL is waived: by whom, until when and why."""
LONGEST_REGISTRY_TAG = 100_000


@dataclass(frozen=True)
class Evidence:
    """A judged audit, as far as promotion needs it.

    Attributes:
        status: of the verdict.
        reason: its code.
        run_id: run that holds the audit.
        model_digest: of the model that was audited.
        policy_digest: of the policy that judged.
        data_digest: of the images.
        created: when it was judged, None where the verdict does not say.
        max_age: older evidence promotes nothing, as the policy says; None sets no limit.
        failed: what a waiver would have to cover; None where no waiver can.
        waiver: that covers a FAIL, see `under`.
        attestation: DSSE envelope, JSON.
        seed, method: of the audit.
    """

    status: Status
    reason: str
    run_id: str
    model_digest: str
    policy_digest: str
    data_digest: str
    created: datetime | None = None
    max_age: timedelta | None = None
    failed: Failed | None = None
    waiver: Waiver | None = None
    attestation: str | None = None
    seed: Any = None
    method: Any = None

    @classmethod
    def of_verdict(
        cls,
        verdict: Verdict,
        run_id: str,
        *,
        max_age: timedelta | None = None,
        attestation: str | None = None,
    ) -> Evidence:
        """Of a verdict; the shorter of its policy's maximum age and `max_age` holds.

        Raises:
            InputError: the attestation is longer than a tag may be.
        """
        if attestation is not None and len(attestation) > LONGEST_REGISTRY_TAG:
            raise InputError(
                f"the attestation has {len(attestation)} characters, and MLflow keeps {LONGEST_REGISTRY_TAG} "
                "in a tag; leave per-class parts out of it"
            )
        days = verdict.max_evidence_days
        limits = [max_age] if days is None else [max_age, timedelta(days=days)]
        return cls(
            status=verdict.status,
            reason=verdict.reason,
            run_id=run_id,
            model_digest=verdict.model_digest,
            policy_digest=verdict.policy_digest,
            data_digest=verdict.data_digest,
            created=times.parse(verdict.created),
            max_age=min((limit for limit in limits if limit is not None), default=None),
            failed=Failed.of(verdict),
            attestation=attestation,
            seed=verdict.settings.get("seed"),
            method=verdict.settings.get("method"),
        )

    @classmethod
    def of_tags(cls, tags: Mapping[str, str], *, max_age: timedelta | None = None) -> Evidence | None:
        """Of a version's tags; None where they hold no verdict."""
        if tags.get("camgate.verdict") not in set(Status):
            return None
        policy, run_id = tags.get("camgate.policy_digest", ""), tags.get("camgate.audit_run_id", "")
        fitting = [
            each for each in attempts(tags) if (each.get("policy"), each.get("run")) == (policy, run_id)
        ]
        status = Status(tags["camgate.verdict"])
        return cls(
            status=status,
            reason="ok" if status is Status.PASS else tags.get("camgate.reason", ""),
            run_id=run_id,
            model_digest=tags.get("camgate.audited_digest", ""),
            policy_digest=policy,
            data_digest=tags.get("camgate.data_digest", ""),
            created=times.parse(str(fitting[-1].get("time"))) if fitting else None,
            max_age=max_age,
            failed=_failed(tags.get(ATTESTATION), policy, run_id),
        )

    def under(
        self, tags: Mapping[str, str], keys: Iterable[Key], *, name: str, digest: str, now: datetime
    ) -> Evidence:
        """The same, with the waiver among these tags that covers it, or with none.

        Args:
            tags: of the version, as just read.
            keys: that are trusted to sign waivers.
            name: registered model whose alias is to move.
            digest: of the files that it would point to.
            now: the moment to judge the waivers at.
        """
        if self.failed is None or self.status is not Status.FAIL:
            return replace(self, waiver=None)
        failed = self.failed
        covering = (
            waiver
            for waiver in waivers_in(tags, keys)
            if failed.uncovered(waiver, name=name, digest=digest, now=now) is None
        )
        return replace(self, waiver=next(covering, None))

    @property
    def waived(self) -> bool:
        """A FAIL under a waiver; never ERROR or INCONCLUSIVE."""
        return self.waiver is not None and self.status is Status.FAIL

    @property
    def acceptable(self) -> bool:
        """PASS, or FAIL under a waiver."""
        return self.status is Status.PASS or self.waived

    def refusal(self, digest: str, *, pinned: str | None, now: datetime) -> str | None:
        """Why this evidence cannot make a model champion, as a reason code; None where it can.

        Args:
            digest: of the files that the alias would point to.
            pinned: digest of the policy that must have judged; None where none is pinned.
            now: the moment to measure the age at.
        """
        if digest != self.model_digest:
            return "digest_mismatch"
        if not self.acceptable:
            return self.reason
        if pinned is not None and pinned != self.policy_digest:
            return "policy_mismatch"
        if self.max_age is not None and (self.created is None or now - self.created > self.max_age):
            return "evidence_too_old"
        return None

    def validation(self, refused: str | None) -> str:
        """The version's `validation_status`."""
        if refused in {"digest_mismatch", "policy_mismatch"}:
            return "error"
        if self.waived:
            return "waived"
        return STATUSES[self.status]

    def tags(self, digest: str, refused: str | None) -> dict[str, str]:
        """The version's tags, in the order to write them: those that promote come last."""
        reason = "digest_mismatch" if refused == "digest_mismatch" else self.reason
        values = {
            "camgate.audit_run_id": self.run_id,
            "camgate.model_digest": digest,
            "camgate.audited_digest": self.model_digest,
            "camgate.policy_digest": self.policy_digest,
            "camgate.data_digest": self.data_digest,
            "camgate.reason": "policy_mismatch" if refused == "policy_mismatch" else reason,
            "camgate.verdict": str(self.status),
            **({WAIVED: self.waiver.sentence()} if self.waiver is not None and self.waived else {}),
            VALIDATION: self.validation(refused),
        }
        kept = {key: names.shortened(value, names.LONGEST_VERSION_TAG) for key, value in values.items()}
        return kept if self.attestation is None else {ATTESTATION: self.attestation} | kept

    def attempt(self, held: Mapping[str, str], refused: str | None, *, now: datetime) -> dict[str, str]:
        """The tag that records this attempt; empty where `held` (the version's tags) has it already.

        The same verdict of the same run is one attempt, however often its promotion was tried.
        """
        what = {
            "run": self.run_id,
            "seed": self.seed,
            "method": self.method,
            "policy": self.policy_digest,
            "data": self.data_digest,
            "verdict": str(self.status),
            "reason": refused or self.reason,
        }
        mark = hashlib.sha256(compact(what).encode()).hexdigest()[:8]
        if any(key.startswith(ATTEMPT) and key.endswith(f"-{mark}") for key in held):
            return {}
        time = self.created or now
        return {f"{ATTEMPT}{times.stamp(time)}-{mark}": compact(what | {"time": times.text(time)})}


def _failed(attestation: str | None, policy: str, run: str) -> Failed | None:
    """What the attested statement says of the verdict that the tags name; None where it says nothing."""
    try:
        statement, _, _ = unseal(attestation or "", ())
        claim = Claim.of(statement)
    except InputError:
        return None
    return claim.failed if (claim.policy, claim.run) == (policy, run) else None


def attempts(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every judged attempt on a version, the oldest first; a record that cannot be read is left out.

    Args:
        tags: of the version.
    """
    return records(tags, ATTEMPT)


def records(tags: Mapping[str, str], prefix: str) -> list[dict[str, Any]]:
    """The JSON objects under keys that start with `prefix`, by key, which is added as `key`."""
    found = []
    for key in sorted(key for key in tags if key.startswith(prefix)):
        try:
            value = json.loads(tags[key])
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value | {"key": key})
    return found


def compact(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
