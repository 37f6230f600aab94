"""What a retraining is about to do, and what is said about its outcome. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from camgate.gate.verdict import Status, Verdict
from camgate.operate.drift import Drift
from camgate.operate.messages import Kind
from camgate.registry.promotion import Promotion


class Plan(BaseModel):
    """What a retraining does with these data.

    Attributes:
        action: `train`; `nothing_new`: these data were decided on with the same code, options and policy;
            `busy`: another retraining of this alias is at work; `drifted`: the data have drifted, and the
            options say that then nothing is trained.
        key: digest of all that the decision depends on.
        sentence: in plain words.
        owner: of the retraining's lock; empty where it does not train.
        drift: the data held against the champion's; None where nobody looked.
        version, verdict, reason, promoted, run_id: of the earlier decision, where there is nothing new.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["train", "nothing_new", "busy", "drifted"]
    key: str
    sentence: str
    owner: str = ""
    drift: Drift | None = None
    version: int | None = None
    verdict: Status | None = None
    reason: str = ""
    promoted: bool = False
    run_id: str | None = None


def exit_code(verdict: Status | None, *, promoted: bool) -> int:
    """Of the command line: the verdict's; 3 where nothing was decided, 1 where a PASS moved nothing.

    A FAIL under a waiver stays 1, as everywhere.
    """
    if verdict is None:
        return Status.INCONCLUSIVE.exit_code
    if verdict is Status.PASS and not promoted:
        return Status.FAIL.exit_code
    return verdict.exit_code


def outcome_kind(verdict: Verdict, promotion: Promotion | None) -> Kind:
    """Which message a judged candidate gets: each way not to be promoted has its own."""
    if promotion is not None and promotion.alias_moved:
        return "waived" if promotion.status == "waived" else "promoted"
    if verdict.status is Status.ERROR:
        return "error"
    return "inconclusive" if verdict.status is Status.INCONCLUSIVE else "blocked"
