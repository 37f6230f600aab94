"""Every way a verdict can come out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import camgate
from audits_by_hand import make_audit
from camgate.audit.result import AuditResult
from camgate.audit.sanity import Sanity
from camgate.audit.statistics import Estimate
from camgate.gate.judge import judge
from camgate.gate.measure import CHECKS, AtMost, Check, NoRival, decide
from camgate.gate.policy import Policy
from camgate.gate.verdict import Status, Verdict

SEEN_FAILS = {"disagreement": {"seen_but_unused": "fail"}}


def test_a_clean_audit_passes_with_all_checks_and_a_sentence() -> None:
    verdict = judge(make_audit())
    assert verdict.status is Status.PASS
    assert verdict.reason == "ok"
    assert [check.name for check in verdict.checks] == [
        "audit_settings",
        "coverage",
        "explainer_sanity",
        "accuracy",
        "invalid_lift",
        "background_gap",
        "background_flips",
    ]
    assert verdict.sentence.startswith("Passed: ")
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_high_invalid_activation_fails_and_says_where() -> None:
    verdict = judge(make_audit(activation=0.35, other=0.5))
    check = verdict.check("invalid_lift")
    assert (verdict.status, verdict.reason) == (Status.FAIL, "above_limit")
    assert check is not None
    assert check.value == pytest.approx(0.7, abs=0.02)
    assert check.low is not None
    assert check.low > 0.4
    assert "35 %" in verdict.sentence
    assert verdict.sentence.startswith("Blocked: ")
    assert (
        check.worst[0]
        == make_audit(activation=0.35)
        .scores.sort_values("invalid_activation", ascending=False)["image_id"]
        .iloc[0]
    )


def test_a_background_gap_fails_though_the_heatmaps_look_clean() -> None:
    verdict = judge(make_audit(other=0.5))
    assert verdict.status is Status.FAIL
    assert verdict.check("background_gap").status is Status.FAIL  # type: ignore[union-attr]
    assert verdict.check("invalid_lift").status is Status.PASS  # type: ignore[union-attr]
    assert "when the background comes from another class" in verdict.sentence


def test_an_interval_over_the_limit_is_inconclusive() -> None:
    verdict = judge(make_audit(activation=0.2, spread=0.15, per_class=30, groups=12), SEEN_FAILS)
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "straddles_limit")
    assert verdict.sentence.startswith("Not decided: ")


def test_low_accuracy_fails() -> None:
    verdict = judge(make_audit(accuracy=0.5))
    assert verdict.check("accuracy").reason == "below_limit"  # type: ignore[union-attr]
    assert verdict.status is Status.FAIL


@pytest.mark.parametrize(
    ("sizes", "reason"), [({"per_class": 20}, "too_few_images"), ({"groups": 5}, "too_few_groups")]
)
def test_too_little_data_is_inconclusive_with_the_number_needed(sizes: dict[str, int], reason: str) -> None:
    verdict = judge(make_audit(**sizes))
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, reason)
    assert ("50" if reason == "too_few_images" else "10") in verdict.sentence


def test_too_little_data_does_not_fail_either() -> None:
    assert judge(make_audit(activation=0.45, other=0.1, groups=5)).status is Status.INCONCLUSIVE


def test_one_bad_class_fails_the_whole(edit: Callable[..., AuditResult]) -> None:
    result = make_audit(classes=("a", "b", "c", "d", "e", "f"), per_class=60)
    rows = result.scores["label"].eq("c")
    bad = edit(result, rows, invalid_activation=0.4, invalid_activation_label=0.4)
    verdict = judge(bad, SEEN_FAILS)
    check = verdict.check("invalid_lift")
    assert check is not None
    assert check.value is not None
    assert check.value < 0.4
    assert check.status is Status.FAIL
    assert "class c" in check.message


def test_critical_classes_must_pass_each(edit: Callable[..., AuditResult]) -> None:
    result = make_audit(classes=("a", "b", "c", "d"))
    rows = result.scores["label"].eq("c")
    shares = np.random.default_rng(0).choice([0.0, 0.39], int(rows.sum()))
    wide = edit(result, rows, invalid_activation=shares, invalid_activation_label=shares)
    assert judge(wide).status is Status.PASS
    verdict = judge(wide, SEEN_FAILS | {"critical_classes": ["c"]})
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "critical_class")


def test_critical_classes_of_a_pattern_must_pass_each(edit: Callable[..., AuditResult]) -> None:
    result = make_audit(classes=("truck small", "truck large", "tram", "car"))
    rows = result.scores["label"].eq("truck large")
    shares = np.random.default_rng(0).choice([0.0, 0.39], int(rows.sum()))
    wide = edit(result, rows, invalid_activation_label=shares)
    assert judge(wide, {"critical_classes": ["tr*m"]}).status is Status.PASS
    verdict = judge(wide, SEEN_FAILS | {"critical_classes": ["truck*"]})
    assert verdict.reason == "critical_class"
    assert "not shown for critical class truck large" in verdict.sentence


@pytest.mark.parametrize("entry", ["bird", "bird*"])
def test_an_unknown_critical_class_is_an_error(entry: str) -> None:
    verdict = judge(make_audit(), {"critical_classes": ["cat", "d*", entry]})
    assert (verdict.status, verdict.reason) == (Status.ERROR, "missing_class")
    assert verdict.sentence.endswith(f"unknown critical class {entry}.")


@pytest.mark.parametrize("shares", [[0.2], [0.1, 0.3]])
def test_a_part_too_small_to_fail_says_so(shares: list[float]) -> None:
    result = make_audit(classes=tuple("abcdef"), activation=0.18, spread=0.1)
    ids = [f"a-{number}" for number in range(len(shares))]
    scores = result.scores[result.scores["label"].ne("a") | result.scores["image_id"].isin(ids)]
    scores = scores.reset_index(drop=True)
    scores.loc[scores["label"].eq("a"), "invalid_activation_label"] = shares
    swaps = result.interventions
    assert swaps is not None
    swaps = swaps[swaps["image_id"].isin(scores["image_id"])]
    check = judge(replace(result, scores=scores, interventions=swaps)).check("invalid_lift")
    assert check is not None
    reasons = {part.part: part.reason for part in check.parts}
    assert reasons.pop("class a") == "too_small"
    assert "too_small" not in reasons.values()


def test_failing_parts_are_named_worst_first(edit: Callable[..., AuditResult]) -> None:
    result = make_audit(classes=tuple("abcdef"))
    for label, share in (("b", 0.4), ("e", 0.45), ("d", 0.35), ("f", 0.3)):
        rows = result.scores["label"].eq(label)
        noise = np.random.default_rng(0).normal(share, 0.01, int(rows.sum()))
        result = edit(result, rows, invalid_activation_label=noise)
    check = judge(result, {"checks": {"invalid_activation": {"max": 0.28}}}).check("invalid_activation")
    assert check is not None
    assert check.message.endswith("it fails in class e, class b, class d and 1 more")


def test_a_verdict_has_a_finding_on_each_line() -> None:
    hostile = 'x"},\n        {\n          "part": "y\u2028'
    verdict = judge(make_audit(classes=("cat", hostile, "dog")))
    text = verdict.to_json()
    assert Verdict.model_validate_json(text) == verdict
    assert json.loads(text) == verdict.model_dump(mode="json")
    lines = text.split("\n")
    parts = [line for line in lines if '{"part": ' in line]
    assert len(parts) == sum(len(check.parts) for check in verdict.checks) == 12
    assert all(json.loads(line.rstrip(","))["status"] for line in parts)
    # another value in one class changes one line
    check = verdict.checks[-1]
    moved = (check.parts[0].model_copy(update={"value": 0.5}), *check.parts[1:])
    changed = (*verdict.checks[:-1], check.model_copy(update={"parts": moved}))
    other = verdict.model_copy(update={"checks": changed}).to_json().split("\n")
    assert sum(a != b for a, b in zip(lines, other, strict=True)) == 1


def test_compositing_that_breaks_the_model_never_passes_or_fails() -> None:
    for other in (0.6, 0.1):
        verdict = judge(make_audit(same=0.6, other=other))
        for name in ("background_gap", "background_flips"):
            check = verdict.check(name)
            assert check is not None
            assert (check.status, check.reason) == (Status.INCONCLUSIVE, "composite_damage")
        assert verdict.status is Status.INCONCLUSIVE
        alone = judge(make_audit(same=0.6, other=other), {"checks": {"background_flips": {"max": 0.9}}})
        assert (alone.status, alone.reason) == (Status.INCONCLUSIVE, "composite_damage")


def test_a_class_that_fails_is_not_hidden_by_a_strongly_negative_gap_of_the_others() -> None:
    size: dict[str, Any] = {"per_class": 200, "groups": 50}
    against = make_audit(same=0.75, other=1.0, original=0.8, classes=("a", "b", "c"), **size)
    carried = make_audit(same=0.99, other=0.3, classes=("d", "e"), **size)
    one = carried.scores["label"].eq("d")
    swaps = carried.interventions
    assert swaps is not None
    assert against.interventions is not None
    both = replace(
        against,
        classes=(*against.classes, "d"),
        scores=pd.concat([against.scores, carried.scores[one]], ignore_index=True),
        interventions=pd.concat(
            [
                against.interventions,
                swaps[swaps["image_id"].str.startswith("d-")].assign(
                    donor_id=lambda table: table["donor_id"].str.replace("e-", "a-")
                ),
            ],
            ignore_index=True,
        ),
    )
    terms = {
        "checks": {"background_gap": {"max": 0.1, "strongly_negative": 0.0}},
        "audit": {"min_images": 10},
    }
    check = judge(both, terms).check("background_gap")
    assert check is not None
    assert check.status is Status.FAIL
    assert [part.part for part in check.parts if part.status is Status.FAIL] == ["class d"]


def test_a_champion_audited_by_other_rules_is_no_match() -> None:
    terms = {"checks": {"champion": {"max_accuracy_loss": 0.05}}}
    assert judge(make_audit(), terms, champion=make_audit()).status is Status.PASS
    verdict = judge(make_audit(), terms, champion=make_audit(tolerance=0, margin=0.1))
    assert (verdict.status, verdict.reason) == (Status.ERROR, "settings_differ")
    assert "tolerance 0 instead of 1, margin 0.1 instead of 0.05" in verdict.sentence


NOBODY = NoRival("no_champion", "underpass has no champion yet")


@pytest.mark.parametrize("accuracy", [1.0, 0.5])
def test_without_a_champion_the_absolute_limits_decide(accuracy: float) -> None:
    terms = {"checks": {"accuracy": {"min": 0.85}, "champion": {"max": 0.02, "max_accuracy_loss": 0.02}}}
    verdict = judge(make_audit(accuracy=accuracy), terms, champion=NOBODY)
    assert verdict.status is (Status.PASS if accuracy == 1.0 else Status.FAIL)
    check = verdict.check("champion")
    assert check is not None
    assert (check.status, check.reason, check.value) == (Status.PASS, "no_champion", None)
    assert "left out, underpass has no champion yet" in check.message
    assert judge(make_audit(accuracy=accuracy), terms).status is Status.ERROR  # nobody looked for one


def test_a_policy_of_comparisons_alone_passes_nothing_without_a_champion() -> None:
    verdict = judge(make_audit(), {"checks": {"champion": {"max": 0.02}}}, champion=NOBODY)
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "no_champion")


def test_a_champion_that_nobody_could_audit_is_an_error() -> None:
    terms = {"checks": {"accuracy": {"min": 0.85}, "champion": {"max": 0.02}}}
    verdict = judge(make_audit(), terms, champion=NoRival("not_audited", "its weights are gone"))
    assert (verdict.status, verdict.reason) == (Status.ERROR, "not_audited")
    assert "its weights are gone" in verdict.sentence


@pytest.mark.parametrize(
    ("candidate", "champion", "failing"),
    [(1.0, 1.0, []), (0.8, 1.0, ["champion"]), (0.4, 0.4, ["accuracy"])],
)
def test_floor_and_no_regression_are_in_one_policy(
    candidate: float, champion: float, failing: list[str]
) -> None:
    """Falling behind the champion fails above the floor, and the floor holds beside an equal champion."""
    terms = {"checks": {"accuracy": {"min": 0.6}, "champion": {"max_accuracy_loss": 0.05}}}
    verdict = judge(make_audit(accuracy=candidate), terms, champion=make_audit(accuracy=champion))
    assert [check.name for check in verdict.checks if check.status is Status.FAIL] == failing
    assert verdict.status is (Status.FAIL if failing else Status.PASS)


def test_accuracy_lost_against_the_champion_fails_whatever_the_explainer_is() -> None:
    terms = {"checks": {"champion": {"max_accuracy_loss": 0.02}}}
    insane = Sanity(similarity=0.9, low=0.8, high=0.95, per_seed=(0.9, 0.9), images=64, dead=0.0)
    verdict = judge(make_audit(accuracy=0.6, sanity=insane), terms, champion=make_audit())
    assert verdict.status is Status.FAIL
    heat = {"checks": {"champion": {"max": 0.02}}}
    verdict = judge(make_audit(activation=0.5, sanity=insane), heat, champion=make_audit())
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "explainer_not_sane")


def test_no_cluster_is_no_fixed_place_found() -> None:
    verdict = judge(make_audit(), {"checks": {"fixed_place": {"max": 0}}})
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "not_measured")


def test_a_strongly_negative_gap_is_no_pass() -> None:
    check = judge(make_audit(same=0.87, other=1.0, original=0.9, per_class=200, groups=50)).check(
        "background_gap"
    )
    assert check is not None
    tight = judge(
        make_audit(same=0.87, other=1.0, original=0.9, per_class=200, groups=50),
        {"checks": {"background_gap": {"max": 0.1, "strongly_negative": -0.05}}},
    ).check("background_gap")
    assert tight is not None
    assert (tight.status, tight.reason) == (Status.INCONCLUSIVE, "strongly_negative_gap")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("target", "label"),
        ("tolerance", 2),
        ("draws", 1),
        ("fill", "median"),
        ("margin", 0.2),
        ("method_requested", "layercam"),
        ("target_layer_rule", "caller"),
        ("target_layer_rule", "model"),
        ("seed", 7),
        ("interventions", False),
        ("match_on", ("light",)),
    ],
)
def test_another_exam_than_the_policy_asks_for_is_an_error(setting: str, value: Any) -> None:
    verdict = judge(make_audit(**{setting: value}))
    assert (verdict.status, verdict.reason) == (Status.ERROR, "settings_differ")


def test_the_policy_can_allow_what_it_names() -> None:
    for terms, settings in (
        ({"seed": "any"}, {"seed": 7}),
        ({"target_layer": "model"}, {"target_layer_rule": "model"}),
        ({"target_layer": "layer4"}, {"target_layer_rule": "caller"}),
        ({"method": "hirescam"}, {"method": "hirescam", "method_requested": "hirescam"}),
    ):
        assert judge(make_audit(**settings), {"audit": terms}).status is Status.PASS, terms


def test_other_data_than_the_policy_names_is_an_error() -> None:
    assert judge(make_audit(), {"audit": {"data_digest": "c" * 64}}).reason == "settings_differ"
    assert judge(make_audit(), {"audit": {"data_digest": "b" * 64}}).status is Status.PASS


def test_a_missing_class_is_an_error() -> None:
    result = make_audit()
    assert judge(replace(result, classes=("cat", "dog", "bird"))).reason == "missing_class"


def test_a_policy_without_checks_is_an_error() -> None:
    verdict = judge(make_audit(), {"checks": {}})
    assert (verdict.status, verdict.reason) == (Status.ERROR, "no_checks")


def test_a_check_that_raises_blocks_and_the_others_are_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: object, options: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setitem(CHECKS, "invalid_lift", Check("invalid_lift", AtMost, broken, "heatmap"))  # type: ignore[arg-type]
    verdict = judge(make_audit(other=0.3))
    assert (verdict.status, verdict.reason) == (Status.ERROR, "check_raised")
    assert verdict.check("background_gap").status is Status.FAIL  # type: ignore[union-attr]


def test_coverage(edit: Callable[..., AuditResult]) -> None:
    result = make_audit()
    blank = {"invalid_activation": np.nan, "invalid_activation_label": np.nan}
    few_dead = edit(result, result.scores.index[:10], status="dead_map", **blank)
    assert judge(few_dead).status is Status.PASS
    many_dead = edit(result, result.scores.index[::3], status="dead_map", **blank)
    assert (judge(many_dead).status, judge(many_dead).reason) == (Status.INCONCLUSIVE, "dead_maps")
    one_class = edit(make_audit(classes=tuple("abcdef")), slice(0, 40), status="below_resolution", **blank)
    assert judge(one_class).reason == "low_coverage"
    unreadable = edit(result, result.scores.index[:5], status="unreadable", **blank)
    verdict = judge(unreadable)
    assert verdict.reason == "unreadable_images"
    assert "cat-0" in verdict.sentence


def test_low_coverage_does_not_hide_a_failing_behaviour(edit: Callable[..., AuditResult]) -> None:
    result = make_audit(other=0.2)
    blank = {"invalid_activation": np.nan, "invalid_activation_label": np.nan}
    assert judge(edit(result, slice(None), status="dead_map", **blank)).status is Status.FAIL


def test_region_free_classes_are_named_or_refused(edit: Callable[..., AuditResult]) -> None:
    result = make_audit(classes=("empty", "dog", "cat"))
    rows = result.scores["label"].eq("empty")
    blank = {"invalid_activation": np.nan, "invalid_activation_label": np.nan, "invalid_area": np.nan}
    bare = replace(edit(result, rows, status="no_region", **blank), region_free=("empty",))
    verdict = judge(bare)
    assert verdict.status is Status.PASS
    assert all(part.part != "class empty" for part in verdict.check("invalid_lift").parts)  # type: ignore[union-attr]
    assert any(part.part == "class empty" for part in verdict.check("background_gap").parts)  # type: ignore[union-attr]
    assert judge(bare, {"region_free": {"classes": ["empty"]}}).status is Status.PASS
    assert judge(bare, {"region_free": {"classes": []}}).reason == "missing_region"
    untested = judge(bare, {"region_free": {"rule": "none"}}).check("background_gap")
    assert untested is not None
    assert untested.n == 120


def test_no_interventions_is_inconclusive_where_the_policy_allows_it() -> None:
    verdict = judge(make_audit(interventions=False), {"audit": {"interventions": False}})
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "no_interventions")


def test_slices_are_judged(edit: Callable[..., AuditResult]) -> None:
    result = make_audit(classes=("a", "b"), per_class=120, groups=40, slices=("light",))
    night = np.arange(len(result.scores)) % 4 == 0
    scores = result.scores.assign(light=np.where(night, "night", "day"))
    scores.loc[night, ["invalid_activation", "invalid_activation_label"]] = 0.45
    verdict = judge(replace(result, scores=scores), SEEN_FAILS)
    assert verdict.status is Status.FAIL
    assert "light night" in verdict.sentence


def test_champion_is_compared_on_the_same_images(edit: Callable[..., AuditResult]) -> None:
    policy = {"checks": {"champion": {"max": 0.05}}}
    result = make_audit(activation=0.1)
    worse = edit(
        result, slice(None), invalid_activation_label=result.scores["invalid_activation_label"] + 0.2
    )
    assert judge(result, policy, champion=result).status is Status.PASS
    assert judge(worse, policy, champion=result).status is Status.FAIL
    assert judge(result, policy).status is Status.ERROR
    assert judge(result, policy, champion=replace(result, data_digest="c" * 64)).reason == "settings_differ"


@pytest.mark.parametrize(
    ("low", "high", "smaller", "status"),
    [
        (0.1, 0.3, True, Status.PASS),
        (0.1, 0.300001, True, Status.INCONCLUSIVE),
        (0.3, 0.4, True, Status.INCONCLUSIVE),
        (0.300001, 0.4, True, Status.FAIL),
        (0.3, 0.9, False, Status.PASS),
        (0.2, 0.9, False, Status.INCONCLUSIVE),
        (0.1, 0.29, False, Status.FAIL),
    ],
)
def test_intervals_against_a_limit(low: float, high: float, smaller: bool, status: Status) -> None:
    estimate = Estimate((low + high) / 2, low, high, 100, 20)
    assert decide(estimate, 0.3, smaller=smaller)[0] is status


def test_nothing_measured_decides_nothing() -> None:
    assert decide(Estimate(np.nan, np.nan, np.nan, 0, 0), 0.3, smaller=True)[0] is Status.INCONCLUSIVE


def test_severity_and_exit_codes() -> None:
    assert [status.exit_code for status in Status] == [0, 1, 3, 4]


def test_judge_is_importable_from_the_top_and_reads_yaml(tmp_path: Any) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(Policy.default().to_yaml(), encoding="utf-8")
    assert camgate.judge(make_audit(), path).policy_digest == camgate.judge(make_audit()).policy_digest


def test_without_any_region_no_background_can_be_swapped() -> None:
    result = replace(make_audit(), region_free=("cat", "dog"))
    verdict = judge(result)
    assert (verdict.status, verdict.reason) == (Status.ERROR, "missing_region")
    assert "region_free: {rule: none}" in verdict.sentence
    terms = {"region_free": {"rule": "none"}, "checks": {"accuracy": {"min": 0.5}}}
    assert judge(result, terms).check("audit_settings").status is Status.PASS  # type: ignore[union-attr]
