"""Windows cut from a fixed camera's video: OpenCV's `vtest.avi`, people on a campus walkway.

Two data sets tell the demo's story on real pictures. In both, `pedestrian` windows are cut around people.
The `empty` windows are cut where people walk at moments when nobody is there, or (`place`) where nobody
ever walks, so that the place gives the class away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from camgate.errors import InputError
from camgate.files import atomic_folder

DEBIAN = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
BLOCK = 20
"""Frames of a group: two seconds at the ten frames a second of `vtest.avi`."""
TRAIN_SHARE = 0.65
"""Share of the video to train on, in whole blocks. The next block is left out, the rest is for testing."""
LEAST_FRAMES, MOST_FRAMES = 100, 2000
"""A shorter video is refused; of a longer one the beginning is used, because all its masks are in memory."""
DIFFERENCE = 32
"""Grey levels from the median, in any colour channel, that make a pixel foreground."""
LEAST_FOREGROUND = 80
"""Pixels below which a component is noise: grass and barrier tape in the wind."""
LEAST_AT_BORDER = 12
"""The same at the border of the picture, where a person who comes in is a sliver at first."""
LEAST_PERSON, LARGEST_PERSON = 400, 6000
"""Pixels of a component taken for a person to cut around; a cell of an 8x8 map at 128 px has 256."""
MARGIN = 8
"""Pixels around an empty window in which there is nobody either."""


class Person(NamedTuple):
    """A foreground component: its frame, its bounding box and its size, in pixels."""

    frame: int
    left: int
    top: int
    width: int
    height: int
    area: int


class _Video(NamedTuple):
    """Foreground bool `(frames, H, W)`, and the people in it."""

    foreground: np.ndarray
    people: tuple[Person, ...]


Window = tuple[int, int, int]
"""Frame, left, top."""


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

    The pedestrian windows depend on the seed and not on `place`: with one seed, both sets share them.

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
        InputError: not a readable video, or too little happens in it; a number that makes no sense.
    """
    for name, value in (
        ("size", size),
        ("train_per_class", train_per_class),
        ("test_per_class", test_per_class),
    ):
        if value < 1:
            raise InputError(f"`{name}` must be at least 1, not {value}.")
    source, wanted = find_video(video), {"train": train_per_class, "test": test_per_class}
    with atomic_folder(folder) as root:
        seen = _read(str(source))
        rows, cuts = [], defaultdict(list)
        for (split, label), windows in _choose(source, seen, place, size, wanted, seed).items():
            for kind in ("images", "masks"):
                (root / split / kind / label).mkdir(parents=True)
            for number, window in enumerate(windows):
                image = f"{split}/images/{label}/{number:04d}.jpg"
                region = f"{split}/masks/{label}/{number:04d}.png"
                rows.append((image, label, region, split, f"t{window[0] // BLOCK:03d}"))
                cuts[window[0]].append((window[1:], label, root / image, root / region))
        done = 0
        for number, frame in enumerate(_frames(str(source))):
            for (left, top), label, image_file, region_file in cuts.pop(number, ()):
                part = np.s_[top : top + size, left : left + size]
                mask = seen.foreground[number][part].astype(np.uint8) * 255
                _write(image_file, frame[part])
                _write(region_file, mask if label == "pedestrian" else np.zeros_like(mask))
                done += 1
                if progress is not None and (done % 50 == 0 or done == len(rows)):
                    progress(done, len(rows))
            if not cuts:
                break
        if cuts:
            raise InputError(f"{source}: frame {min(cuts)} could not be read a second time.")
        manifest = pd.DataFrame(rows, columns=["image", "label", "region", "split", "group"])
        manifest.to_csv(root / "manifest.csv", index=False)
    base = Path(folder).resolve()
    for column in ("image", "region"):
        manifest[column] = [str(base / path) for path in manifest[column]]
    return manifest


def _choose(
    source: Path, seen: _Video, place: bool, size: int, wanted: dict[str, int], seed: int
) -> dict[tuple[str, str], list[Window]]:
    """Windows by split and label; each has random numbers of its own, so that none depends on another."""
    count, height, width = seen.foreground.shape
    if min(height, width) < size:
        raise InputError(f"{source}: {width}x{height} pixels are too small for windows of {size}.")
    turn = round(count * TRAIN_SHARE) // BLOCK * BLOCK
    methods = {"empty": _quiet_windows if place else _vacant_windows, "pedestrian": _busy_windows}
    chosen = {}
    for number, (split, first, last) in enumerate((("train", 0, turn), ("test", turn + BLOCK, count))):
        for label, method in methods.items():
            rng = np.random.default_rng([seed, number, int(label == "empty")])
            windows = method(seen, first, last, size, wanted[split], rng)
            if len(windows) < wanted[split]:
                raise InputError(
                    f"{source}: only {len(windows)} {label} windows of {wanted[split]} could be cut for "
                    f"{split}; is it OpenCV's vtest.avi? If so, ask for fewer."
                )
            chosen[split, label] = windows
    return chosen


def _frames(video: str) -> Iterator[np.ndarray]:
    """Frames uint8 `(H, W, 3)`, BGR, in their order."""
    capture = cv2.VideoCapture(video)
    try:
        for _ in range(MOST_FRAMES):
            more, frame = capture.read()
            if not more:
                return
            yield np.asarray(frame, dtype=np.uint8)
    finally:
        capture.release()


