"""A waiver: a person accepts, by signature and until a day, that a version fails certain checks. Pure.

It is a statement of its own in a DSSE envelope on the version, about the model's digest. Without a signature
by a trusted key it does not exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner, Key

from camgate.errors import InputError
from camgate.gate.verdict import Status, Verdict
from camgate.gate.waivers import WaiverTerms
from camgate.registry import times
from camgate.registry.signing import seal, unseal

TAG = "camgate.waiver."
"""Prefix of the version's tags that hold a waiver's envelope."""
PREDICATE = "https://camgate.dev/waiver/v1"
_STATEMENT = "https://in-toto.io/Statement/v1"
_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True)
class Waiver:
    """A person's word that a FAIL is accepted.

    Attributes:
        person: who accepts it.
        reason: why.
        checks: names of the checks whose FAIL is accepted.
        models: registered models in which the version may hold an alias.
        version: URI of the version that was looked at, `models:/name/version`.
        model_digest: of its files; the waiver is for exactly these.
        policy_digest: of the policy under which it failed.
        run: that holds the audit which was looked at.
        signed: when.
        until: end; it holds before this moment.
        key: id of the key that signed; empty in one that is not signed yet.
    """

    person: str
    reason: str
    checks: tuple[str, ...]
    models: tuple[str, ...]
    version: str
    model_digest: str
    policy_digest: str
    run: str
    signed: datetime
    until: datetime
    key: str = ""

    def envelope(self, signer: CryptoSigner) -> str:
        """The signed statement, JSON."""
        statement = {
            "_type": _STATEMENT,
            "subject": [{"name": self.version, "digest": {"sha256": self.model_digest}}],
            "predicateType": PREDICATE,
            "predicate": {
                "person": self.person,
                "reason": self.reason,
                "checks": list(self.checks),
                "models": list(self.models),
                "policyDigest": self.policy_digest,
                "run": self.run,
                "time": times.text(self.signed),
                "notAfter": times.text(self.until),
            },
        }
        return seal(statement, signer)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "person": self.person,
            "reason": self.reason,
            "checks": list(self.checks),
            "models": list(self.models),
            "version": self.version,
            "signed": times.text(self.signed),
            "until": times.text(self.until),
            "key": self.key,
        }

    def sentence(self) -> str:
        """Who accepts what, until when and why."""
        return (
            f"{self.person} accepts the FAIL of {', '.join(self.checks)} until {times.minute(self.until)}: "
            f"{self.reason} (key {self.key[:16]})"
        )


@dataclass(frozen=True)
class Failed:
    """A verdict, as far as a waiver can cover it.

    Attributes:
        status: of the verdict.
        checks: status of each check, by name.
        policy: digest of the policy that judged.
        terms: that policy's, about waivers.
    """

    status: str
    checks: Mapping[str, str]
    policy: str
    terms: WaiverTerms

    @classmethod
    def of(cls, verdict: Verdict) -> Failed:
        """Of a verdict."""
        checks = {check.name: str(check.status) for check in verdict.checks}
        return cls(str(verdict.status), checks, verdict.policy_digest, verdict.waivers)

    def uncovered(self, waiver: Waiver, *, name: str, digest: str, now: datetime) -> str | None:
        """Why a waiver does not let this verdict's model hold an alias; None where it does.

        Args:
            waiver: signed by a trusted key.
            name: registered model that is to hold the alias.
            digest: of the files that the alias would point to.
            now: the moment to judge it at.
        """
        if waiver.model_digest != digest:
            return "it is for another model's files"
        if waiver.policy_digest != self.policy:
            return "it is for a verdict by another policy"
        if name not in waiver.models:
            return f"it is for {', '.join(waiver.models)}, not for {name}"
        if waiver.signed > now + _CLOCKS_DIFFER:
            return f"it is signed in the future, {times.minute(waiver.signed)}"
        if now >= waiver.until:
            return f"it ended {times.minute(waiver.until)}"
        return self.beyond(waiver)

    def beyond(self, waiver: Waiver) -> str | None:
        """Why the verdict or its policy leaves no room for such a waiver, whoever's; None where it does."""
        terms = self.terms
        if self.status != Status.FAIL:
            return f"the verdict is {self.status}, and only FAIL can be waived"
        if not terms.allowed:
            return "the policy allows no waivers (waivers.allowed)"
        if terms.keys is not None and waiver.key not in terms.keys:
            return "the policy does not let the owner of this key waive (waivers.keys)"
        if waiver.until - waiver.signed > timedelta(days=terms.max_days):
            return f"it lasts longer than the policy allows (waivers.max_days: {terms.max_days:g})"
        refused = sorted(
            set(waiver.checks) - set(terms.checks if terms.checks is not None else waiver.checks)
        )
        if refused:
            return f"the policy does not let {', '.join(refused)} be waived (waivers.checks)"
        undecided = [f"{name} ({said})" for name, said in self.checks.items() if said not in _WAIVABLE]
        if undecided:
            return f"it cannot cover {', '.join(undecided)}: only FAIL can be waived"
        left = [name for name, said in self.checks.items() if said == "FAIL" and name not in waiver.checks]
        if left:
            return f"it does not cover {', '.join(left)}"
        return None


_WAIVABLE = {str(Status.PASS), str(Status.FAIL)}


def tag_of(envelope: str) -> str:
    """Key of the tag that holds this envelope; the same waiver has the same key."""
    return TAG + hashlib.sha256(envelope.encode()).hexdigest()[:8]


def waivers_in(tags: Mapping[str, str], keys: Iterable[Key]) -> list[Waiver]:
    """The waivers that a trusted key has signed, the one that ends last first."""
    trusted = list(keys)
    found = [_read(tags[key], trusted) for key in sorted(tags) if key.startswith(TAG)]
    return sorted((each for each in found if each is not None), key=lambda each: each.until, reverse=True)


def _read(text: str, keys: list[Key]) -> Waiver | None:
    """None for whatever is no waiver signed by one of these keys."""
    try:
        statement, signer, _ = unseal(text, keys)
        if signer is None or (statement["_type"], statement["predicateType"]) != (_STATEMENT, PREDICATE):
            return None
        (subject,) = statement["subject"]
        said = statement["predicate"]
        signed, until = times.parse(said["time"]), times.parse(said["notAfter"])
        if signed is None or until is None:
            return None
        return Waiver(
            person=str(said["person"]),
            reason=str(said["reason"]),
            checks=tuple(map(str, said["checks"])),
            models=tuple(map(str, said["models"])),
            version=str(subject["name"]),
            model_digest=str(subject["digest"]["sha256"]),
            policy_digest=str(said["policyDigest"]),
            run=str(said["run"]),
            signed=signed,
            until=until,
            key=signer,
        )
    except (InputError, KeyError, TypeError, ValueError):
        return None
