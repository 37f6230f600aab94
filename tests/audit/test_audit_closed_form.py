"""Models whose scores and background gap are known without measuring, and data made to mislead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from camgate import Classifier, Preprocessing, audit, judge
from camgate.audit.interventions import composite, pair_donors, widen
from camgate.audit.result import AuditResult
from camgate.audit.summary import background_gap, lift, summarise
from camgate.data.manifest import validate_manifest
from camgate.gate.verdict import Status
from readers import CELL, SIDE, ReadsOneCell

PLAIN = Preprocessing(size=(SIDE, SIDE), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
OPTIONS = {"gallery_worst": 0, "gallery_sample": 0, "sanity": False}
POLICY = {"audit": {"min_images": 20}, "sanity": {"required": False}}


def both_reader(wall: float, thing: float) -> Classifier:
    """Reads wall and object, each with its weight."""
    mask = torch.zeros(8, 8)
    mask[0:2, 0:2], mask[4:6, 4:6] = wall, thing
    return Classifier(ReadsOneCell(mask), ["blue", "red"], PLAIN)


@pytest.mark.parametrize(("wall", "thing"), [(0.2, 1.0), (0.6, 1.0), (1.0, 0.6), (1.0, 0.0)])
def test_mass_lift_and_gap_follow_from_the_weights(
    biased_data: pd.DataFrame, wall: float, thing: float
) -> None:
    result = audit(both_reader(wall, thing), biased_data, **OPTIONS)
    # Four cells each, of the same colour: mass goes by weight. 36 valid cells grow to 16 of 64.
    np.testing.assert_allclose(result.scores["invalid_activation"], wall / (wall + thing), atol=1e-5)
    assert lift(result).value == pytest.approx(wall / (wall + thing) / (48 / 64), abs=1e-5)
    gap = background_gap(result)
    assert gap is not None
    # The heavier of the two decides; on a background of the other class they contradict each other.
    assert gap.estimate.value == (1.0 if wall > thing else 0.0)
    assert gap.donor_flips.value == gap.estimate.value
    assert gap.damage == 0.0


def test_what_is_seen_and_not_used_is_called_so(biased_data: pd.DataFrame) -> None:
    # Sixty images bound a gap of 0 only loosely, in a class more so.
    policy = {**POLICY, "checks": {"invalid_lift": {"max": 0.4}, "background_gap": {"max": 0.3}}}
    verdict = judge(audit(both_reader(0.6, 1.0), biased_data, **OPTIONS), policy)
    check = verdict.check("invalid_lift")
    assert check is not None
    assert check.reason == "seen_but_unused"


def test_the_probability_moves_before_the_answer_does(biased_data: pd.DataFrame) -> None:
    gap = background_gap(audit(both_reader(0.9, 1.0), biased_data, **OPTIONS))
    assert gap is not None
    assert gap.estimate.value == 0.0
    assert gap.probability.value > 0.05


class Fragile(nn.Module):
    """Reads the object, and turns its answer round where the picture is smoother than a camera's."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.reader = ReadsOneCell(torch.ones(8, 8))
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        rough = roughness(x)
        return torch.where(rough > self.least, 1.0, -1.0)[:, None] * self.reader(x)


def roughness(x: Tensor) -> Tensor:
    """Mean difference of neighbouring pixels outside the object."""
    difference = (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().mean(dim=1)
    return (difference < 0.03).float().mul(difference).mean(dim=(1, 2))


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Blue objects on the left, red ones on the right: a donor's object would give its class away."""
    folder = tmp_path_factory.mktemp("scattered")
    rng = np.random.default_rng(3)
    rows = []
    for label, colour, left in (("blue", (0, 0, 255), 8), ("red", (255, 0, 0), 40)):
        for number in range(30):
            image = np.full((SIDE, SIDE, 3), 120, np.uint8) + rng.integers(0, 8, (SIDE, SIDE, 1), np.uint8)
            top = int(rng.integers(0, 5)) * CELL
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[top : top + 16, left : left + 16] = 255
            image[mask > 0] = colour
            name = f"{label}{number}"
            Image.fromarray(image).save(folder / f"{name}.png")
            Image.fromarray(mask).save(folder / f"{name}_mask.png")
            rows.append({"image": f"{name}.png", "label": label, "region": f"{name}_mask.png"})
    return validate_manifest(pd.DataFrame(rows).assign(split="test"), root=folder)


def test_a_model_that_compositing_breaks_is_not_judged_by_it(scattered: pd.DataFrame) -> None:
    images = torch.stack(
        [
            torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1) / 255.0)
            for file in scattered["image"]
        ]
    ).float()
    model = Classifier(
        Fragile(0.999 * float(roughness(images).min())),
        ["blue", "red"],
        PLAIN,
        target_layer="reader.features",
    )
    result = audit(model, scattered, **OPTIONS)
    gap = background_gap(result)
    assert gap is not None
    assert gap.original == 1.0
    assert gap.damage > 0.15
    policy = {**POLICY, "audit": {"min_images": 20, "target_layer": "model"}}
    verdict = judge(result, {**policy, "checks": {"background_gap": {"max": 0.1}}})
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "composite_damage")


def test_donors_that_carry_their_class_are_emptied_first(scattered: pd.DataFrame) -> None:
    everywhere = Classifier(ReadsOneCell(torch.ones(8, 8)), ["blue", "red"], PLAIN)
    gap = background_gap(audit(everywhere, scattered, **OPTIONS))
    assert gap is not None
    assert gap.estimate.value == 0.0
    # The halo that the margin leaves would show in the probability first.
    assert abs(gap.probability.value) < 0.02


