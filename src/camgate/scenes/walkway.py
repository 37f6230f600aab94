"""Windows cut from a fixed camera's video: OpenCV's `vtest.avi`, people on a campus walkway.

Two data sets tell the demo's story on real pictures. In both, `pedestrian` windows are cut around people.
The `empty` windows are cut where people walk at moments when nobody is there, or (`place`) where nobody
ever walks, so that the place gives the class away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from camgate.errors import InputError
from camgate.files import atomic_folder

DEBIAN = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
FRAMES_A_SECOND = 10
SECONDS_A_GROUP = 2
TEST_FROM = 0.68
"""Share of the video after which windows are for testing; a gap of `GAP` before it is left out."""
GAP = 0.03
DIFFERENCE = 32
"""Grey levels from the median that make a pixel foreground."""
LEAST_PERSON, LARGEST_PERSON = 250, 6000
"""Pixels of a component taken for a person."""


@dataclass(frozen=True)
class _Video:
    """Frames uint8 `(n, H, W, 3)` BGR, foreground bool `(n, H, W)`, and people as (frame, x, y, area)."""

    frames: np.ndarray
    foreground: np.ndarray
    people: tuple[tuple[int, int, int, int], ...]


def find_video(path: str | Path | None = None) -> Path:
    """The video: the path given, else where Debian's `opencv-doc` puts it.

    Raises:
        InputError: it is not there.
    """
    video = DEBIAN if path is None else Path(path)
    if not video.is_file():
        raise InputError(
            f"{video}: no such video. Give OpenCV's vtest.avi with --video PATH, or install it "
            "(Debian: apt-get install opencv-doc)."
        )
    return video


def cut_windows(
    video: str | Path,
    folder: str | Path,
    *,
    place: bool,
    size: int = 128,
    train_per_class: int = 420,
    test_per_class: int = 140,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Cut a data set: `{train,test}/{images,masks}/{empty,pedestrian}/` and `manifest.csv`.

    Args:
        video: `vtest.avi`.
        folder: new; complete or absent.
        place: cut the empty windows where nobody ever walks.
        size: side of a window in pixels.
        train_per_class: windows a class to train on, from the first two thirds of the video.
        test_per_class: windows a class to test on, from its end.
        seed: of the choice.
        progress: called with (done, total).

    Returns:
        The manifest with absolute paths: image, label, region, split, group (a block of two seconds).

    Raises:
        InputError: not a readable video, or too little happens in it.
    """
    seen = _read(str(video))
    rng = np.random.default_rng(seed)
    total = 2 * (train_per_class + test_per_class)
    rows: list[dict[str, str]] = []
    count = len(seen.frames)
    spans = {
        "train": (0, round(count * (TEST_FROM - GAP)), train_per_class),
        "test": (round(count * TEST_FROM), count, test_per_class),
    }
    with atomic_folder(folder) as root:
        for split, (first, last, wanted) in spans.items():
            busy = _busy_windows(seen, first, last, size, wanted, rng)
            empty = _quiet_windows(seen, first, last, size, wanted, rng) if place else None
            if empty is None:
                empty = _vacant_windows(seen, first, last, size, wanted, rng)
            for label, windows in (("empty", empty), ("pedestrian", busy)):
                if len(windows) < wanted:
                    raise InputError(
                        f"{video}: only {len(windows)} {label} windows of {wanted} could be cut for {split}."
                    )
                for kind in ("images", "masks"):
                    (root / split / kind / label).mkdir(parents=True)
                for number, (frame, x, y) in enumerate(windows):
                    crop = np.s_[frame, y : y + size, x : x + size]
                    mask = seen.foreground[crop].astype(np.uint8) * 255
                    image_file = f"{split}/images/{label}/{number:04d}.jpg"
                    mask_file = f"{split}/masks/{label}/{number:04d}.png"
                    _write(root / image_file, seen.frames[crop])
                    _write(root / mask_file, mask if label == "pedestrian" else np.zeros_like(mask))
                    block = frame // (FRAMES_A_SECOND * SECONDS_A_GROUP)
                    rows.append(
                        {
                            "image": image_file,
                            "label": label,
                            "region": mask_file,
                            "split": split,
                            "group": f"t{block:03d}",
                        }
                    )
                    if progress is not None and (len(rows) % 50 == 0 or len(rows) == total):
                        progress(len(rows), total)
        manifest = pd.DataFrame(rows)
        manifest.to_csv(root / "manifest.csv", index=False)
    base = Path(folder).resolve()
    for column in ("image", "region"):
        manifest[column] = [str(base / path) for path in manifest[column]]
    return manifest


