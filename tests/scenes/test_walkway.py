"""Windows of the walkway video, each found again in the video without the module's help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from camgate.data.sources import load_manifest
from camgate.errors import InputError
from camgate.scenes.walkway import MARGIN, cut_windows, find_video

COUNTS = {"train_per_class": 24, "test_per_class": 16}
SIZE = 128
BLOCK = 20


class Film:
    """All frames, grey, and an own idea of who moves: dense changes against another background."""

    def __init__(self, path: Path) -> None:
        capture = cv2.VideoCapture(str(path))
        colour = []
        while (read := capture.read())[0]:
            colour.append(read[1])
        # Other frames than the module's, so that the two backgrounds have no error in common.
        background = np.median(np.stack(colour[7::27]), axis=0).astype(np.uint8)
        self.grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in colour])
        self.moving = np.zeros(self.grey.shape, dtype=bool)
        for number, frame in enumerate(colour):
            far = cv2.inRange(cv2.absdiff(frame, background), (0, 0, 0), (32, 32, 32)) == 0
            # A pixel moves where most of its 7x7 neighbourhood changed: noise and thin tape do not.
            self.moving[number] = (cv2.blur(far.astype(np.float32), (7, 7)) > 0.7) & far

    def find(self, row: object) -> tuple[int, int, int]:
        """Frame, left and top of a manifest's row; fails where the picture is not in its two seconds."""
        window = cv2.imread(str(row.image), cv2.IMREAD_GRAYSCALE)  # type: ignore[attr-defined]
        first = int(row.group[1:]) * BLOCK  # type: ignore[attr-defined]
        best = (np.inf, 0, 0, 0)
        small = cv2.resize(window, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for frame in range(first, min(first + BLOCK, len(self.grey))):
            half = cv2.resize(self.grey[frame], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(half, small, cv2.TM_SQDIFF))
            for top in range(max(0, 2 * y - 2), 2 * y + 3):
                for left in range(max(0, 2 * x - 2), 2 * x + 3):
                    there = self.grey[frame, top : top + SIZE, left : left + SIZE]
                    if there.shape == window.shape:
                        best = min(best, (cv2.norm(there, window, cv2.NORM_L1), frame, left, top))
        assert best[0] / SIZE**2 < 4, f"{row.image} is not in its part of the video"  # type: ignore[attr-defined]
        return best[1:]


@pytest.fixture(scope="module")
def video(photos_root: Path) -> Path:
    return find_video(photos_root / "walkway" / "vtest.avi")


@pytest.fixture(scope="module")
def film(video: Path) -> Film:
    return Film(video)


@pytest.fixture(scope="module")
def sets(video: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, pd.DataFrame]:
    root = tmp_path_factory.mktemp("windows")
    return {place: cut_windows(video, root / str(place), place=place, **COUNTS) for place in (False, True)}


def some(manifest: pd.DataFrame, label: str, every: int = 4) -> Iterator[object]:
    return manifest[manifest["label"] == label].iloc[::every].itertuples()


def mask_of(row: object) -> np.ndarray:
    mask = cv2.imread(str(row.region), cv2.IMREAD_UNCHANGED)  # type: ignore[attr-defined]
    assert mask.shape == (SIZE, SIZE)
    assert set(np.unique(mask)) <= {0, 255}
    return np.asarray(mask > 0)


@pytest.mark.photos
@pytest.mark.parametrize("place", [False, True])
def test_the_layout_is_that_of_the_given_windows(
    photos_root: Path, sets: dict[bool, pd.DataFrame], place: bool
) -> None:
    manifest = sets[place]
    root = Path(manifest["image"][0]).parents[3]
    given = pd.read_csv(photos_root / "walkway" / "manifest.csv")
    assert list(manifest.columns) == list(pd.read_csv(root / "manifest.csv").columns) == list(given.columns)
    written = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    listed = {Path(path).relative_to(root).as_posix() for path in [*manifest["image"], *manifest["region"]]}
    assert written == listed | {"manifest.csv"}

    def shapes(frame: pd.DataFrame) -> set[tuple[str, str]]:
        parts = [[Path(path).parts[-4:] for path in frame[column]] for column in ("image", "region")]
        return {("/".join(part[:3]), Path(part[3]).suffix) for column in parts for part in column}

    assert shapes(manifest) == shapes(given)
    read = load_manifest(root / "manifest.csv")
    assert [Path(path) for path in read["image"]] == [Path(path) for path in manifest["image"]]
    assert [path.name for path in root.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.photos
@pytest.mark.parametrize("place", [False, True])
def test_train_and_test_are_apart_in_time_as_in_the_given_windows(
    photos_root: Path, sets: dict[bool, pd.DataFrame], place: bool
) -> None:
    given = pd.read_csv(photos_root / "walkway" / "manifest.csv")
    last_train = given.loc[given["split"] == "train", "group"].max()
    first_test = given.loc[given["split"] == "test", "group"].min()
    groups = sets[place].groupby("split")["group"]
    assert groups.max()["train"] <= last_train
    assert groups.min()["test"] >= first_test
    assert groups.nunique().min() >= 10


@pytest.mark.photos
def test_both_sets_share_their_pedestrians(sets: dict[bool, pd.DataFrame]) -> None:
    balanced, place = (sets[key][sets[key]["label"] == "pedestrian"] for key in (False, True))
    for column in ("image", "region"):
        for one, other in zip(balanced[column], place[column], strict=True):
            assert Path(one).read_bytes() == Path(other).read_bytes()


@pytest.mark.photos
def test_a_pedestrian_window_holds_a_whole_person_and_the_mask_covers_who_moves(
    film: Film, sets: dict[bool, pd.DataFrame]
) -> None:
    agreement = []
    for row in some(sets[False], "pedestrian"):
        frame, left, top = film.find(row)
        mask, moving = mask_of(row), film.moving[frame, top : top + SIZE, left : left + SIZE]
        _, _, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        # Not clipped by the window, except where mask and window end at the same pixel by chance.
        whole = [
            box[cv2.CC_STAT_AREA]
            for box in boxes[1:]
            if box[0] > 0 and box[1] > 0 and box[0] + box[2] < SIZE and box[1] + box[3] < SIZE
        ]
        assert max(whole, default=0) >= 400, row
        agreement.append((mask & moving).sum() / (mask | moving).sum())
    assert np.mean(agreement) > 0.7, agreement
    assert min(agreement) > 0.4, agreement


@pytest.mark.photos
def test_nobody_is_in_a_vacant_window_but_people_walk_there(
    film: Film, sets: dict[bool, pd.DataFrame]
) -> None:
    ever = film.moving.any(axis=0)
    for row in some(sets[False], "empty"):
        assert not mask_of(row).any()
        frame, left, top = film.find(row)
        rows = slice(max(0, top - MARGIN), top + SIZE + MARGIN)
        assert not film.moving[frame, rows, max(0, left - MARGIN) : left + SIZE + MARGIN].any(), row
        assert ever[top : top + SIZE, left : left + SIZE].mean() > 0.1, row


@pytest.mark.photos
def test_nobody_ever_walks_where_the_place_gives_the_class_away(
    film: Film, sets: dict[bool, pd.DataFrame]
) -> None:
    ever = film.moving.any(axis=0)
    spots = set()
    for row in some(sets[True], "empty"):
        assert not mask_of(row).any()
        _, left, top = film.find(row)
        assert not ever[top : top + SIZE, left : left + SIZE].any(), row
        spots.add((left, top))
    assert len(spots) >= 8


@pytest.mark.photos
def test_somebody_coming_in_at_the_border_of_the_picture_is_seen(video: Path, film: Film) -> None:
    """A sliver of a person at the border of the picture is too small for a person and still is one."""
    from camgate.scenes.walkway import _read

    seen = _read(str(video)).foreground
    # Frame 654: the arm and leg of somebody who comes in at the right, three pixels wide.
    sliver = np.s_[654, 340:400, -4:]
    assert film.grey[sliver].min() < 60 < film.grey[100][sliver[1:]].min()
    assert seen[sliver].any()


@pytest.mark.photos
def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_windows(
    video: Path, sets: dict[bool, pd.DataFrame], tmp_path: Path
) -> None:
    again = cut_windows(video, tmp_path / "again", place=False, **COUNTS)
    for column in ("image", "region"):
        for one, other in zip(sets[False][column], again[column], strict=True):
            assert Path(one).read_bytes() == Path(other).read_bytes()
    assert sets[False][["label", "split", "group"]].equals(again[["label", "split", "group"]])
    other = cut_windows(video, tmp_path / "other", place=False, seed=1, **COUNTS)
    assert not other["group"].equals(again["group"])


@pytest.mark.photos
def test_another_size_and_progress(video: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    manifest = cut_windows(
        video,
        tmp_path / "large",
        place=False,
        size=160,
        train_per_class=26,
        test_per_class=3,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(50, 58), (58, 58)]
    assert {cv2.imread(path).shape for path in manifest["image"]} == {(160, 160, 3)}


@pytest.mark.photos
def test_more_windows_than_there_are_people_is_an_error_and_leaves_nothing(
    video: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"vtest\.avi: only \d+ pedestrian windows of 90000 .* for train"):
        cut_windows(video, tmp_path / "out", place=True, train_per_class=90000, test_per_class=1)
    assert list(tmp_path.iterdir()) == []


def film_of(path: Path, frames: int, *, side: int = 200, seed: int = 0) -> Path:
    """A video in which nothing moves."""
    picture = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 5)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (side, side))
    assert writer.isOpened()
    for _ in range(frames):
        writer.write(picture)
    writer.release()
    return path


@pytest.mark.parametrize(("frames", "message"), [(40, "fewer than 100 frames"), (120, "nobody moves")])
def test_another_video_is_refused_by_name(tmp_path: Path, frames: int, message: str) -> None:
    video = film_of(tmp_path / "other.avi", frames)
    with pytest.raises(InputError, match=rf"other\.avi: .*{message}"):
        cut_windows(video, tmp_path / "out", place=False)
    assert [path.name for path in tmp_path.iterdir()] == ["other.avi"]


@pytest.mark.photos
def test_windows_larger_than_the_picture_are_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"768x576 pixels are too small for windows of 600"):
        cut_windows(video, tmp_path / "out", place=False, size=600)


@pytest.mark.parametrize("option", ["size", "train_per_class", "test_per_class"])
def test_a_number_below_one_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match=f"`{option}` must be at least 1, not 0"):
        cut_windows(tmp_path / "vtest.avi", tmp_path / "out", place=False, **{option: 0})


def test_a_video_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"gone\.avi: no such video.*--video PATH.*apt-get install opencv-doc"
    ):
        cut_windows(tmp_path / "gone.avi", tmp_path / "out", place=False)
    assert list(tmp_path.iterdir()) == []


def test_without_a_path_the_video_is_looked_for_where_debian_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "vtest.avi"
    monkeypatch.setattr("camgate.scenes.walkway.DEBIAN", there)
    with pytest.raises(InputError, match="apt-get install opencv-doc"):
        find_video()
    there.write_bytes(b"")
    assert find_video() == there
