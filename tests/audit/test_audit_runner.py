"""The whole audit on models whose every number is known in closed form."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import camgate
from camgate.audit.evaluated import evaluate_audit
from camgate.audit.result import INTERVENTION_COLUMNS, SCORE_COLUMNS, AuditResult
from camgate.audit.runner import audit, derive_seed
from camgate.audit.summary import background_gap, summarise
from camgate.data.manifest import validate_manifest
from camgate.data.regions import RegionRule, apply_region_rule
from camgate.data.rle import region_cell
from camgate.errors import InputError, ManifestError, ModelError
from camgate.models.classifier import Classifier
from camgate.models.evaluation import evaluate_classifier


def test_a_model_that_reads_the_wall_is_seen_by_map_and_by_swap(
    reads_wall: Classifier, biased_data: pd.DataFrame
) -> None:
    result = audit(reads_wall, biased_data)
    scores = result.scores
    assert (scores["status"] == "ok").all()
    assert (scores["predicted"] == scores["label"]).all()
    np.testing.assert_allclose(scores["invalid_activation"], 1.0)
    np.testing.assert_allclose(scores["peak_invalid"], 1.0)
    # the object fills 2 x 2 of 64 cells; grown by one, 4 x 4
    np.testing.assert_allclose(scores["invalid_area"], 1 - 16 / 64)
    np.testing.assert_allclose(scores["invalid_area_raw"], 1 - 4 / 64)
    np.testing.assert_allclose(scores["invalid_lift"], 1 / (1 - 16 / 64))
    gap = background_gap(result)
    assert gap is not None
    assert (gap.original, gap.same_class, gap.other_class) == (1.0, 1.0, 0.0)
    assert gap.estimate.value == 1.0


def test_a_model_that_reads_the_object_is_clean_by_map_and_by_swap(
    reads_object: Classifier, biased_data: pd.DataFrame
) -> None:
    result = audit(reads_object, biased_data)
    np.testing.assert_allclose(result.scores["invalid_activation"], 0.0)
    gap = background_gap(result)
    assert gap is not None
    assert (gap.same_class, gap.other_class, gap.estimate.value) == (1.0, 1.0, 0.0)
    assert gap.estimate.low < 0 < gap.estimate.high


def test_columns_baselines_and_files(
    reads_object: Classifier, biased_data: pd.DataFrame, tmp_path: Path
) -> None:
    result = audit(reads_object, biased_data)
    assert set(SCORE_COLUMNS) <= set(result.scores.columns)
    assert result.interventions is not None
    assert tuple(result.interventions.columns) == INTERVENTION_COLUMNS
    assert result.interventions.groupby("arm").size().to_dict() == {
        "original": 60,
        "same_class": 180,
        "other_class": 180,
    }
    # the object lies in the same place in every image, so the shuffled region is the own one
    assert result.baselines["uniform"] == pytest.approx(0.75)
    assert result.baselines["shuffled"] == pytest.approx(0.0)
    assert 0 < result.baselines["centre"] < 0.75
    folder = result.save(tmp_path / "audit")
    assert sorted(path.name for path in folder.iterdir()) == [
        "audit.json",
        "heatmaps",
        "interventions.parquet",
        "scores.parquet",
    ]
    back = AuditResult.load(folder)
    pd.testing.assert_frame_equal(back.scores, result.scores, check_dtype=False)
    assert back.meta() == result.meta()
    assert summarise(back) == summarise(result)
    np.testing.assert_array_equal(back.gallery[0].heatmap, result.gallery[0].heatmap)
    with pytest.raises(InputError, match="not empty"):
        result.save(folder)


def test_donors_stay_outside_the_group_and_are_used_evenly(
    reads_object: Classifier, biased_data: pd.DataFrame
) -> None:
    result = audit(reads_object, biased_data)
    assert result.interventions is not None
    scores = result.scores.set_index("image_id")
    swaps = result.interventions[result.interventions["arm"] != "original"]
    own, donor = swaps["image_id"].map(scores["group"]), swaps["donor_id"].map(scores["group"])
    assert (own.to_numpy() != donor.to_numpy()).all()
    same = swaps[swaps["arm"] == "same_class"]
    assert (same["image_id"].map(scores["label"]) == same["donor_id"].map(scores["label"])).all()
    other = swaps[swaps["arm"] == "other_class"]
    assert (other["image_id"].map(scores["label"]) != other["donor_id"].map(scores["label"])).all()
    uses = swaps["donor_id"].value_counts().reindex(scores.index, fill_value=0)
    assert uses.max() - uses.min() <= 3


def test_matched_columns_are_honoured(reads_object: Classifier, biased_data: pd.DataFrame) -> None:
    lit = biased_data.assign(light=["day" if i % 3 else "night" for i in range(len(biased_data))])
    result = audit(reads_object, lit, match_on=("light",), slices=("light",))
    assert result.interventions is not None
    light = result.scores.set_index("image_id")["light"]
    swaps = result.interventions.dropna(subset="donor_id")
    assert (swaps["image_id"].map(light) == swaps["donor_id"].map(light)).all()


def test_the_same_inputs_give_the_same_audit_and_the_seed_follows_from_them(
    reads_wall: Classifier, fair_data: pd.DataFrame
) -> None:
    first, second = audit(reads_wall, fair_data), audit(reads_wall, fair_data, batch_size=7)
    assert first.settings.seed == derive_seed(first.model_digest, first.data_digest)
    pd.testing.assert_frame_equal(first.scores, second.scores)
    pd.testing.assert_frame_equal(first.interventions, second.interventions)
    assert audit(reads_wall, fair_data, seed=3).settings.seed == 3


@pytest.mark.parametrize("part", ["shuffled", "shards"])
def test_a_score_depends_neither_on_the_order_nor_on_the_shard(
    reads_wall: Classifier, fair_data: pd.DataFrame, part: str
) -> None:
    named = validate_manifest(fair_data)
    order = np.random.default_rng(0).permutation(len(named))
    parts = [order] if part == "shuffled" else np.array_split(order, 3)
    columns = list(SCORE_COLUMNS)
    whole = audit(reads_wall, named, interventions=False).scores[columns].set_index("image_id")
    again = [audit(reads_wall, named.iloc[rows], interventions=False).scores for rows in parts]
    scores = pd.concat(again)[columns].set_index("image_id")
    pd.testing.assert_frame_equal(scores.loc[whole.index], whole)


def test_the_model_is_left_as_it_was(reads_wall: Classifier, fair_data: pd.DataFrame) -> None:
    reads_wall.module.train()
    before = copy.deepcopy(reads_wall.module.state_dict())
    audit(reads_wall, fair_data)
    assert all(module.training for module in reads_wall.module.modules())
    assert all(parameter.requires_grad for parameter in reads_wall.module.parameters())
    assert all(parameter.grad is None for parameter in reads_wall.module.parameters())
    assert not any(module._forward_hooks for module in reads_wall.module.modules())
    for name, value in reads_wall.module.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_unreadable_images_are_counted_and_named(
    reads_object: Classifier, biased_data: pd.DataFrame, tmp_path: Path
) -> None:
    broken = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:5000])
    rows = biased_data.copy()
    rows.loc[0, "image"] = str(broken)
    result = audit(reads_object, rows)
    assert result.scores.loc[0, "status"] == "unreadable"
    assert np.isnan(result.scores.loc[0, "invalid_activation"])
    assert result.interventions is not None
    assert result.scores.loc[0, "image_id"] not in set(result.interventions["image_id"])
    verdict = camgate.judge(result)
    coverage = verdict.check("coverage")
    assert coverage is not None
    assert (coverage.status, coverage.reason) == ("PASS", "ok")  # 1 of 60 is below 2 %


def test_masks_all_zero_and_all_one(
    reads_object: Classifier, biased_data: pd.DataFrame, tmp_path: Path
) -> None:
    for name, value in (("none", 0), ("all", 255)):
        Image.fromarray(np.full((64, 64), value, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    rows = biased_data.copy()
    rows.loc[0, "region"] = str(tmp_path / "none.png")
    rows.loc[1, "region"] = str(tmp_path / "all.png")
    result = audit(reads_object, rows)
    assert result.scores.loc[0, "status"] == "no_region"
    assert result.scores.loc[1, "invalid_activation"] == 0.0
    assert np.isnan(result.scores.loc[1, "invalid_lift"])
    summarise(result)


def test_a_class_without_objects_is_region_free_and_tested_by_its_backgrounds(
    reads_wall: Classifier, biased_data: pd.DataFrame, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(tmp_path / "none.png")
    speck = np.zeros((64, 64), dtype=np.uint8)
    speck[60:63, 60:63] = 255
    Image.fromarray(speck).save(tmp_path / "speck.png")
    rows = biased_data.copy()
    blue = rows.index[rows["label"] == "blue"]
    rows.loc[blue, "region"] = str(tmp_path / "none.png")
    rows.loc[blue[0], "region"] = str(tmp_path / "speck.png")
    result = audit(reads_wall, rows)
    assert result.region_free == ("blue",)
    gap = background_gap(result, result.scores["label"].eq("blue"))
    assert gap is not None
    assert gap.estimate.value > 0.9


def test_nan_logits_name_the_count(reads_object: Classifier, biased_data: pd.DataFrame) -> None:
    with torch.no_grad():
        reads_object.module.head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        audit(reads_object, biased_data)
    assert not any(module._forward_hooks for module in reads_object.module.modules())


def test_one_class_only(reads_object: Classifier, biased_data: pd.DataFrame) -> None:
    red = biased_data[biased_data["label"] == "red"]
    with pytest.raises(InputError, match=r"blue|two classes"):
        audit(reads_object, red)


def test_a_label_the_model_does_not_know(reads_object: Classifier, biased_data: pd.DataFrame) -> None:
    rows = biased_data.copy()
    rows.loc[3, "label"] = "green"
    with pytest.raises(ManifestError, match="green"):
        audit(reads_object, rows)


def test_empty_manifest(reads_object: Classifier, biased_data: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"empty|no row"):
        audit(reads_object, biased_data.iloc[:0])


def test_wrong_layer_offers_near_ones(reads_object: Classifier, biased_data: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match="features"):
        audit(reads_object, biased_data, target_layer="featurs")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("target", "guess", "target"),
        ("fill", "paint", "fill"),
        ("draws", 0, "draws"),
        ("margin", 0.9, "margin"),
        ("tolerance", -1, "tolerance"),
        ("method", "gradcm", "gradcam"),
        ("slices", ("light",), "light"),
    ],
)
def test_bad_options(
    reads_object: Classifier, biased_data: pd.DataFrame, option: str, value: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        audit(reads_object, biased_data, **{option: value})


def test_a_full_disk_leaves_nothing_behind(
    reads_object: Classifier, biased_data: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = audit(reads_object, biased_data, interventions=False)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match="No space left"):
        result.save(tmp_path / "audit")
    assert list(tmp_path.iterdir()) == []


def test_damaged_audit_folders_are_refused(
    reads_object: Classifier, biased_data: pd.DataFrame, tmp_path: Path
) -> None:
    folder = audit(reads_object, biased_data).save(tmp_path / "audit")
    (folder / "scores.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="damaged"):
        AuditResult.load(folder)
    with pytest.raises(InputError, match=r"audit\.json"):
        AuditResult.load(tmp_path)


def test_camgate_audit_is_callable_whatever_is_imported_first() -> None:
    import camgate.audit.scores

    assert callable(camgate.audit)
    assert camgate.audit.scores.score_maps


def test_rows_without_split_are_all_audited_with_a_warning(
    reads_object: Classifier, biased_data: pd.DataFrame
) -> None:
    rows = validate_manifest(biased_data.drop(columns=["split", "group"]))
    result = audit(reads_object, rows, interventions=False)
    assert len(result.scores) == len(rows)
    assert any("group" in warning for warning in result.warnings)
    assert any("split" in warning for warning in result.warnings)


def test_void_pixels_count_on_neither_side_and_stay_in_composites(
    reads_wall: Classifier, biased_data: pd.DataFrame
) -> None:
    plain = audit(reads_wall, biased_data)
    wall, valid = np.zeros((2, 64, 64), dtype=bool)
    wall[0:16, 0:16], valid[32:48, 32:48] = True, True
    result = audit(reads_wall, biased_data.assign(region=region_cell(valid, wall)))
    assert set(result.scores["status"]) == {"dead_map"}  # all heat lies where nothing counts
    # void: 4 of 64 cells; valid: 4, grown to 16
    np.testing.assert_allclose(result.scores["invalid_area"], (64 - 4 - 16) / (64 - 4))
    assert result.interventions is not None
    kept = result.interventions.groupby("arm")["target_probability"].mean()
    assert kept["other_class"] == pytest.approx(kept["original"], abs=1e-3)  # the void wall is never swapped
    assert plain.interventions is not None
    assert plain.interventions.groupby("arm")["target_probability"].mean()["other_class"] < 0.1
    assert result.data_digest != plain.data_digest


def test_a_changed_region_is_told(reads_wall: Classifier, fair_data: pd.DataFrame) -> None:
    grown = apply_region_rule(fair_data, RegionRule(grow=0.05))
    before, after = (
        audit(reads_wall, fair_data, interventions=False),
        audit(reads_wall, grown, interventions=False),
    )
    assert (after.scores["invalid_area_raw"] < before.scores["invalid_area_raw"]).all()
    assert "In 60 of 60 images masks are grown by 5 % of the shorter side." in after.warnings
    assert not any("masks" in warning for warning in before.warnings)


def test_the_evaluation_needs_no_pass_of_its_own(
    reads_wall: Classifier, fair_data: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = fair_data.assign(image=[str(tmp_path / "broken.png"), *fair_data["image"][1:]])
    result = audit(reads_wall, rows, interventions=False, sanity=False)
    shared, own = evaluate_audit(result), evaluate_classifier(reads_wall, rows)
    assert shared.unreadable == 1
    assert shared.metrics() == pytest.approx(own.metrics(), abs=1e-6)
    pd.testing.assert_frame_equal(shared.confusion, own.confusion)
    pd.testing.assert_frame_equal(shared.per_class, own.per_class)
