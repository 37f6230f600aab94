"""Scenes: deterministic, aligned with their masks, and changed by a shortcut in nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from camgate.data.manifest import validate_manifest
from camgate.data.sources import load_data
from camgate.errors import InputError
from camgate.scenes.contact_sheet import contact_sheet
from camgate.scenes.dataset import _variant, run_lengths, write_scenes
from camgate.scenes.render import CLASSES, NOISE, render_scene
from camgate.scenes.shortcuts import SHORTCUTS, shortcut

OBJECTS = CLASSES[1:]


@pytest.mark.parametrize("label", CLASSES)
def test_the_same_seed_gives_the_same_scene(label: str) -> None:
    first, second = render_scene(label, (1, 2)), render_scene(label, (1, 2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)
    assert (render_scene(label, (1, 3)).image != first.image).any()


@pytest.mark.parametrize("label", OBJECTS)
def test_the_mask_is_where_the_object_is(label: str) -> None:
    for seed in range(12):
        scene, bare = render_scene(label, seed), render_scene("empty", seed)
        change = np.abs(scene.image.astype(int) - bare.image.astype(int)).max(axis=2)
        # outside the mask only the soft shadow differs: it darkens, by a third at most
        outside = change[~scene.mask]
        assert (outside > 0).mean() < 0.12
        assert (scene.image[~scene.mask].astype(int) <= bare.image[~scene.mask].astype(int) + 1).all()
        assert (change[scene.mask] > 12).mean() > 0.6


def test_empty_has_no_valid_pixel_and_objects_have_a_useful_size() -> None:
    assert not render_scene("empty", 5).mask.any()
    for label in OBJECTS:
        shares, heights = [], []
        for seed in range(40):
            mask = render_scene(label, seed).mask
            rows = np.flatnonzero(mask.any(axis=1))
            shares.append(mask.mean())
            heights.append((rows[-1] - rows[0] + 1) / mask.shape[0])
            assert not mask[:8].any()
        assert 0.02 < np.mean(shares) < 0.25, label
        assert min(heights) > 0.25
        assert max(heights) < 0.75


@pytest.mark.parametrize("name", [name for name in SHORTCUTS if SHORTCUTS[name].place == "behind"])
@pytest.mark.parametrize("label", ["empty", "bicyclist"])
def test_a_shortcut_behind_the_object_changes_nothing_of_it(name: str, label: str) -> None:
    for seed in range(6):
        plain = render_scene(label, seed)
        for variant in range(4):
            planted = render_scene(label, seed, shortcut=name, variant=variant)
            np.testing.assert_array_equal(planted.mask, plain.mask)
            inner = cv2.erode(plain.mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            # edges inside a bicycle are blended with what shines through
            differs = (planted.image[inner] != plain.image[inner]).any(axis=-1)
            assert not differs.any() or differs.mean() < 0.03
            changed = (planted.image != plain.image).any(axis=2).mean()
            assert 0.003 < changed < 0.35, (name, changed)


def test_the_tag_covers_a_few_percent_and_lies_on_a_wall() -> None:
    shares = []
    for seed in range(40):
        plain = render_scene("empty", seed)
        planted = render_scene("empty", seed, shortcut="tag", variant=seed % 4)
        changed = (planted.image != plain.image).any(axis=2)
        shares.append(changed.mean())
        columns = np.flatnonzero(changed.any(axis=0))
        assert columns[-1] < 0.45 * 128 or columns[0] > 0.55 * 128
    assert 0.015 < np.mean(shares) < 0.07


@pytest.mark.parametrize("name", [name for name in SHORTCUTS if SHORTCUTS[name].place == "whole"])
def test_a_shortcut_of_the_whole_image_has_four_variants(name: str) -> None:
    looks = [render_scene("pedestrian", 3, shortcut=name, variant=v).image.astype(float) for v in range(4)]
    for first in range(4):
        for second in range(first):
            assert np.abs(looks[first] - looks[second]).mean() > 0.5


def test_shirt_colour_stays_inside_the_object() -> None:
    for seed in range(8):
        plain = render_scene("pedestrian", seed)
        planted = render_scene("pedestrian", seed, shortcut="shirt_colour", variant=2)
        changed = (planted.image != plain.image).any(axis=2)
        assert changed.any()
        assert not changed[~plain.mask].any()
    bare = render_scene("empty", 1, shortcut="shirt_colour", variant=2)
    np.testing.assert_array_equal(bare.image, render_scene("empty", 1).image)


def test_the_default_variant_is_the_class_own() -> None:
    assert [render_scene(label, 0, shortcut="tag").variant for label in CLASSES] == [0, 1, 2, 3]
    assert render_scene("empty", 0).variant is None


@pytest.mark.parametrize("size", [48, 128, 224])
def test_any_size(size: int) -> None:
    scene = render_scene("dog_walker", 0, size=size, shortcut="timestamp")
    assert scene.image.shape == (size, size, 3)
    assert scene.mask.shape == (size, size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "pedestrain"}, "Did you mean 'pedestrian'"),
        ({"label": "empty", "shortcut": "tagg"}, "Did you mean 'tag'"),
        ({"label": "empty", "shortcut": "tag", "variant": 4}, "`variant` must be"),
        ({"label": "empty", "size": 8}, "`size` must be"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        render_scene(seed=0, **arguments)  # type: ignore[arg-type]


def test_a_new_shortcut_is_one_function() -> None:
    @shortcut("dot_for_a_test")
    def dot(canvas: np.ndarray, variant: int, rng: np.random.Generator, tunnel: object) -> None:
        canvas[:20, :20] = 255

    try:
        changed = render_scene("empty", 0, shortcut="dot_for_a_test").image != render_scene("empty", 0).image
        assert changed[:10, :10].mean() > 0.5
        assert not changed[11:, 11:].any()
    finally:
        del SHORTCUTS["dot_for_a_test"]


def test_noise_is_of_the_stated_size() -> None:
    flat = [render_scene("empty", (9, i)).image[40:50, 55:70].astype(float) for i in range(6)]
    spread = np.mean([image.std() for image in flat])
    assert 0.5 * NOISE < spread < 4 * NOISE


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("scenes") / "data"
    manifest = write_scenes(
        folder,
        per_class={"train": 60, "test": 20},
        shortcut="tag",
        strength={"train": 0.6, "test": 0.0},
        size=48,
    )
    return folder, manifest


def test_strength_is_what_it_says(written: tuple[Path, pd.DataFrame]) -> None:
    _, manifest = written
    own = manifest["shortcut_variant"] == manifest["label"]
    rate = own.groupby(manifest["split"]).mean()
    # 0.6 + 0.4 / 4 = 0.7 and 1 / 4; 4.5 standard deviations of 240 and 80 draws
    assert rate["train"] == pytest.approx(0.7, abs=4.5 * np.sqrt(0.7 * 0.3 / 240))
    assert rate["test"] == pytest.approx(0.25, abs=4.5 * np.sqrt(0.25 * 0.75 / 80))
    assert set(manifest["shortcut_variant"]) == set(CLASSES)


def test_the_variant_is_independent_of_everything_else_in_the_scene() -> None:
    keys = [(0, 1, 2, number) for number in range(400)]
    drawn = np.array([_variant(key, 2, 0.0) for key in keys])
    # what each stream that renders a part of the scene would have drawn: it may agree by chance only
    spawned = [[np.random.default_rng(part) for part in np.random.SeedSequence(key).spawn(8)] for key in keys]
    for number, streams in enumerate(zip(*spawned, strict=True)):
        elsewhere = np.array([(stream.random(), stream.integers(4))[1] for stream in streams])
        agreement = np.mean(drawn == elsewhere)
        assert agreement == pytest.approx(0.25, abs=4.5 * np.sqrt(0.25 * 0.75 / 400)), number


def _pixels(manifest: pd.DataFrame) -> dict[str, bytes]:
    return {row.image_id: Path(row.image).read_bytes() for row in manifest.itertuples()}


def test_an_image_does_not_depend_on_the_rest_of_the_data_set(tmp_path: Path) -> None:
    def pictures(name: str, per_class: dict[str, int]) -> dict[str, bytes]:
        return _pixels(write_scenes(tmp_path / name, per_class=per_class, size=32, seed=3, coco=False))

    whole = pictures("whole", {"train": 3, "test": 2, "validation": 2, "spare": 2})
    assert len(set(whole.values())) == len(whole) == 36
    for split in ("train", "test", "validation", "spare"):
        alone = pictures(split, {split: 2})
        assert alone == {name: whole[name] for name in alone}


def test_another_strength_gives_the_same_scenes(tmp_path: Path) -> None:
    options = {"per_class": 5, "size": 64, "shortcut": "tag", "seed": 4, "coco": False}
    random = write_scenes(tmp_path / "random", strength=0.0, **options)  # type: ignore[arg-type]
    own = write_scenes(tmp_path / "own", strength=1.0, **options)  # type: ignore[arg-type]
    assert (own["shortcut_variant"] == own["label"]).all()
    same = (random["shortcut_variant"] == own["shortcut_variant"]).to_numpy()
    assert 0 < same.sum() < len(same)
    for first, second, equal in zip(random.itertuples(), own.itertuples(), same, strict=True):
        assert Path(first.region).read_bytes() == Path(second.region).read_bytes()
        assert (Path(first.image).read_bytes() == Path(second.image).read_bytes()) == equal


def test_the_manifest_is_valid_and_complete(written: tuple[Path, pd.DataFrame]) -> None:
    folder, manifest = written
    assert list(manifest.columns) == [
        "image_id",
        "image",
        "label",
        "region",
        "split",
        "group",
        "shortcut_variant",
    ]
    checked = validate_manifest(manifest, classes=CLASSES)
    assert len(checked) == 320
    loaded = load_data(folder)
    assert loaded["image_id"].tolist() == manifest["image_id"].tolist()
    assert manifest["group"].is_unique


def test_coco_holds_the_same_regions(written: tuple[Path, pd.DataFrame]) -> None:
    mask_utils = pytest.importorskip("pycocotools.mask")
    folder, manifest = written
    coco = json.loads((folder / "coco.json").read_text(encoding="utf-8"))
    by_file = {image["file_name"]: image["id"] for image in coco["images"]}
    annotations = {annotation["image_id"]: annotation for annotation in coco["annotations"]}
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for row in manifest.iloc[::7].itertuples():
        mask = cv2.imread(row.region, cv2.IMREAD_GRAYSCALE) > 0
        annotation = annotations.get(by_file[f"images/{row.image_id}.jpg"])
        if row.label == "empty":
            assert annotation is None
            continue
        encoded = mask_utils.frPyObjects(annotation["segmentation"], *mask.shape)
        np.testing.assert_array_equal(mask_utils.decode(encoded).astype(bool), mask)
        assert names[annotation["category_id"]] == row.label
        assert annotation["area"] == mask.sum()


def test_run_lengths_of_edges() -> None:
    assert run_lengths(np.ones((2, 2), dtype=bool)) == [0, 4]
    assert run_lengths(np.zeros((2, 2), dtype=bool)) == [4]
    assert run_lengths(np.array([[True, False], [False, True]])) == [0, 1, 2, 1]


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imwrite", lambda *args: False)
    with pytest.raises(InputError, match="Nothing was left behind"):
        write_scenes(tmp_path / "data", per_class=2, size=48)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_class": 0}, "at least 1"),
        ({"per_class": {}}, "names no split"),
        ({"per_class": {"../out": 1}}, "cannot be a folder"),
        ({"per_class": 2, "seed": -1}, "`seed`"),
        ({"per_class": 2, "strength": 1.5, "shortcut": "tag"}, "0 to 1"),
        ({"per_class": 2, "strength": 0.5}, "no `shortcut`"),
        ({"per_class": 2, "shortcut": "timestmap"}, "Did you mean 'timestamp'"),
        (
            {"per_class": {"train": 1}, "strength": {"train": 0.5, "trian": 0.5}, "shortcut": "tag"},
            "Did you mean 'train'",
        ),
    ],
)
def test_options_that_make_no_sense_leave_nothing_behind(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_scenes(tmp_path / "data", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_contact_sheet_lays_pictures_out_in_rows() -> None:
    sheet = contact_sheet(
        [np.full((4, 6, 3), value, dtype=np.uint8) for value in (1, 2, 3)], columns=2, gap=1
    )
    assert sheet.shape == (9, 13, 3)
    assert (sheet[0, 0, 0], sheet[0, 7, 0], sheet[5, 0, 0], sheet[5, 7, 0]) == (1, 2, 3, 255)
