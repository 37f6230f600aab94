"""Regions from a fixed camera: on painted scenes and on a real video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from camgate.data.camera import CameraRule, camera_regions
from camgate.data.manifest import validate_manifest
from camgate.data.regions import region_for
from camgate.errors import InputError

SIZE = (60, 80)


def film(folder: Path, camera: str = "", *, images: int = 12, seed: int = 0) -> pd.DataFrame:
    """A textured wall before which a bright square of 12 x 12 pixels walks, one place an image."""
    rng = np.random.default_rng(seed)
    wall = rng.integers(60, 120, (*SIZE, 3), dtype=np.uint8)
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(images):
        picture = np.clip(wall + rng.integers(-4, 5, wall.shape), 0, 255).astype(np.uint8)
        picture[20:32, 5 * number : 5 * number + 12] = 240
        picture[50, (7 * number) % 80] = 255  # a speck
        path = folder / f"{camera}{number:02d}.png"
        Image.fromarray(picture).save(path)
        rows.append({"image": str(path), "label": "walker", "camera": camera, "place": 5 * number})
    return pd.DataFrame(rows)


def found(manifest: pd.DataFrame, row: int) -> np.ndarray:
    region = region_for(manifest.iloc[row].to_dict(), SIZE)
    assert region is not None
    return region


def test_the_walker_is_found_and_nothing_else(tmp_path: Path) -> None:
    manifest = camera_regions(validate_manifest(film(tmp_path)))
    for row, place in enumerate(manifest["place"]):
        expected = np.zeros(SIZE, dtype=bool)
        expected[20:32, place : place + 12] = True
        np.testing.assert_array_equal(found(manifest, row), expected)
    assert validate_manifest(manifest)["region"].tolist() == manifest["region"].tolist()


def test_each_camera_has_its_own_median(tmp_path: Path) -> None:
    two = pd.concat([film(tmp_path, "a"), film(tmp_path, "b", seed=1)], ignore_index=True)
    manifest = camera_regions(validate_manifest(two))
    assert all(found(manifest, row).sum() == 144 for row in range(len(manifest)))
    mixed = camera_regions(validate_manifest(two.drop(columns="camera")))
    assert max(found(mixed, row).sum() for row in range(len(mixed))) > 144


def test_a_change_of_light_is_taken_off(tmp_path: Path) -> None:
    rows = film(tmp_path)
    brighter = np.asarray(Image.open(rows["image"][3])).astype(int) + 15
    Image.fromarray(np.clip(brighter, 0, 255).astype(np.uint8)).save(rows["image"][3])
    manifest = camera_regions(validate_manifest(rows), CameraRule(threshold=12, open=3))
    assert found(manifest, 3).sum() == 144


def test_limits_of_size(tmp_path: Path) -> None:
    rows = validate_manifest(film(tmp_path))
    area = 144 / (SIZE[0] * SIZE[1])
    assert not found(camera_regions(rows, CameraRule(min_area=1.1 * area)), 4).any()
    assert not found(camera_regions(rows, CameraRule(max_area=0.9 * area)), 4).any()
    assert (
        found(camera_regions(rows, CameraRule(open=0, min_area=0, close=0)), 4).sum() == 145
    )  # the speck too


def test_given_regions_and_empty_labels(tmp_path: Path) -> None:
    rows = film(tmp_path)
    rows.loc[2, "label"] = "empty"
    mask = tmp_path / "mask.png"
    Image.fromarray(np.full(SIZE, 255, dtype=np.uint8)).save(mask)
    rows["region"] = [str(mask), *[None] * 11]
    manifest = camera_regions(validate_manifest(rows), CameraRule(empty=("empty",)))
    assert found(manifest, 0).all()
    assert manifest["region"][0] == str(mask)
    assert not found(manifest, 2).any()
    assert found(manifest, 3).sum() == 144


def test_faults_name_the_file(tmp_path: Path) -> None:
    rows = film(tmp_path)
    Image.new("RGB", (30, 30)).save(rows["image"][7])
    with pytest.raises(InputError, match=r"07\.png: 30x30 pixels, but the camera .* 80x60"):
        camera_regions(validate_manifest(rows))
    with pytest.raises(InputError, match="2 readable image"):
        camera_regions(validate_manifest(film(tmp_path / "few", images=2)))
    with pytest.raises(ValidationError):
        CameraRule(treshold=3)


def test_an_unreadable_image_keeps_its_blank(tmp_path: Path) -> None:
    rows = film(tmp_path)
    whole = Path(rows["image"][5]).read_bytes()
    Path(rows["image"][5]).write_bytes(whole[: len(whole) // 2])
    manifest = camera_regions(validate_manifest(rows))
    assert manifest["region"][5] is None
    assert found(manifest, 6).sum() == 144


@pytest.mark.photos
def test_people_on_a_real_walkway(photos_root: Path, tmp_path: Path) -> None:
    """Against the masks given with windows of the same video, which are found in its frames first."""
    film = cv2.VideoCapture(str(photos_root / "walkway" / "vtest.avi"))
    frames = []
    while True:
        alive, frame = film.read()
        if not alive:
            break
        frames.append(frame)
    listed = pd.read_csv(photos_root / "walkway" / "manifest.csv")
    people = listed[(listed["label"] == "pedestrian") & (listed["split"] == "test")].iloc[::14]
    places = []
    for row in people.itertuples():
        window = cv2.imread(str(photos_root / "walkway" / row.image))
        start = 20 * int(row.group[1:])  # groups are blocks of two seconds, ten frames each second
        scores = []
        for number in range(start, min(start + 20, len(frames))):
            match = cv2.matchTemplate(frames[number], window, cv2.TM_SQDIFF_NORMED)
            low, _, (left, top), _ = cv2.minMaxLoc(match)
            scores.append((low, number, top, left))
        low, number, top, left = min(scores)
        assert low < 0.002, row.image
        places.append((number, top, left, photos_root / "walkway" / row.region))
    chosen = sorted({*range(0, len(frames), 20), *(number for number, *_ in places)})
    for number in chosen:
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), frames[number])
    rows = pd.DataFrame({"image": [f"{number:03d}.png" for number in chosen], "label": "walkway"})
    manifest = camera_regions(validate_manifest(rows, root=tmp_path)).set_index(pd.Index(chosen))
    ious = []
    for number, top, left, mask in places:
        region = region_for(manifest.loc[number].to_dict(), frames[0].shape[:2])
        assert region is not None
        ours = region[top : top + 128, left : left + 128]
        given = np.asarray(Image.open(mask)) > 0
        ious.append((ours & given).sum() / (ours | given).sum())
    print(f"IoU with the given masks, {len(ious)} windows: mean {np.mean(ious):.2f}, least {min(ious):.2f}")
    assert np.mean(ious) > 0.8
    assert min(ious) > 0.6
