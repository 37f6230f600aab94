"""Section of the report: earlier attempts on the version, and waivers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from camgate.errors import InputError
from camgate.gate.verdict import Status, Verdict
from camgate.registry import times
from camgate.registry.waivers import Failed

if TYPE_CHECKING:  # it imports MLflow, which a report does not need
    from camgate.registry.record import Record


@dataclass(frozen=True)
class RecordSection:
    """What the template shows.

    Attributes:
        uri: of the version.
        waived: sentence of the waiver that covers this verdict, None where none does.
        waivers: each one's sentence, and why it does not hold for this verdict ("" where it does).
        unproven: number of waivers without a trusted signature.
        attempts: time, status, reason, method, seed and beginning of the policy's digest.
    """

    uri: str
    waived: str | None
    waivers: list[tuple[str, str]]
    unproven: int
    attempts: list[tuple[str, Status | None, str, str, str, str]]


def record_section(record: Record, verdict: Verdict) -> RecordSection:
    """Prepare a version's record.

    Raises:
        InputError: the version holds another model than the one that was judged.
    """
    if record.digest != verdict.model_digest:
        raise InputError(
            f"{record.uri} was audited as model {record.digest[:12] or 'unknown'}, and this audit is of "
            f"{verdict.model_digest[:12]}"
        )
    failed = Failed.of(verdict)
    told = []
    for waiver in record.waivers:
        fault = failed.uncovered(waiver, name=record.name, digest=verdict.model_digest, now=times.now())
        told.append((waiver.sentence(), fault or ""))
    return RecordSection(
        uri=record.uri,
        waived=next((said for said, fault in told if not fault), None),
        waivers=told,
        unproven=record.unproven,
        attempts=[
            (
                str(each.get("time", ""))[:19].replace("T", " "),
                Status(each["verdict"]) if each.get("verdict") in set(Status) else None,
                str(each.get("reason", "")),
                str(each.get("method", "")),
                str(each.get("seed", "")),
                str(each.get("policy", ""))[:12],
            )
            for each in record.attempts
        ],
    )
