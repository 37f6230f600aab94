"""Windows cut from the real video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camgate.data.manifest import validate_manifest
from camgate.errors import InputError
from camgate.scenes import walkway


def block(groups: object) -> set[int]:
    return {int(group[1:]) for group in groups}  # type: ignore[attr-defined]


@pytest.mark.photos
@pytest.mark.parametrize("place", [False, True])
def test_windows_of_the_video(photos_root: Path, tmp_path: Path, place: bool) -> None:
    video = walkway.find_video(photos_root / "walkway" / "vtest.avi")
    options = {"place": place, "train_per_class": 40, "test_per_class": 16}
    manifest = walkway.cut_windows(video, tmp_path / "one", **options)
    again = walkway.cut_windows(video, tmp_path / "two", **options)
    assert manifest.groupby(["split", "label"]).size().to_dict() == {
        ("test", "empty"): 16,
        ("test", "pedestrian"): 16,
        ("train", "empty"): 40,
        ("train", "pedestrian"): 40,
    }
    validate_manifest(manifest)
    # train and test are apart in time
    by_split = manifest.groupby("split")["group"]
    assert max(block(by_split.get_group("train"))) < min(block(by_split.get_group("test")))
    for first, second in zip(manifest["image"][::9], again["image"][::9], strict=True):
        assert Path(first).read_bytes() == Path(second).read_bytes()
    for row in manifest.itertuples():
        mask = np.asarray(Image.open(str(row.region)))
        assert mask.shape == (128, 128)
        assert mask.any() == (row.label == "pedestrian")


@pytest.mark.photos
def test_people_agree_with_the_given_masks(photos_root: Path) -> None:
    """The given masks were made by background subtraction too: as much of a window should be a person."""
    given = [
        (np.asarray(Image.open(path)) > 0).mean()
        for path in sorted((photos_root / "walkway" / "test" / "masks" / "pedestrian").glob("*.png"))
    ]
    seen = walkway._read(str(photos_root / "walkway" / "vtest.avi"))
    windows = walkway._busy_windows(seen, 550, 795, 128, 100, np.random.default_rng(0))
    ours = [seen.foreground[f, y : y + 128, x : x + 128].mean() for f, x, y in windows]
    assert np.mean(ours) == pytest.approx(np.mean(given), rel=0.5)


def test_a_missing_video_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="opencv-doc"):
        walkway.find_video(tmp_path / "vtest.avi")


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    fake = tmp_path / "vtest.avi"
    fake.write_bytes(b"not a video")
    with pytest.raises(InputError, match="not a video"):
        walkway.cut_windows(fake, tmp_path / "out", place=False)
    assert not (tmp_path / "out").exists()
