"""What a promotion says in plain words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from camgate.registry import times
from camgate.registry.evidence import Evidence


@dataclass(frozen=True)
class Refusal:
    """Why an alias stays where it is: a reason code, and the facts that its sentence names."""

    code: str
    digest: str = ""
    pinned: str | None = None
    before: int | None = None
    until: datetime | None = None
    changed: tuple[str, ...] = ()
    source: str = ""
    evidence: Evidence | None = None


def sentence(
    name: str,
    number: int,
    alias: str,
    previous: int | None,
    *,
    evidence: Evidence | None,
    refusal: Refusal | None,
) -> str:
    """One or two sentences: what happened, and what to do where nothing did.

    Args:
        name: registered model.
        number: of the version; 0 where a copy was not made.
        alias: in question.
        previous: version that held it before, or holds it still.
        evidence: None where there is none.
        refusal: None where the alias moved.
    """
    version = f"Version {number} of {name}" if number else f"The copy for {name}"
    if refusal is None or evidence is None:
        if refusal is not None:
            return f"{refusal.source} carries no verdict, so nothing was copied to {name}: audit it first."
        before = "" if previous in {None, number} else f" (before: version {previous})"
        waiver = _waiver(evidence) if evidence is not None and evidence.waived else ""
        return f"{version} is {alias}{waiver}{before}."
    keeps = f"{alias} stays at version {previous}" if previous else f"there is no {alias}"
    if refusal.code == "digest_mismatch":
        return (
            f"{version} is not what was audited (digest {refusal.digest[:12]}, audited "
            f"{evidence.model_digest[:12]}): {keeps}. Audit the logged model, "
            "load_classifier(model_uri), not the one in memory."
        )
    if not evidence.acceptable:
        return f"{version} was not promoted ({evidence.status}: {evidence.reason}): {keeps}."
    return f"{version} was not promoted, {_why(name, alias, previous, evidence, refusal)}: {keeps}."


def _waiver(evidence: Evidence) -> str:
    said = "" if evidence.waiver is None else f"; {evidence.waiver.sentence()}"
    return f" under a waiver ({evidence.status}: {evidence.reason}{said})"


def _why(name: str, alias: str, holder: int | None, evidence: Evidence, refusal: Refusal) -> str:
    match refusal.code:
        case "policy_mismatch":
            pinned = (refusal.pinned or "")[:12]
            return (
                f"it was judged by policy {evidence.policy_digest[:12]} and {name} is pinned to {pinned}; "
                "judge it by that one (`camgate pin-policy` changes the pin)"
            )
        case "evidence_too_old":
            written = "at an unknown time" if evidence.created is None else times.text(evidence.created)
            return f"its verdict was given {written}, more than {evidence.max_age} ago; audit it again"
        case "champion_changed":
            was = f"version {refusal.before}" if refusal.before else "nobody"
            now = f"version {holder}" if holder else "nobody"
            return f"{alias} was {was} when that was decided and now is {now}; judge it against that one"
        case "waiver_gone":
            return "the waiver that covered it has ended or is gone"
        case "lock_held":
            end = "" if refusal.until is None else f" (it ends by {times.text(refusal.until)})"
            return f"another promotion is at work{end}; try again after it"
        case "lock_lost":
            return "its lock came to an end before it was ready; give a longer `lock_seconds`"
        case "evidence_changed":
            return f"another run wrote other evidence to it meanwhile ({', '.join(refusal.changed)})"
    return refusal.code
