"""Candidate and champion on the same images: differences known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from audits_by_hand import edit, make_audit
from camgate.audit.intervals import Estimate
from camgate.audit.paired import COLUMNS, MEASURES, compare
from camgate.audit.result import AuditResult
from camgate.errors import InputError, PolicyError
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.gate.verdict import CheckResult, Status

__all__ = ["edit"]  # a fixture

Edit = Callable[..., AuditResult]


def row(result: AuditResult, champion: AuditResult, measure: str, **options: Any) -> pd.Series:
    return compare(result, champion, **options).set_index("measure").loc[measure]


def with_outcomes(result: AuditResult, wrong: Callable[[pd.DataFrame], pd.Series]) -> AuditResult:
    """The same audit, in which exactly these composites are predicted wrongly."""
    table = result.interventions
    assert table is not None
    label = table["image_id"].str.split("-").str[0]
    other = label.map({"cat": "dog", "dog": "cat"})
    return replace(result, interventions=table.assign(predicted=np.where(wrong(table), other, label)))


def test_a_model_against_itself_differs_by_nothing_and_the_interval_says_what_n_could_miss() -> None:
    result = make_audit()
    table = compare(result, result)
    assert list(table.columns) == list(COLUMNS)
    assert list(table["measure"]) == list(MEASURES)
    assert (table["difference"] == 0).all()
    assert (table["n"] == 120).all()
    assert (table["groups"] == 20).all()
    assert ((table["low"] < 0) & (table["high"] > 0) & (table["high"] < 0.06)).all()
    assert ((table["detectable"] > 0) & (table["detectable"] < 0.1)).all()


def test_hard_images_cancel(edit: Edit) -> None:
    """The champion's shares vary a lot; the candidate's are the same and 0.05 more in every second group."""
    champion = make_audit(activation=0.5, spread=0.2)
    groups = champion.scores["group"].str[1:].astype(int)
    worse = champion.scores["invalid_activation_label"] + 0.05 * (groups % 2)
    found = row(edit(champion, slice(None), invalid_activation_label=worse), champion, "invalid_activation")
    assert found["difference"] == pytest.approx(0.025)
    assert found["candidate"] - found["champion"] == pytest.approx(0.025)
    # twenty groups, ten of each kind: the t interval of twenty numbers 0 and 0.05, in closed form
    half = stats.t.ppf(0.975, 19) * 0.025 / np.sqrt(19)
    assert found["high"] - found["difference"] == pytest.approx(half, rel=0.1)
    assert found["difference"] - found["low"] == pytest.approx(half, rel=0.1)
    power = stats.t.ppf(0.975, 19) + stats.norm.ppf(0.8)
    assert found["detectable"] == pytest.approx(power * half / stats.t.ppf(0.975, 19), rel=0.1)


def test_accuracy_is_paired(edit: Edit) -> None:
    """Both are wrong on the same 40 images, the candidate on 12 more, one in each of 12 groups."""
    labels = make_audit().scores["label"]
    other = labels.map({"cat": "dog", "dog": "cat"})
    hard, more = np.arange(120) % 3 == 0, np.arange(120) % 20 < 12
    more &= (np.arange(120) < 20) & ~hard
    champion = edit(make_audit(), hard, predicted=other[hard])
    result = edit(champion, more, predicted=other[more])
    found = row(result, champion, "accuracy")
    assert found["champion"] == pytest.approx(80 / 120)
    assert found["difference"] == pytest.approx(-more.sum() / 120)
    per_group = np.bincount(np.arange(60) % 20, weights=more[:60], minlength=20) / 6
    half = stats.t.ppf(0.975, 19) * per_group.std(ddof=1) / np.sqrt(20)
    assert found["difference"] - found["low"] == pytest.approx(half, rel=0.2)
    unpaired = np.sqrt(2 * 0.22 / 120) * 2
    assert found["high"] - found["low"] < unpaired  # pairing pays


def test_one_image_that_differs_is_no_evidence(edit: Edit) -> None:
    result = make_audit()
    worse = edit(result, [0], predicted="dog")
    found = row(worse, result, "accuracy")
    slack = stats.t.ppf(0.975, 19) ** 2
    assert found["difference"] == pytest.approx(-1 / 120)
    assert found["low"] <= -1 / 120 - slack / (120 + slack) + 1e-12
    assert found["high"] > 0


def test_only_images_that_both_have_count(edit: Edit) -> None:
    champion = make_audit(activation=0.1)
    blank = {"invalid_activation": np.nan, "invalid_activation_label": np.nan}
    dead = edit(champion, slice(0, 9), status="dead_map", **blank)
    lost = edit(champion, slice(5, 14), status="unreadable", **blank)
    table = compare(dead, lost).set_index("measure")
    assert table.loc["accuracy", "n"] == 110
    assert table.loc["invalid_activation", "n"] == 105
    interventions = champion.interventions
    assert interventions is not None
    few = replace(champion, interventions=interventions[~interventions["image_id"].isin(["cat-0", "dog-3"])])
    assert row(few, champion, "background_gap")["n"] == 118
    none = replace(champion, interventions=None)
    missing = row(none, champion, "background_gap")
    assert missing["n"] == 0
    assert missing[["candidate", "champion", "difference", "low", "high", "detectable"]].isna().all()


def test_the_order_of_rows_does_not_matter(edit: Edit) -> None:
    result, champion = make_audit(activation=0.2), make_audit(activation=0.1, other=0.8)
    shuffled = replace(champion, scores=champion.scores.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(compare(result, champion), compare(result, shuffled))


def test_gaps_are_compared_recipient_by_recipient() -> None:
    """Candidate: all of draw 0 of the other-class arm wrong, gap 1/3. Champion: no gap, but hard images."""
    clean = make_audit(same=1.0, other=1.0)
    number = clean.interventions["image_id"].str.split("-").str[1].astype(int)  # type: ignore[index]
    hard = number % 4 == 0
    champion = with_outcomes(clean, lambda table: hard)
    result = with_outcomes(
        clean, lambda table: hard | (table["arm"].eq("other_class") & table["draw"].eq(0) & ~hard)
    )
    found = row(result, champion, "background_gap")
    assert (found["champion"], found["candidate"]) == (pytest.approx(0), pytest.approx(0.75 / 3))
    assert found["difference"] == pytest.approx(0.25)
    # every fourth image, hence five of twenty groups, differs by 0 and the others by 1/3
    half = stats.t.ppf(0.975, 19) * np.sqrt(15 / 20 * 5 / 20 / 19) / 3
    assert found["high"] - found["difference"] >= 0.99 * half
    assert found["difference"] - found["low"] == pytest.approx(half, rel=0.6)
    assert found["low"] > 0.1


def test_a_wider_level_is_wider_and_other_images_are_refused() -> None:
    result = make_audit(activation=0.2)
    champion = make_audit(activation=0.1)
    wide, narrow = (row(result, champion, "invalid_activation", level=level) for level in (0.99, 0.8))
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]
    with pytest.raises(InputError, match="bbbbbbbbbbbb and cccccccccccc"):
        compare(result, replace(champion, data_digest="c" * 64))


def against(result: AuditResult, champion: AuditResult | None, **options: float) -> CheckResult:
    found = judge(result, {"checks": {"champion": options}}, champion=champion).check("champion")
    assert found is not None
    return found


def test_the_check_holds_each_difference_against_its_limit(edit: Edit) -> None:
    champion = make_audit(activation=0.1)
    labels = champion.scores["label"]
    third = np.arange(120) % 3 == 0
    weaker = edit(champion, third, predicted=labels.map({"cat": "dog", "dog": "cat"})[third])
    biased = with_outcomes(champion, lambda table: table["arm"].eq("other_class") & table["draw"].eq(0))
    limits = {"max": 0.1, "max_accuracy_loss": 0.1, "max_gap_excess": 0.1}
    assert against(champion, champion, **limits).status is Status.PASS
    lost = against(weaker, champion, **limits)
    assert (lost.status, lost.reason) == (Status.FAIL, "below_limit")
    assert lost.value == pytest.approx(-1 / 3)
    assert "accuracy is -33 points" in lost.message
    assert "class cat, accuracy" in [part.part for part in lost.parts]
    gap = against(biased, champion, **limits)
    assert (gap.status, gap.reason, gap.limit) == (Status.FAIL, "above_limit", 0.1)
    assert "the background gap is +3" in gap.message
    assert against(weaker, champion, max=0.1).status is Status.PASS
    assert against(champion, None, max_gap_excess=0.1).status is Status.ERROR
    silent = replace(champion, interventions=None)
    assert against(champion, silent, max_gap_excess=0.1).reason == "not_measured"


def test_the_check_asks_for_a_limit() -> None:
    with pytest.raises(PolicyError, match=r"checks\.champion: give at least one of max"):
        Policy.parse({"checks": {"champion": {}}})
    with pytest.raises(PolicyError, match="max_accuracy_loss"):
        Policy.parse({"checks": {"champion": {"max_accuracy_los": 0.1}}})


def test_what_a_part_can_show_rests_on_the_corrected_bound() -> None:
    result = make_audit(classes=("a", "b", "c", "d"))
    parts = judge(result).check("invalid_lift").parts  # type: ignore[union-attr]
    part = parts[0]
    plain = Estimate(part.value or 0, part.low or 0, part.high or 0, part.n, part.groups)
    quantile = stats.t.ppf(1 - 0.025 / 4, part.groups - 1) + stats.norm.ppf(0.8)
    assert part.detectable == pytest.approx(quantile * plain.standard_error)
