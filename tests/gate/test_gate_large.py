"""Many classes: the work follows the images, bounds far out are honest, what is written stays small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from audits_by_hand import make_large_audit
from camgate.audit import gaps, resampling, statistics, summary
from camgate.audit.interventions import pair_donors
from camgate.audit.statistics import mean_sample, rate_sample
from camgate.data.manifest import validate_manifest
from camgate.errors import ManifestError
from camgate.gate.judge import judge
from camgate.models.evaluation import PICTURED, evaluation_of
from camgate.report.files import write_report, write_verdict

POLICY = {
    "checks": {"accuracy": {"min": 0.5}, "invalid_lift": {"max": 0.4}, "background_gap": {"max": 0.1}},
    "disagreement": {"seen_but_unused": "fail"},
}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bootstraps made, and rows that they looked at."""
    done = {"bootstraps": 0, "rows": 0}
    sums, samples = resampling.resampled_sums, resampling.group_samples

    def counted_sums(columns: np.ndarray, **options: int) -> np.ndarray:
        done["bootstraps"] += 1
        done["rows"] += len(columns)
        return sums(columns, **options)

    def counted_samples(count: int, step: int, **options: int) -> Iterator[np.ndarray]:
        done["rows"] += count
        return samples(count, step, **options)

    monkeypatch.setattr(statistics, "resampled_sums", counted_sums)
    monkeypatch.setattr(gaps, "group_samples", counted_samples)
    return done


def test_each_part_is_bootstrapped_once_for_all_levels(work: dict[str, int]) -> None:
    found = {}
    for classes in (30, 120):
        work.update(bootstraps=0, rows=0)
        judge(make_large_audit(classes, 3000, groups_per_class=600 // classes, recipients=100), POLICY)
        found[classes] = dict(work)
    # invalid_lift alone needs them: once over all, once a class, and one mean for its sentence
    assert found[30]["bootstraps"] == 30 + 2
    assert found[120]["bootstraps"] == 120 + 2
    # the groups looked at are those of the data, however many classes share them
    assert found[120]["rows"] < 1.5 * found[30]["rows"]


def test_one_bad_class_among_hundreds_is_found_and_named() -> None:
    verdict = judge(make_large_audit(300, 300 * 40, groups_per_class=20, bad=1), POLICY)
    lift = verdict.check("invalid_lift")
    assert lift is not None
    assert lift.status.value == "FAIL"
    assert "it fails in class n00299 thing" in lift.message
    assert [finding.part for finding in lift.parts if finding.status.value == "FAIL"] == [
        "class n00299 thing"
    ]
    clean = judge(make_large_audit(300, 300 * 40, groups_per_class=20), POLICY)
    assert clean.status.value == "PASS"


def _family_errors(classes: int, audits: int, groups: int, *, rates: bool, seed: int) -> float:
    """Share of audits in which some class fails although each lies exactly at the limit."""
    rng = np.random.default_rng(seed)
    level = 1 - 0.05 / classes
    wrong = 0
    codes = np.repeat(np.arange(groups), 2)
    for _ in range(audits):
        for number in range(classes):
            if rates:
                sample = rate_sample(rng.random(len(codes)) < 0.1, codes)
                limit = 0.1
            else:  # skewed, as shares of heat are: most images near 0, some far out
                effect = rng.beta(0.8, 3.2, groups)
                sample = mean_sample(effect[codes], codes, seed=number)
                limit = 0.2
            if sample.at(level).low > limit:
                wrong += 1
                break
    return wrong / audits


@pytest.mark.parametrize("rates", [False, True])
def test_false_alarms_over_many_classes_stay_rare(rates: bool) -> None:
    share = _family_errors(40, 60, 25, rates=rates, seed=1)
    # one-sided 2.5 % by the level; 60 audits show 5 of them with a probability of 2 %
    assert share <= 4 / 60, share


@pytest.mark.long
@pytest.mark.parametrize("rates", [False, True])
def test_false_alarms_over_a_thousand_classes(rates: bool) -> None:
    assert _family_errors(1000, 12, 25, rates=rates, seed=2) <= 2 / 12


def _written(tmp_path: Path, classes: int, rows: int) -> tuple[int, int]:
    result = make_large_audit(classes, rows, bad=2)
    verdict = judge(result, POLICY)
    assert verdict.status.value == "FAIL"
    assert len(verdict.sentence) < 1500
    return (
        write_verdict(tmp_path, verdict).stat().st_size,
        write_report(tmp_path, result, verdict).stat().st_size,
    )


def test_what_is_written_stays_small(tmp_path: Path) -> None:
    verdict, report = _written(tmp_path, 300, 6000)
    assert verdict < 2_000_000 * 300 / 1000
    assert report < 5_000_000 * 300 / 1000


@pytest.mark.long
def test_a_thousand_classes_and_fifty_thousand_images(tmp_path: Path) -> None:
    verdict, report = _written(tmp_path, 1000, 50_000)
    assert verdict < 2_000_000  # MLflow renders JSON up to this size
    assert report < 5_000_000


def test_donors_of_many_classes_are_drawn_evenly_and_outside_the_group() -> None:
    labels = np.repeat(np.arange(50), 6)
    groups = np.arange(300) // 3
    everyone = np.ones(300, dtype=bool)
    everyone[labels == 49] = False  # nobody to give: its images are left out as recipients' donors
    pairings, left_out = pair_donors(labels, groups, everyone, np.arange(294), draws=5)
    assert left_out == 0
    counts = np.bincount([labels[pairing.other] for pairing in pairings], minlength=50)
    assert counts[49] == 0
    expected = 294 * 5 / 49
    assert ((counts[:49] - expected) ** 2 / expected).sum() < 85  # chi-square, 48 degrees: p = 0.001
    for pairing in pairings:
        assert labels[pairing.same] == labels[pairing.recipient] != labels[pairing.other]
        assert groups[pairing.recipient] not in (groups[pairing.same], groups[pairing.other])


def test_a_part_without_composites_is_not_measured() -> None:
    result = make_large_audit(20, 400, recipients=5)
    composites = summary.Composites(result)
    measured = [composites.sample(rows) is not None for rows in summary.parts(result).values()]
    assert 0 < sum(measured) <= 5


def test_messages_name_some_classes_only() -> None:
    frame = make_large_audit(300, 600).scores[["image_id", "label"]].rename(columns={"image_id": "image"})
    with pytest.raises(ManifestError) as caught:
        validate_manifest(frame, classes=[f"other {number}" for number in range(1000)], check_files=False)
    longest = max(map(len, caught.value.faults))
    assert longest < 400
    assert any("1000 of 1000 classes have no image" in fault for fault in caught.value.faults)
    policy = {**POLICY, "critical_classes": [f"nobody {number}" for number in range(500)]}
    assert len(judge(make_large_audit(30, 600), policy).sentence) < 400


def test_confusions_of_many_classes_are_those_that_occur() -> None:
    import torch

    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 400, 2000))
    predicted, confidence = torch.from_numpy(rng.integers(0, 400, 2000)), torch.from_numpy(rng.random(2000))
    found = evaluation_of(predicted, labels, confidence, classes=tuple(map(str, range(400))))
    assert len(found.confusion) <= 2000
    assert found.confusion["n"].sum() == 2000
    assert len(found._pictured()) == PICTURED
    assert found.confusion_picture().startswith(b"\x89PNG")