@lru_cache(maxsize=1)
def _read(video: str) -> _Video:
    """All frames, and what differs from the video's median."""
    capture = cv2.VideoCapture(video)
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(frame)
    capture.release()
    if len(frames) < 100:
        raise InputError(f"{video}: not a video that OpenCV reads, or fewer than 100 frames ({len(frames)}).")
    stack = np.stack(frames)
    median = np.median(stack[:: max(1, len(stack) // 80)], axis=0).astype(np.uint8)
    foreground = np.zeros(stack.shape[:3], dtype=bool)
    people: list[tuple[int, int, int, int]] = []
    opening, closing = np.ones((3, 3), np.uint8), np.ones((9, 5), np.uint8)
    for number, frame in enumerate(stack):
        raw = (cv2.absdiff(frame, median).max(axis=2) > DIFFERENCE).astype(np.uint8)
        clean = cv2.morphologyEx(raw, cv2.MORPH_OPEN, opening)
        clean = cv2.morphologyEx(clean, cv2.MORPH_CLOSE, closing)
        parts, labels, boxes, centres = cv2.connectedComponentsWithStats(clean)
        for part in range(1, parts):
            area = int(boxes[part, cv2.CC_STAT_AREA])
            if area < LEAST_PERSON // 3:
                clean[labels == part] = 0
            elif LEAST_PERSON <= area <= LARGEST_PERSON and boxes[part, 3] > boxes[part, 2]:
                people.append((number, round(centres[part, 0]), round(centres[part, 1]), area))
        foreground[number] = clean > 0
    if not people:
        raise InputError(f"{video}: nobody moves in this video; is it OpenCV's vtest.avi?")
    return _Video(stack, foreground, tuple(people))


def _sums(foreground: np.ndarray) -> np.ndarray:
    """Integral image, so that a window is counted in four look-ups."""
    return np.asarray(cv2.integral(foreground.astype(np.uint8)))


def _count(sums: np.ndarray, x: int, y: int, size: int) -> int:
    return int(sums[y + size, x + size] - sums[y, x + size] - sums[y + size, x] + sums[y, x])


def _place(x: float, y: float, shape: tuple[int, ...], size: int) -> tuple[int, int]:
    left = int(np.clip(round(x - size / 2), 0, shape[2] - size))
    top = int(np.clip(round(y - size / 2), 0, shape[1] - size))
    return left, top


def _busy_windows(
    seen: _Video, first: int, last: int, size: int, wanted: int, rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Windows around people, each person near the middle."""
    people = [person for person in seen.people if first <= person[0] < last]
    windows = []
    for index in rng.permutation(len(people)):
        frame, x, y, area = people[index]
        left, top = _place(x + rng.uniform(-18, 18), y + rng.uniform(-12, 12), seen.frames.shape, size)
        inside = int(seen.foreground[frame, top : top + size, left : left + size].sum())
        if inside >= 0.95 * area:
            windows.append((frame, left, top))
        if len(windows) == wanted:
            break
    return windows


def _vacant_windows(
    seen: _Video, first: int, last: int, size: int, wanted: int, rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Windows where people walk, at moments when nobody is there."""
    spots = [(x, y) for _, x, y, _ in seen.people]
    windows: list[tuple[int, int, int]] = []
    frames = [int(rng.integers(first, last)) for _ in range(40 * wanted)]
    sums: dict[int, np.ndarray] = {}
    for frame in frames:
        x, y = spots[int(rng.integers(len(spots)))]
        left, top = _place(x + rng.uniform(-18, 18), y + rng.uniform(-12, 12), seen.frames.shape, size)
        if frame not in sums:
            sums[frame] = _sums(seen.foreground[frame])
        if _count(sums[frame], left, top, size) == 0:
            windows.append((frame, left, top))
        if len(windows) == wanted:
            break
    return windows


def _quiet_windows(
    seen: _Video, first: int, last: int, size: int, wanted: int, rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Windows where nobody walks in the whole video."""
    sums = _sums(np.asarray(seen.foreground.any(axis=0)))
    height, width = seen.frames.shape[1:3]
    free = [
        (x, y)
        for y in range(0, height - size, 4)
        for x in range(0, width - size, 4)
        if _count(sums, x, y, size) == 0
    ]
    if not free:
        return []
    return [(int(rng.integers(first, last)), *free[int(rng.integers(len(free)))]) for _ in range(wanted)]


def _write(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"{path} could not be written")
