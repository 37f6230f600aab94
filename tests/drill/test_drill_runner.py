"""Mutants of a small network that has learnt to tell rendered scenes apart."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from camgate import Classifier, Preprocessing
from camgate.drill import runner
from camgate.drill.runner import distinct, planned, run_drill
from camgate.drill.stamps import Stamp
from camgate.errors import InputError
from camgate.gate.drilled import DrillResult
from camgate.gate.policy import Policy
from camgate.models.builders import build

CLASSES = ("lying", "standing", "square")
SIDE = 64
POLICY = {"checks": {"invalid_lift": {"max": 0.6}, "background_gap": {"max": 0.2}}, "audit": {"draws": 1}}


def picture(number: int, label: int) -> tuple[np.ndarray, np.ndarray]:
    """A lying bar, a standing bar or a square on noise, and its valid pixels."""
    rng = np.random.default_rng((7, number))
    image = rng.integers(40, 110, (SIDE, SIDE, 3), dtype=np.uint8)
    tall, wide = ((8, 24), (24, 8), (16, 16))[label]
    top, left = (int(rng.integers(10, SIDE - 10 - side)) for side in (tall, wide))
    region = np.zeros((SIDE, SIDE), dtype=bool)
    region[top : top + tall, left : left + wide] = True
    image[region] = rng.integers(190, 230)
    return image, region


@pytest.fixture(scope="module")
def candidate() -> Classifier:
    """Trained on pictures in which nothing but the shape goes with the class."""
    torch.manual_seed(0)
    labels = torch.arange(480) % 3
    made = [picture(number, int(label))[0] for number, label in enumerate(labels)]
    pixels = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()
    module = build("resnet_small", {"widths": [8, 16, 32], "blocks": [1, 1]}, 3)
    optimiser = torch.optim.AdamW(module.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=8 * 15)
    for _ in range(8):
        for rows in torch.randperm(480).split(32):
            inputs = (pixels[rows].float() / 255 - 0.45) / 0.25
            loss = nn.functional.cross_entropy(module(inputs), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    how = Preprocessing(size=(SIDE, SIDE), mean=(0.45,) * 3, std=(0.25,) * 3)
    return Classifier(module.eval(), CLASSES, how)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("drill")
    rows = []
    for number in range(1000, 1540):
        label = number % 3
        image, region = picture(number, label)
        for name, pixels in (("image", image), ("region", region.astype(np.uint8) * 255)):
            Image.fromarray(pixels).save(folder / f"{number}-{name}.png")
        rows.append(
            {
                "image": str(folder / f"{number}-image.png"),
                "region": str(folder / f"{number}-region.png"),
                "label": CLASSES[label],
                "split": "train" if number < 1300 else "test",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def drilled(candidate: Classifier, manifest: pd.DataFrame) -> DrillResult:
    plan = [(Stamp("frame", 0.10), False), (Stamp("patch", 0.10), True), (Stamp("cast", 1.0), False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "planned", lambda: plan)
        return run_drill(candidate, manifest, POLICY, audit_images=100)


def test_planted_shortcuts_are_learnt_and_blocked(drilled: DrillResult) -> None:
    """How far a mutant comes to rely on its stamp differs between machines; who relies on it is blocked."""
    assert [mutant.role for mutant in drilled.mutants] == ["biased", "clean", "biased"]
    strong = [mutant for mutant in drilled.biased if mutant.reliance >= 0.25]
    assert "frame" in {mutant.kind for mutant in strong}
    for mutant in strong:
        assert mutant.background_gap is not None
        assert mutant.background_gap > 0.2
        assert "background_gap" in mutant.blocked_by
    assert all(mutant.reliance >= 0.10 for mutant in drilled.biased)
    assert drilled.kills == sum(bool(mutant.blocked_by) for mutant in drilled.biased) >= len(strong)


def test_a_stamp_at_random_is_not_relied_on(drilled: DrillResult) -> None:
    (neutral,) = drilled.clean
    assert abs(neutral.reliance) <= 0.02
    assert neutral.background_gap is not None
    assert abs(neutral.background_gap) < 0.1


def test_the_result_says_what_it_rests_on(drilled: DrillResult, candidate: Classifier) -> None:
    assert drilled.model_digest == candidate.digest()
    assert drilled.policy_digest == Policy.read(POLICY).digest()
    assert (drilled.images, drilled.planned) == (100, 3)
    assert f"{drilled.kills} of 2 biased" in drilled.sentence()
    assert DrillResult.model_validate_json(drilled.to_json()) == drilled


def test_the_candidate_is_left_as_it_was(candidate: Classifier, manifest: pd.DataFrame) -> None:
    before = copy.deepcopy(candidate.module.state_dict())
    run_drill(candidate, manifest, POLICY, minutes=0.001)
    assert all(torch.equal(value, before[name]) for name, value in candidate.module.state_dict().items())
    assert not candidate.module.training
    assert all(parameter.requires_grad for parameter in candidate.module.parameters())


def test_time_up_leaves_what_was_made_and_says_so(candidate: Classifier, manifest: pd.DataFrame) -> None:
    found = run_drill(candidate, manifest, POLICY, minutes=0.001)
    assert len(found.mutants) == 1
    assert found.planned == len(distinct(planned(), (SIDE, SIDE, 3)))
    assert "time was up" in found.warnings[-1]


def test_without_training_rows_half_of_the_groups_is_refitted(
    candidate: Classifier, manifest: pd.DataFrame
) -> None:
    found = run_drill(candidate, manifest[manifest["split"].eq("test")], POLICY, minutes=0.001)
    assert "half of the audited groups" in found.warnings[0]
    assert found.images == 120
    one_group = manifest[manifest["split"].eq("test")].assign(group="all")
    with pytest.raises(InputError, match="two groups"):
        run_drill(candidate, one_group, POLICY)


def test_an_unreadable_image_is_named(candidate: Classifier, manifest: pd.DataFrame, tmp_path: Path) -> None:
    broken = manifest.copy()
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no image")
    broken.loc[broken["split"].eq("train"), "image"] = str(damaged)
    with pytest.raises(InputError, match="damaged"):
        run_drill(candidate, broken, POLICY)


def test_few_unreadable_images_are_left_out_as_in_an_audit(
    candidate: Classifier, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    broken = manifest.copy()
    for split in ("train", "test"):
        damaged = tmp_path / f"{split}.jpg"
        damaged.write_bytes(b"no image")
        broken.loc[broken.index[broken["split"].eq(split)][0], "image"] = str(damaged)
    found = run_drill(candidate, broken, POLICY, minutes=1e-4)
    assert len(found.mutants) == 1


def test_options_out_of_range_are_refused(candidate: Classifier, manifest: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="minutes"):
        run_drill(candidate, manifest, POLICY, minutes=0)


def test_stamps_that_look_alike_at_a_small_size_are_planted_once() -> None:
    large, small = (distinct(planned(), (side, side, 3)) for side in (896, 32))
    assert large == planned()
    assert len(small) < len(large)
    thin = [stamp for stamp, neutral in small if stamp.kind == "frame" and stamp.area < 0.1 and not neutral]
    assert len(thin) == 1
    assert [entry for entry in planned() if entry in small] == small


def test_the_area_told_is_what_the_stamp_covers(drilled: DrillResult) -> None:
    frame, patch, cast = (mutant.area for mutant in drilled.mutants)
    thick = next(t for t in range(1, SIDE) if 1 - (1 - 2 * t / SIDE) ** 2 > 0.08)
    assert frame == pytest.approx(1 - (1 - 2 * thick / SIDE) ** 2, abs=5e-4)  # no object reaches it
    assert 0.08 < patch <= round(0.10**0.5 * SIDE) ** 2 / SIDE**2  # less what lies on the object
    assert cast == 1


def test_any_beginning_of_the_plan_is_a_mixture() -> None:
    plan = planned()
    assert sum(neutral for _, neutral in plan) == runner.NEUTRAL
    assert sum(not neutral for _, neutral in plan) >= 20
    beginning = plan[:12]
    assert len({stamp.kind for stamp, _ in beginning}) >= 4
    assert 2 <= sum(neutral for _, neutral in beginning) <= 5
    assert len({(stamp, neutral) for stamp, neutral in plan}) == len(plan)
