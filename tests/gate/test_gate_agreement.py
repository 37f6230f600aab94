"""A sane explainer, and what holds where heatmap and intervention contradict each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audits_by_hand import SANE, make_audit
from camgate.audit.result import AuditResult
from camgate.audit.sanity import Sanity
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.gate.verdict import CheckResult, Status, Verdict

SEEN = {"activation": 0.35}
USED = {"other": 0.5}


def the(verdict: Verdict, name: str) -> CheckResult:
    check = verdict.check(name)
    assert check is not None
    return check


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("fail", Status.FAIL), ("inconclusive", Status.INCONCLUSIVE), ("pass", Status.PASS)],
)
def test_the_policy_decides_on_what_is_seen_but_unused(outcome: str, status: Status) -> None:
    policy = Policy.parse({"disagreement": {"seen_but_unused": outcome}})
    verdict = judge(make_audit(**SEEN), policy)
    check = the(verdict, "invalid_lift")
    assert (verdict.status, check.status, check.reason) == (status, status, "seen_but_unused")
    assert "seen but not used" in check.message
    assert the(verdict, "background_gap").reason == "ok"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("fail", Status.FAIL), ("inconclusive", Status.INCONCLUSIVE), ("pass", Status.PASS)],
)
def test_the_policy_decides_on_what_is_used_but_unseen(outcome: str, status: Status) -> None:
    policy = Policy.parse({"disagreement": {"used_but_unseen": outcome}})
    verdict = judge(make_audit(**USED), policy)
    check = the(verdict, "background_gap")
    assert (verdict.status, check.status, check.reason) == (status, status, "used_but_unseen")
    assert "used but not seen" in check.message


def test_by_default_what_is_used_fails_and_what_is_only_seen_passes_and_is_told() -> None:
    assert judge(make_audit(**USED)).status is Status.FAIL
    seen = judge(make_audit(**SEEN))
    assert (seen.status, the(seen, "invalid_lift").reason) == (Status.PASS, "seen_but_unused")
    assert "seen but not used" in seen.sentence


def test_there_is_no_disagreement_where_both_say_the_same_or_one_is_undecided() -> None:
    both = judge(make_audit(**SEEN, **USED))
    assert {the(both, name).reason for name in ("invalid_lift", "background_gap")} == {"above_limit"}
    undecided = judge(make_audit(**SEEN, per_class=60, groups=20, other=0.88))
    assert the(undecided, "background_gap").status is Status.INCONCLUSIVE
    assert the(undecided, "invalid_lift").reason == "above_limit"
    assert undecided.status is Status.FAIL


@pytest.mark.parametrize("activation", [0.05, 0.15, 0.2, 0.25, 0.3, 0.4])
def test_clearer_heatmaps_never_make_a_better_verdict(activation: float) -> None:
    """What is only perhaps seen, and not used, is no worse than what is surely seen, and not used."""
    verdict = judge(make_audit(activation=activation, spread=0.15))
    assert verdict.status is Status.PASS
    lift = the(verdict, "invalid_lift")
    astride = activation in (0.15, 0.2, 0.25) and lift.low is not None and lift.low <= 0.4 < (lift.high or 0)
    assert lift.reason == ("seen_but_unused" if astride or (lift.high or 0) > 0.4 else "ok")


def test_what_is_perhaps_seen_stays_undecided_where_the_policy_minds_what_is_seen() -> None:
    policy = Policy.parse({"disagreement": {"seen_but_unused": "fail"}})
    check = the(judge(make_audit(activation=0.2, spread=0.15), policy), "invalid_lift")
    assert (check.status, check.reason) == (Status.INCONCLUSIVE, "straddles_limit")


def only_cat_is_seen(*, turned_every: int) -> AuditResult:
    """Heatmaps of one class lie outside the object; every so many swaps of that class turn it."""
    result = make_audit(same=1.0, other=1.0)
    scores, swaps = result.scores.copy(), result.interventions
    assert swaps is not None
    scores.loc[scores["label"].eq("cat"), "invalid_activation_label"] += 0.3
    swaps = swaps.copy()
    mine = swaps.index[swaps["image_id"].str.startswith("cat") & swaps["arm"].eq("other_class")]
    swaps.loc[mine[::turned_every], "predicted"] = "dog"
    return replace(result, scores=scores, interventions=swaps)


def test_seen_in_a_class_whose_swaps_decide_nothing_is_inconclusive() -> None:
    result = only_cat_is_seen(turned_every=12)
    verdict = judge(result)
    gap, lift = the(verdict, "background_gap"), the(verdict, "invalid_lift")
    parts = {part.part: part.status for part in gap.parts}
    assert (gap.status, parts["class cat"]) == (Status.PASS, Status.INCONCLUSIVE)
    assert (lift.status, lift.reason, verdict.status) == (
        Status.INCONCLUSIVE,
        "use_undecided",
        Status.INCONCLUSIVE,
    )
    assert "not shown for class cat" in lift.message
    strict = judge(result, Policy.parse({"disagreement": {"seen_but_unused": "fail"}}))
    assert the(strict, "invalid_lift").reason == "above_limit"
    assert the(judge(only_cat_is_seen(turned_every=200)), "invalid_lift").reason == "seen_but_unused"


def test_an_insane_explainer_decides_nothing_and_behaviour_still_fails() -> None:
    insane = SANE.model_copy(update={"high": 0.6})
    clean = judge(make_audit(sanity=insane))
    assert (clean.status, clean.reason) == (Status.INCONCLUSIVE, "explainer_not_sane")
    assert the(clean, "invalid_lift").status is Status.INCONCLUSIVE
    assert the(clean, "background_gap").status is Status.PASS
    seen = judge(make_audit(sanity=insane, **SEEN))
    assert seen.status is Status.INCONCLUSIVE
    used = judge(make_audit(sanity=insane, **USED))
    assert (used.status, the(used, "background_gap").reason) == (Status.FAIL, "above_limit")


@pytest.mark.parametrize("reason", ["too_few_images", "dead_maps", "not_possible"])
def test_a_sanity_that_could_not_be_tested_is_inconclusive(reason: str) -> None:
    verdict = judge(make_audit(sanity=Sanity(images=20, reason=reason)))  # type: ignore[arg-type]
    assert verdict.status is Status.INCONCLUSIVE
    assert the(verdict, "explainer_sanity").reason == "not_measured"


def test_a_sanity_tested_at_another_layer_says_so() -> None:
    check = the(judge(make_audit(sanity=SANE.model_copy(update={"layer": "stage2"}))), "explainer_sanity")
    assert "tested at layer stage2" in check.message
    assert "tested at" not in the(judge(make_audit()), "explainer_sanity").message


def test_a_sanity_that_was_not_tested_though_asked_for_is_an_error() -> None:
    assert judge(make_audit(sanity=None)).status is Status.ERROR
    assert judge(make_audit(sanity=None), Policy.parse({"sanity": {"required": False}})).status is Status.PASS


def test_a_policy_without_heatmap_checks_needs_no_explainer() -> None:
    policy = Policy.parse({"checks": {"background_gap": {"max": 0.1}}})
    verdict = judge(make_audit(sanity=None), policy)
    assert verdict.status is Status.PASS
    assert verdict.check("explainer_sanity") is None