def _read(video: str) -> _Video:
    """What differs from the video's median, looked at once for both data sets."""
    state = Path(video).stat()
    packed, width, people = _analyse(video, state.st_mtime_ns, state.st_size)
    return _Video(np.unpackbits(packed, axis=2, count=width).view(bool), people)


@lru_cache(maxsize=1)
def _analyse(video: str, changed: int, size: int) -> tuple[np.ndarray, int, tuple[Person, ...]]:
    """Foreground as bits (a gigabyte of frames leaves 45 MB), its width, and the people."""
    # One frame in two seconds: a person has walked on by then, so the median holds what stays.
    some = list(islice(_frames(video), 0, None, BLOCK))
    if len(some) < LEAST_FRAMES // BLOCK:
        raise InputError(f"{video}: not a video that OpenCV reads, or fewer than {LEAST_FRAMES} frames.")
    median = np.median(np.stack(some), axis=0).astype(np.uint8)
    del some
    packed: list[np.ndarray] = []
    people: list[Person] = []
    for number, frame in enumerate(_frames(video)):
        clean, boxes = _foreground(frame, median)
        packed.append(np.packbits(clean, axis=1))
        people += [Person(number, *(int(value) for value in box)) for box in boxes]
    if not people:
        raise InputError(f"{video}: nobody moves in this video; is it OpenCV's vtest.avi?")
    return np.stack(packed), median.shape[1], tuple(people)


def _foreground(frame: np.ndarray, median: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Foreground bool `(H, W)`, and left, top, width, height, area of each whole person."""
    blue, green, red = cv2.split(cv2.absdiff(frame, median))
    raw = (cv2.max(cv2.max(blue, green), red) > DIFFERENCE).astype(np.uint8)
    clean = cv2.morphologyEx(raw, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    # Taller than wide: it joins head, trunk and legs, and not two people side by side.
    clean = cv2.morphologyEx(clean, cv2.MORPH_CLOSE, np.ones((9, 5), np.uint8))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(clean)
    left, top, width, height, area = boxes.T
    inner = (left > 0) & (top > 0) & (left + width < raw.shape[1]) & (top + height < raw.shape[0])
    kept = area >= np.where(inner, LEAST_FOREGROUND, LEAST_AT_BORDER)
    kept[0] = False
    people = kept & inner & (area >= LEAST_PERSON) & (area <= LARGEST_PERSON) & (height > width)
    return kept.take(labels), boxes[people]


def _around(person: Person, shape: tuple[int, ...], size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Left and top of a window with the person near its middle."""
    x = person.left + person.width / 2 + rng.uniform(-0.14, 0.14) * size
    y = person.top + person.height / 2 + rng.uniform(-0.1, 0.1) * size
    left = int(np.clip(round(x - size / 2), 0, shape[2] - size))
    return left, int(np.clip(round(y - size / 2), 0, shape[1] - size))


def _busy_windows(
    seen: _Video, first: int, last: int, size: int, wanted: int, rng: np.random.Generator
) -> list[Window]:
    """Windows around people, the whole person inside."""
    people = [person for person in seen.people if first <= person.frame < last]
    windows: list[Window] = []
    for index in rng.permutation(len(people)):
        person = people[index]
        left, top = _around(person, seen.foreground.shape, size, rng)
        across = left <= person.left and person.left + person.width <= left + size
        if across and top <= person.top and person.top + person.height <= top + size:
            windows.append((person.frame, left, top))
        if len(windows) == wanted:
            break
    return windows


def _vacant_windows(
    seen: _Video, first: int, last: int, size: int, wanted: int, rng: np.random.Generator
) -> list[Window]:
    """Windows where people walk, at moments when nobody is there.

    The place is drawn first, as for the pedestrians, and then the moment: the other way round, places
    where people seldom walk would be the empty ones.
    """
    windows: list[Window] = []
    for _ in range(20 * wanted if seen.people else 0):
        person = seen.people[int(rng.integers(len(seen.people)))]
        left, top = _around(person, seen.foreground.shape, size, rng)
        rows = slice(max(0, top - MARGIN), top + size + MARGIN)
        columns = slice(max(0, left - MARGIN), left + size + MARGIN)
        for frame in rng.integers(first, last, size=60):
            if not seen.foreground[frame, rows, columns].any():
                windows.append((int(frame), left, top))
                break
        if len(windows) == wanted:
            break
    return windows


def _quiet_windows(
    seen: _Video, first: int, last: int, size: int, wanted: int, rng: np.random.Generator
) -> list[Window]:
    """Windows where nobody walks in the whole video."""
    # Foreground in each window, from four corners of the integral image.
    sums = np.asarray(cv2.integral(np.asarray(seen.foreground.any(axis=0), dtype=np.uint8)))
    inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    free = np.argwhere(inside == 0)
    if not len(free):
        return []
    spots = free[rng.integers(len(free), size=wanted)]
    return [(int(rng.integers(first, last)), int(left), int(top)) for top, left in spots]


def _write(path: Path, pixels: np.ndarray) -> None:
    """Through Python's own file, whose errors say what is wrong with the disk."""
    _, data = cv2.imencode(path.suffix, pixels)
    path.write_bytes(data.tobytes())