class Quadrants(nn.Module):
    """Four images in one: each quadrant goes through the same layers alone, and one of them decides.

    The head reads one quadrant only, so the others are unreachable by architecture (DiFull, Rao 2022).
    """

    def __init__(self, reads: tuple[int, int]) -> None:
        super().__init__()
        self.features = _InQuadrants()
        self.reads = reads
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)
        half = maps.shape[2] // 2
        row, column = (part * half for part in self.reads)
        return self.head(maps[:, :, row : row + half, column : column + half].mean(dim=(2, 3)))


class _InQuadrants(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 16, 5, 2, 2), nn.BatchNorm2d(16), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[2] // 2
        rows = [
            torch.cat([self.layers(x[:, :, r : r + half, c : c + half]) for c in (0, half)], dim=3)
            for r in (0, half)
        ]
        return torch.cat(rows, dim=2)


@pytest.mark.parametrize("reads", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_what_the_architecture_cannot_reach_gets_no_heat(tmp_path: Path, reads: tuple[int, int]) -> None:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    rows = []
    for number in range(24):
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(
            tmp_path / f"{number}.png"
        )
        mask = np.zeros((2, 2), np.uint8)
        mask[reads] = 255
        Image.fromarray(np.kron(mask, np.ones((32, 32), np.uint8))).save(tmp_path / f"{number}_mask.png")
        rows.append(
            {
                "image": f"{number}.png",
                "label": "abc"[number % 3],
                "region": f"{number}_mask.png",
                "split": "test",
            }
        )
    data = validate_manifest(pd.DataFrame(rows), root=tmp_path)
    model = Classifier(Quadrants(reads), ["a", "b", "c"], PLAIN)
    options = {**OPTIONS, "target_layer": "features", "tolerance": 0, "interventions": False}
    result = audit(model, data, **options)
    assert result.settings.method == "hirescam"  # gradients differ from cell to cell
    alive = result.scores[result.scores["status"].eq("ok")]
    assert len(alive) >= 12
    assert alive["invalid_activation"].to_numpy() == pytest.approx(0.0)
    # Grad-CAM averages the gradient over all cells and so lights up what cannot matter.
    averaged = audit(model, data, method="gradcam", **options).scores["invalid_activation"]
    assert averaged.mean() > 0.3


def slow_gap(result: AuditResult) -> float:
    """Accuracy of one arm minus that of the other, by hand."""
    assert result.interventions is not None
    labels = dict(zip(result.scores["image_id"], result.scores["label"], strict=True))
    hits: dict[str, list[bool]] = {"same_class": [], "other_class": [], "original": []}
    for row in result.interventions.to_dict("records"):
        hits[row["arm"]].append(row["predicted"] == labels[row["image_id"]])
    return sum(hits["same_class"]) / len(hits["same_class"]) - sum(hits["other_class"]) / len(
        hits["other_class"]
    )


def test_the_gap_is_the_difference_of_the_arms(fair_data: pd.DataFrame) -> None:
    result = audit(both_reader(1.0, 0.5), fair_data, **OPTIONS)
    assert summarise(result)["background_gap"] == pytest.approx(slow_gap(result))


@given(st.integers(2, 4), st.integers(2, 6), st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_pairs_obey_the_definition(classes: int, per: int, groups: int, draws: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = classes * per
    labels = np.repeat(np.arange(classes), per).astype(str)
    group = rng.integers(groups, size=n)
    strata = rng.integers(2, size=n)
    candidates = rng.random(n) < 0.8
    pairs, left_out = pair_donors(
        labels, group, candidates, np.arange(n), draws=draws, strata=strata, seed=seed
    )
    assert len(pairs) == draws * (n - left_out)
    for pair in pairs:
        for donor in (pair.same, pair.other):
            assert candidates[donor]
            assert group[donor] != group[pair.recipient]
            assert strata[donor] == strata[pair.recipient]
        assert labels[pair.same] == labels[pair.recipient]
        assert labels[pair.other] != labels[pair.recipient]
    for recipient in {pair.recipient for pair in pairs} ^ set(range(n)):
        fits = candidates & (group != group[recipient]) & (strata == strata[recipient])
        same = labels == labels[recipient]
        assert not (fits & same).any() or not (fits & ~same).any()


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_composite_keeps_every_valid_pixel_and_the_far_background(seed: int) -> None:
    rng = np.random.default_rng(seed)
    recipient, donor = rng.integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    region, hole = np.zeros((2, 48, 48), dtype=bool)
    top, left = rng.integers(0, 30, 2)
    region[top : top + 12, left : left + 12] = True
    hole[20:30, 20:30] = True
    made = composite(recipient, region, donor, hole, margin=0.05)
    np.testing.assert_array_equal(made[region], recipient[region])
    far = ~widen(region, 0.05) & ~hole
    np.testing.assert_array_equal(made[far], donor[far])
    turned = composite(recipient[:, ::-1], region[:, ::-1], donor[:, ::-1], np.zeros_like(hole), margin=0.05)
    np.testing.assert_allclose(
        turned[:, ::-1].astype(int),
        composite(recipient, region, donor, np.zeros_like(hole), margin=0.05),
        atol=1,
    )
