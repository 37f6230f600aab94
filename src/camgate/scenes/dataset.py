"""Scenes as a data set on disk: images, masks, a manifest, and a COCO file of the same regions."""

from __future__ import annotations

import difflib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from camgate.errors import InputError
from camgate.files import atomic_folder
from camgate.scenes.render import CLASSES, render_scene
from camgate.scenes.shortcuts import SHORTCUTS

JPEG_QUALITY = 95
SPLIT_NUMBERS = {"test": 0, "train": 1, "validation": 2, "val": 3}
"""What the usual splits put into the seed of their images; any other split puts in a checksum of its name."""
VARIANT_STREAM = 0x7A61
"""Spawn key of the draws of variants, far from the keys 0, 1, 2... of the parts of a scene."""


def write_scenes(
    folder: str | Path,
    *,
    per_class: int | Mapping[str, int],
    shortcut: str | None = None,
    strength: float | Mapping[str, float] = 0.0,
    seed: int = 0,
    size: int = 128,
    coco: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Render a data set.

    With probability `strength` an image gets its own class's variant of the shortcut, else one drawn from
    all variants: at strength 0 the shortcut is there and says nothing. An image depends on the seed, its
    split, class and number alone; the same scene with another shortcut differs in the shortcut alone.

    Args:
        folder: new; receives `images/`, `masks/`, `manifest.csv` and `coco.json`, all of it or nothing.
        per_class: images per class, of one split `test`, or a mapping split -> number.
        shortcut: name, None for none.
        strength: 0..1, for all splits or by split; more than 0 needs a shortcut.
        seed: of the data set, 0 or more.
        size: side of the images, in pixels.
        coco: also write `coco.json`, regions as run-length encoding.
        progress: called with (done, total).

    Returns:
        The manifest, with absolute paths: image_id, image, label, region, split, group, shortcut_variant.

    Raises:
        InputError: a number out of range, an unknown shortcut, a strength for a split that is not asked for,
            or a folder that is not empty.
    """
    splits = dict(per_class) if isinstance(per_class, Mapping) else {"test": per_class}
    strengths = dict(strength) if isinstance(strength, Mapping) else dict.fromkeys(splits, strength)
    _check(splits, strengths, shortcut, seed)
    total = len(CLASSES) * sum(splits.values())
    rows: list[dict[str, Any]] = []
    annotations = _Coco(size)
    with atomic_folder(folder) as root:
        for split, count in sorted(splits.items()):
            for class_number, label in enumerate(CLASSES):
                for kind in ("images", "masks"):
                    (root / kind / split / label).mkdir(parents=True)
                for number in range(count):
                    key = (seed, _split_number(split), class_number, number)
                    variant = _variant(key, class_number, strengths[split]) if shortcut else None
                    scene = render_scene(label, key, size=size, shortcut=shortcut, variant=variant)
                    name = f"{split}/{label}/{number:05d}"
                    _write(root / "images" / f"{name}.jpg", scene.image[..., ::-1])
                    _write(root / "masks" / f"{name}.png", scene.mask.astype(np.uint8) * 255)
                    annotations.add(f"images/{name}.jpg", label, scene.mask)
                    rows.append(
                        {
                            "image_id": name,
                            "image": f"images/{name}.jpg",
                            "label": label,
                            "region": f"masks/{name}.png",
                            "split": split,
                            "group": name,
                            "shortcut_variant": "" if scene.variant is None else CLASSES[scene.variant],
                        }
                    )
                    if progress is not None and (len(rows) % 50 == 0 or len(rows) == total):
                        progress(len(rows), total)
        manifest = pd.DataFrame(rows)
        manifest.to_csv(root / "manifest.csv", index=False)
        if coco:
            (root / "coco.json").write_text(json.dumps(annotations.content()), encoding="utf-8")
    base = Path(folder).resolve()
    for column in ("image", "region"):
        manifest[column] = [str(base / path) for path in manifest[column]]
    return manifest


def _check(
    splits: Mapping[str, int], strengths: Mapping[str, float], shortcut: str | None, seed: int
) -> None:
    if not splits:
        raise InputError(
            '`per_class` names no split; give a number, or for example {"train": 300, "test": 100}.'
        )
    if seed < 0:
        raise InputError(f"`seed` must be 0 or more, not {seed}.")
    if shortcut is not None and shortcut not in SHORTCUTS:
        raise InputError(
            f"no shortcut {shortcut!r}.{_near(shortcut, SHORTCUTS)} There are: {', '.join(SHORTCUTS)}."
        )
    for split, count in splits.items():
        if not re.fullmatch(r"\w[\w.-]*", split):
            raise InputError(
                f"`per_class`: split {split!r} cannot be a folder; use letters, digits, `_`, `-`, `.`."
            )
        if count < 1:
            raise InputError(f"`per_class` must be at least 1, not {count} for {split!r}.")
        if not 0 <= strengths.get(split, -1) <= 1:
            raise InputError(f"`strength` must be 0 to 1 for {split!r}, not {strengths.get(split)}.")
    for split, value in strengths.items():
        if split not in splits:
            raise InputError(f"`strength` names split {split!r}, `per_class` does not.{_near(split, splits)}")
        if value > 0 and shortcut is None:
            raise InputError(f"`strength` is {value} for {split!r} but there is no `shortcut`; name one.")


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _split_number(split: str) -> int:
    # By name and not by position: what other splits are asked for must not change a split's images, nor may
    # `train` alone repeat the images of `test` alone.
    return SPLIT_NUMBERS.get(split, zlib.crc32(split.encode()))


def _variant(key: tuple[int, ...], own: int, strength: float) -> int:
    # A spawn key of its own. NumPy hashes a seed and its spawn key as one list of words, so that `(*key, 1)`
    # would be the very stream that places the clutter.
    rng = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(VARIANT_STREAM,)))
    return own if rng.random() < strength else int(rng.integers(len(CLASSES)))


def _write(path: Path, pixels: np.ndarray) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    if not cv2.imwrite(str(path), pixels, options):
        raise OSError(f"{path} could not be written")


class _Coco:
    """Collects a COCO instances file; `empty` images have no annotation."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, file: str, label: str, mask: np.ndarray) -> None:
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": file, "width": self._size, "height": self._size})
        if not mask.any():
            return
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
        self._annotations.append(
            {
                "id": len(self._annotations) + 1,
                "image_id": number,
                "category_id": CLASSES.index(label),
                "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
                "area": int(mask.sum()),
                "bbox": [int(value) for value in box],
                "iscrowd": 0,
            }
        )

    def content(self) -> dict[str, Any]:
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES) if name != "empty"]
        return {"images": self._images, "annotations": self._annotations, "categories": categories}


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run-length encoding: column by column, zeros first."""
    flat = mask.ravel(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return [int(count) for count in (counts if counts[-1] or len(counts) == 1 else counts[:-1])]
