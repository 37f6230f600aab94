"""What a drill adds up to, and a policy that requires one."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.stats import binomtest

from audits_by_hand import DATA, MODEL, make_audit
from camgate.audit.runner import derive_seed
from camgate.gate.drilled import DrillResult, Mutant, Role, exact
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.gate.verdict import Status

POLICY = Policy.parse({"require_drill": True})


def mutant(role: Role = "biased", *, blocked: bool = True, area: float = 0.02) -> Mutant:
    status = None if role in ("between", "spoilt") else Status.FAIL if blocked else Status.PASS
    return Mutant(
        kind="patch", area=area, neutral=role == "clean", aligned=1.0, random=0.5, role=role, status=status
    )


def drill(*mutants: Mutant, **facts: Any) -> DrillResult:
    given = {
        "model_digest": MODEL,
        "data_digest": DATA,
        "policy_digest": POLICY.digest(),
        "seed": derive_seed(MODEL, DATA),
        **facts,
    }
    return DrillResult(mutants=mutants, images=200, planned=33, seconds=60, budget_seconds=600, **given)


SEES = drill(*[mutant()] * 9, mutant(blocked=False), mutant("clean", blocked=False))
BLIND = drill(*[mutant()] * 3, *[mutant(blocked=False)] * 7)


def test_counts_and_sentence() -> None:
    found = drill(
        *[mutant(area=area) for area in (0.1, 0.05, 0.02)],
        mutant(area=0.01, blocked=False),
        mutant(area=0.005),
        mutant("clean", blocked=False),
        mutant("clean", blocked=True),
        mutant("between"),
        mutant("spoilt"),
    )
    assert (found.kills, len(found.biased), found.false_alarms, len(found.clean)) == (4, 5, 1, 2)
    assert found.smallest == 0.02  # the one of 0.5 % that was caught says nothing: 1 % slipped through
    assert found.sentence() == (
        "On your images and your network this gate blocked 4 of 5 biased mutants and 1 of 2 neutral ones; "
        "smallest shortcut caught: 2.0 % of the image."
    )
    assert found.summarise()["kill_rate"] == 0.8


def test_nothing_caught_has_no_smallest() -> None:
    assert drill(mutant(blocked=False)).smallest is None
    assert drill(mutant(area=1.0)).smallest is None  # a cast has no size


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (1, 1)])
def test_intervals_are_exact(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(method="exact")
    assert exact(hits, n) == pytest.approx((expected.low, expected.high))


def test_a_gate_that_sees_passes_and_a_blind_one_is_inconclusive() -> None:
    assert judge(make_audit(), POLICY, drill=SEES).status is Status.PASS
    blind = judge(make_audit(), POLICY, drill=BLIND)
    assert (blind.status, blind.reason) == (Status.INCONCLUSIVE, "gate_blind")
    assert "3 of 10" in blind.sentence


def test_a_blind_gate_still_fails_what_it_does_see() -> None:
    assert judge(make_audit(other=0.5), POLICY, drill=BLIND).status is Status.FAIL


@pytest.mark.parametrize("status", [Status.INCONCLUSIVE, Status.ERROR])
def test_a_gate_that_cannot_decide_has_seen_nothing(status: Status) -> None:
    undecided = mutant().model_copy(update={"status": status})
    found = drill(*[undecided] * 9)
    assert found.kills == 0
    assert "0 of 9 biased mutants and 0 of 0 neutral ones (9 undecided)" in found.sentence()
    verdict = judge(make_audit(), POLICY, drill=found)
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "gate_blind")


def test_a_gate_that_blocks_everything_does_not_see_either() -> None:
    verdict = judge(make_audit(), POLICY, drill=drill(*[mutant()] * 9, *[mutant("clean")] * 4))
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "gate_indiscriminate")


def test_too_few_mutants_decide_nothing() -> None:
    verdict = judge(make_audit(), POLICY, drill=drill(*[mutant()] * 4))
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "too_few_mutants")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "not_measured"),
        (drill(*[mutant()] * 9, model_digest="d" * 64), "settings_differ"),
        (drill(*[mutant()] * 9, policy_digest="d" * 64), "settings_differ"),
        (drill(*[mutant()] * 9, data_digest="d" * 64), "settings_differ"),
        (drill(*[mutant()] * 9, seed=1), "settings_differ"),
    ],
)
def test_a_drill_that_is_missing_or_another_is_an_error(given: DrillResult | None, reason: str) -> None:
    verdict = judge(make_audit(), POLICY, drill=given)
    assert (verdict.status, verdict.reason) == (Status.ERROR, reason)


def test_a_policy_that_does_not_ask_does_not_mind() -> None:
    verdict = judge(make_audit(), drill=BLIND)
    assert verdict.status is Status.PASS
    assert verdict.check("drill") is None
