"""Swap the invalid pixels and predict again: the background gap (after Xiao et al. 2020, arXiv 2006.09994).

Two arms for each recipient: keep its valid pixels and take the invalid ones from a donor of the same
class, or from a donor of another class. The union of both donors' objects is filled identically in both
arms, so that neither the donor's object nor the shape of a hole tells the arms apart. A recipient whose
class has no objects is replaced as a whole by the donors' backgrounds, the same hole filled in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

ARMS = ("original", "same_class", "other_class")
DONOR_EXTRA = 0.0125
"""The donor's hole is grown by this much more than the recipient's margin, as a share of the side."""


@dataclass(frozen=True)
class Pairing:
    """One draw: the recipient and its two donors, as row numbers of the audited frame."""

    recipient: int
    draw: int
    same: int
    other: int


def pair_donors(
    labels: np.ndarray,
    groups: np.ndarray,
    candidates: np.ndarray,
    recipients: np.ndarray,
    *,
    draws: int,
    strata: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[list[Pairing], int]:
    """Choose donors: even use, outside the recipient's group, in the recipient's stratum.

    The other-class donor's class is uniform over the other classes that have a donor to offer.

    Args:
        labels: `(n,)` class of each row.
        groups: `(n,)` group of each row.
        candidates: bool `(n,)`, rows that may donate (readable, and object known or region-free class).
        recipients: row numbers.
        draws: pairs a recipient, >= 1.
        strata: `(n,)`, values of the `match_on` columns joined; None matches everything.
        seed: of the choice.

    Returns:
        The pairings, and the number of recipients left out because an arm had no donor.
    """
    rng = np.random.default_rng(seed)
    strata = np.zeros(len(labels), dtype=int) if strata is None else strata
    inside = np.flatnonzero(candidates)
    keys = pd.DataFrame({"stratum": strata[inside], "label": labels[inside]})
    pools = {
        key: inside[found] for key, found in keys.groupby(["stratum", "label"], sort=False).indices.items()
    }
    used = np.zeros(len(labels))
    jitter = rng.random(len(labels))
    classes = np.array(sorted(set(labels[candidates]), key=str), dtype=object)
    pairings: list[Pairing] = []
    left_out = 0
    for recipient in rng.permutation(recipients):
        stratum, label, group = strata[recipient], labels[recipient], groups[recipient]

        def outside(other_label: object, stratum: object = stratum, group: object = group) -> np.ndarray:
            pool = pools.get((stratum, other_label), np.array([], dtype=int))
            return np.asarray(pool[groups[pool] != group])

        def another_class(label: object = label) -> np.ndarray:
            """Donors of a class drawn uniformly from those that have any; most often the first one does."""
            for position in rng.permutation(len(classes)):
                if classes[position] != label and len(pool := outside(classes[position])):
                    return pool
            return np.array([], dtype=int)

        same_pool = outside(label)
        others = [another_class() for _ in range(draws)]
        if not len(same_pool) or not len(others[0]):
            left_out += 1
            continue
        for draw, other_pool in enumerate(others):
            chosen = []
            for pool in (same_pool, other_pool):
                # Least used first, ties at random: no donor decides the gap alone.
                donor = int(pool[np.argmin(used[pool] + jitter[pool])])
                used[donor] += 1
                jitter[donor] = rng.random()
                chosen.append(donor)
            pairings.append(Pairing(int(recipient), draw, chosen[0], chosen[1]))
    return pairings, left_out


def widen(mask: np.ndarray, share: float) -> np.ndarray:
    """Grow a mask by `share` of the shorter side (an ellipse); bool `(H, W)`."""
    radius = max(1, round(share * min(mask.shape))) if share > 0 else 0
    if not radius or not mask.any():
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)).astype(bool)


def fill_hole(image: np.ndarray, hole: np.ndarray, *, median: np.ndarray | None = None) -> np.ndarray:
    """Fill the hole by the camera's median where one is given, else by inpainting (Telea 2004).

    Args:
        image: uint8 `(H, W, C)`.
        hole: bool `(H, W)`.
        median: uint8 `(H, W, C)`, the fixed camera's median image.
    """
    if not hole.any():
        return image
    if median is not None:
        return np.where(hole[..., None], median, image)
    if hole.all():
        return np.broadcast_to(image.mean(axis=(0, 1), keepdims=True), image.shape).astype(np.uint8)
    mask = hole.astype(np.uint8)
    if image.shape[2] == 3:
        return np.asarray(cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA))
    bands = [np.ascontiguousarray(image[..., band]) for band in range(image.shape[2])]
    return np.stack([cv2.inpaint(band, mask, 3, cv2.INPAINT_TELEA) for band in bands], axis=2)


def composite(
    recipient: np.ndarray,
    region: np.ndarray,
    donor: np.ndarray,
    hole: np.ndarray,
    *,
    margin: float,
    median: np.ndarray | None = None,
) -> np.ndarray:
    """The recipient's valid pixels on the donor's background, edges feathered.

    Args:
        recipient: uint8 `(H, W, C)`.
        region: bool `(H, W)`, the recipient's valid pixels; all False replaces the whole image.
        donor: uint8 `(H, W, C)`.
        hole: bool `(H, W)`, union of both donors' objects, already widened.
        margin: share of the shorter side by which the kept pixels are widened.
        median: see `fill_hole`.
    """
    background = fill_hole(donor, hole, median=median)
    if not region.any():
        return background
    keep = widen(region, margin)
    sigma = max(0.6, margin * min(region.shape) / 4)
    alpha = cv2.GaussianBlur(keep.astype(np.float32), (0, 0), sigma)
    # Feather inwards from the margin only: a valid pixel is never blended away.
    alpha = np.where(region, 1.0, alpha * keep)[..., None]
    return np.asarray(np.rint(alpha * recipient + (1 - alpha) * background).astype(np.uint8))


def camera_medians(
    images: Callable[[int], np.ndarray], cameras: np.ndarray, *, most: int = 60
) -> dict[str, np.ndarray]:
    """Median image of each fixed camera, from at most `most` of its images spread over the set."""
    medians = {}
    for camera in np.unique(cameras):
        rows = np.flatnonzero(cameras == camera)
        chosen = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
        medians[camera] = np.median(np.stack([images(int(row)) for row in chosen]), axis=0).astype(np.uint8)
    return medians


def make_composites(
    pairings: list[Pairing],
    load: Callable[[int], tuple[np.ndarray, np.ndarray]],
    *,
    margin: float,
    median_of: Callable[[int], np.ndarray | None],
) -> Iterator[tuple[Pairing, np.ndarray, np.ndarray]]:
    """Yield (pairing, same-class composite, other-class composite), uint8 `(H, W, C)` each.

    Args:
        pairings: from `pair_donors`.
        load: row number -> image uint8 `(H, W, C)` and valid region bool `(H, W)`.
        margin: share of the shorter side around kept objects; the donors' hole is a little wider.
        median_of: donor's row number -> its camera's median, None to inpaint.
    """
    for pairing in pairings:
        image, region = load(pairing.recipient)
        same, same_region = load(pairing.same)
        other, other_region = load(pairing.other)
        hole = widen(same_region | other_region, margin + DONOR_EXTRA)
        yield (
            pairing,
            composite(image, region, same, hole, margin=margin, median=median_of(pairing.same)),
            composite(image, region, other, hole, margin=margin, median=median_of(pairing.other)),
        )


def sample_recipients(
    eligible: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, most: int, seed: int
) -> np.ndarray:
    """At most `most` recipients, spread evenly over classes and, inside a class, over groups.

    Args:
        eligible: row numbers.
        labels: `(n,)`.
        groups: `(n,)`.
        most: cap.
        seed: of the choice.
    """
    if len(eligible) <= most:
        return eligible
    rng = np.random.default_rng(seed)
    order = pd.DataFrame({"row": rng.permutation(eligible)})
    order["label"], order["group"] = labels[order["row"]], groups[order["row"]]
    # Take one of every (class, group) before the second of any; then one of every class in turn.
    order["turn"] = order.groupby(["label", "group"], sort=False).cumcount()
    order = order.sort_values("turn", kind="stable")
    order["turn"] = order.groupby("label", sort=False).cumcount()
    return np.sort(order.sort_values("turn", kind="stable")["row"].to_numpy()[:most])
