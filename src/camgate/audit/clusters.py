"""Clusters of heatmaps: the few ways in which a model looks at a class, and those that never move.

Spectral Relevance Analysis (SpRAy; Lapuschkin et al. 2019, "Unmasking Clever Hans predictors", Nature
Communications 10:1096, arXiv 1902.10178): the maps of one class, their nearest-neighbour graph, its
spectrum, the eigengap. What SpRAy leaves to the eye is decided here: a cluster is scored against the
valid regions where there are any, and by the stability of its place where there are none. A cluster that
stays in one place of the image across many images is a finding, `fixed_place`. What it cannot see is in
`docs/clusters.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from camgate.audit.intervals import group_codes
from camgate.audit.interventions import sample_recipients
from camgate.audit.places import Box, Look, around, box_of, covers_middle, density, look_of, place_of
from camgate.audit.scores import RegionGrid
from camgate.audit.spectral import spectral_parts

MOST_MAPS = 1000
"""Maps clustered at most: a dense spectrum of 1,000 maps costs about a second."""
MIN_IMAGES = 10
MIN_GROUPS = 10
"""Fewer images or groups than this make no finding; the same as the gate's `min_groups`."""
STABLE = 0.3
"""Lower bound of the stability from which a place is fixed.

Measured (docs/clusters.md): 0.00 for objects that move, 0.32 to 0.99 for overlays that models decide by.
"""
KEPT = 0.9
"""Of the stability of two pieces, weighted by their images: what they keep together if they look alike."""
CROWD = 0.5
"""Images that look beside a steady piece, relative to its own, from which it is part of a moving cloud."""
LARGEST_SPREAD = 0.375
"""Share of the image beyond which half of the heat is no place: a frame needs 0.34, a flat map over 0.4."""
SEEN_OFF = 0.35
"""Invalid lift from which a cluster looks off the object: where clean and biased models part."""


@dataclass(frozen=True)
class Cluster:
    """One way in which the model looks at a class.

    Attributes:
        label: class whose maps these are.
        images: their number.
        groups: independent groups among them.
        mean_map: float64 `(h, w)`, mean of the maps, each scaled to a mass of 1.
        invalid_activation: mean share of mass on invalid pixels, 0..1, over images with a region; NaN
            where no image has one.
        invalid_lift: that share over what a uniform map would score; NaN as above or at area 0.
        stability: of the place, 0 (it moves by a cell or more) to 1; NaN with fewer than two groups.
        stability_low: its one-sided lower bound over groups.
        spread: share of the image that holds half of the mean map, 0..1.
        place: box around the fewest cells that hold half of the steady heat, or of all heat where too
            little is steady.
        traffic: density at the place of what moves, 1 = as everywhere; NaN where nothing is known to
            move. See `cluster_maps`.
        fixed_place: a finding: the model looks at one place of the image, and it is not the object's.
    """

    label: str
    images: int
    groups: int
    mean_map: np.ndarray
    invalid_activation: float
    invalid_lift: float
    stability: float
    stability_low: float
    spread: float
    place: Box
    traffic: float
    fixed_place: bool

    @property
    def in_words(self) -> str:
        """One sentence for a reader of the report."""
        box, (height, width) = self.place, self.mean_map.shape
        return (
            f"{self.images} maps of class {self.label} {'stay' if self.fixed_place else 'lie'} around rows "
            f"{box.top + 1} to {box.bottom} and columns {box.left + 1} to {box.right} of {height} x {width} "
            f"cells (stability of the place {self.stability:.2f})."
        )


@dataclass(frozen=True)
class Clusters:
    """The clusters of an audit.

    Attributes:
        assignment: int `(n,)`, index into `found` of each image; -1 for a dead map, one that was not
            sampled, or a class with fewer than `MIN_IMAGES` maps.
        found: by class in the order of their names, large clusters first.
        eigenvalues: class -> the smallest eigenvalues of its graph's normalised Laplacian, rising.
    """

    assignment: np.ndarray
    found: tuple[Cluster, ...]
    eigenvalues: dict[str, np.ndarray]

    @property
    def findings(self) -> tuple[Cluster, ...]:
        """The clusters fixed in one place, the steadiest first."""
        fixed = [cluster for cluster in self.found if cluster.fixed_place]
        return tuple(sorted(fixed, key=lambda cluster: -cluster.stability_low))


def clusters_of(
    scores: pd.DataFrame,
    maps: np.ndarray,
    regions: RegionGrid | None,
    *,
    tolerance: int,
    seed: int,
    most: int = MOST_MAPS,
) -> Clusters:
    """Cluster the maps of an audit by the class that each explains.

    Args:
        scores: the audit's table of scores, rows in the order of the maps.
        maps: float `(n, h, w)`, raw maps.
        regions: on the maps' grid; None hides them.
        tolerance: cells by which regions are grown.
        seed: of sample and bootstrap.
        most: maps clustered at most.

    Returns:
        The clusters; `assignment` in the order of `scores`, whatever that order is.
    """
    order = np.argsort(scores["image_id"].to_numpy().astype(str), kind="stable")
    rows = scores.iloc[order]
    known = rows["target"].notna().to_numpy()
    found = cluster_maps(
        np.where(known[:, None, None], maps[order], 0.0),
        rows["target"].fillna("").to_numpy().astype(str),
        rows["group"].to_numpy().astype(str),
        regions=None if regions is None else regions.take(order),
        tolerance=tolerance,
        seed=seed,
        most=most,
    )
    assignment = np.empty_like(found.assignment)
    assignment[order] = found.assignment
    return Clusters(assignment, found.found, found.eigenvalues)


def cluster_maps(
    maps: np.ndarray,
    labels: Sequence[str] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    *,
    regions: RegionGrid | None = None,
    tolerance: int = 1,
    seed: int = 0,
    most: int = MOST_MAPS,
) -> Clusters:
    """Cluster heatmaps class by class and say which clusters never move.

    A cluster is `fixed_place` when it has enough images and groups (`MIN_IMAGES`, `MIN_GROUPS`), the lower
    bound of its stability is at least `STABLE`, half of its heat lies in a small part of the image
    (`LARGEST_SPREAD`), and its place is not one of objects:

    * where most of its images have regions: they say so (`invalid_lift` at least `SEEN_OFF`);
    * else where anything is known to move (regions of other images, or clusters of any class whose
      stability is 0): that passes the place less often than other places (`traffic` below 1);
    * else: the place does not cover the middle of the image, where photographers put objects.

    Args:
        maps: float `(n, h, w)`, raw ReLU'd maps, >= 0; dead maps (all zero, or with a NaN) are left out.
        labels: `(n,)`, the class that each map explains.
        groups: `(n,)`, images that are not independent share a group.
        regions: valid regions on the maps' grid, all zero where an image has none; None: no annotations.
        tolerance: cells by which regions are grown.
        seed: of sample and bootstrap.
        most: maps clustered at most, spread evenly over classes and groups.

    Raises:
        ValueError: shapes do not fit, or a map has negative values.
    """
    labels, groups = np.asarray(labels).astype(str), np.asarray(groups).astype(str)
    if maps.ndim != 3 or not len(maps) == len(labels) == len(groups):
        raise ValueError(
            f"`maps` {maps.shape} must be (n, h, w), with one label ({len(labels)}) and group "
            f"({len(groups)}) each."
        )
    if regions is not None and regions.valid.shape != maps.shape:
        raise ValueError(f"`regions` {regions.valid.shape} must lie on the grid of `maps` {maps.shape}.")
    if np.nanmin(maps, initial=0.0) < 0:
        raise ValueError("`maps` holds negative values; cluster the ReLU'd map.")
    order = _canonical_order(maps, labels, groups)
    total = maps[order].sum(axis=(1, 2), dtype=np.float64)
    alive = order[np.isfinite(total) & (total > 0)]
    chosen = sample_recipients(np.arange(len(alive)), labels[alive], groups[alive], most=most, seed=seed)
    rows = alive[chosen]

    def look(piece: np.ndarray, seed: int | None = None) -> Look:
        return look_of(maps[piece].astype(np.float64), group_codes(groups[piece])[0], seed=seed)

    members: list[np.ndarray] = []
    eigenvalues = {}
    for label in np.unique(labels[rows]):
        of_class = rows[labels[rows] == label]
        if len(of_class) < MIN_IMAGES:
            continue
        parts, eigenvalues[str(label)] = spectral_parts(maps[of_class], seed=seed)
        pieces = [of_class[parts == part] for part in range(parts.max() + 1)]
        members.extend(sorted(_regrouped(pieces, look), key=len, reverse=True))
    assignment = np.full(len(maps), -1)
    for number, piece in enumerate(members):
        assignment[piece] = number
    looks = [look(piece, seed) for piece in members]
    moving = _moving(looks, members, rows, regions, tolerance)
    found = tuple(
        _described(
            look,
            maps[piece],
            str(labels[piece[0]]),
            len(np.unique(groups[piece])),
            None if regions is None else regions.take(piece),
            tolerance,
            moving,
        )
        for look, piece in zip(looks, members, strict=True)
    )
    return Clusters(assignment, found, eigenvalues)


def _canonical_order(maps: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """An order that follows from what the rows hold, so that the caller's order changes nothing."""
    cells = maps.reshape(len(maps), maps.shape[1] * maps.shape[2])
    return np.lexsort((*cells.T[::-1], group_codes(groups)[0], group_codes(labels)[0]))


def _regrouped(pieces: list[np.ndarray], look: Callable[[np.ndarray], Look]) -> list[np.ndarray]:
    """Undo cuts that the eigengap makes inside one overlay's maps or one moving object's.

    Pieces that are steady together belong together: the object beside the overlay cut them apart. And the
    cloud of maps that follow an object is cut into pieces that each seem to stay in place; but then others
    look beside it, while beside an overlay nobody looks. Those pieces are put together again.
    """
    known = [(piece, look(piece)) for piece in pieces]
    while len(known) > 1:
        unions = {}
        for pair in combinations(range(len(known)), 2):
            (one, one_look), (other, other_look) = (known[number] for number in pair)
            before = np.average([one_look.stability, other_look.stability], weights=[len(one), len(other)])
            if before > 0:
                union = np.concatenate([one, other])
                both = look(union)
                if both.stability >= max(STABLE, KEPT * before):
                    unions[pair] = union, both
        if not unions:
            break
        best = max(unions, key=lambda pair: unions[pair][1].stability)
        known = [entry for number, entry in enumerate(known) if number not in best] + [unions[best]]
    near = np.array(
        [[density(other.heat, around(one.place)) >= 1.0 for _, other in known] for _, one in known]
    )
    near &= np.array([one.stability > 0 for _, one in known])[:, None]
    np.fill_diagonal(near, False)
    sizes = np.array([len(piece) for piece, _ in known])
    alone = (near @ sizes < CROWD * sizes) & np.array([one.stability >= STABLE for _, one in known])
    near[alone], near[:, alone] = False, False
    _, codes = connected_components(near, directed=False)
    return [
        np.concatenate([piece for (piece, _), own in zip(known, codes, strict=True) if own == code])
        for code in np.unique(codes)
    ]


def _moving(
    looks: list[Look],
    members: list[np.ndarray],
    rows: np.ndarray,
    regions: RegionGrid | None,
    tolerance: int,
) -> np.ndarray | None:
    """Where things that move are seen: the regions, else the maps of what moves; None: unknown."""
    if regions is not None:
        objects = rows[regions.valid[rows].any(axis=(1, 2))]
        if len(objects):
            cells = regions.take(objects)
            return np.asarray((cells.counted - cells.invalid(tolerance)).mean(axis=0))
    heats = [
        len(piece) * np.where(look.steady, 0.0, look.heat)  # an overlay beside the object does not move
        for look, piece in zip(looks, members, strict=True)
        if look.stability == 0
    ]
    return np.asarray(np.sum(heats, axis=0)) if heats else None


def _described(
    look: Look,
    maps: np.ndarray,
    label: str,
    groups: int,
    regions: RegionGrid | None,
    tolerance: int,
    moving: np.ndarray | None,
) -> Cluster:
    share = lift = traffic = float("nan")
    off_object = not covers_middle(look.place)
    if moving is not None:
        traffic = density(moving, look.place)
        off_object = traffic < 1.0
    if regions is not None:
        share, lift, known = _off_object(maps, regions, tolerance)
        # An image of the class `empty` with an object in it says nothing about the others.
        if known > 0.5 and np.isfinite(lift):
            off_object = lift >= SEEN_OFF
    spread = float(place_of(look.heat).mean())
    return Cluster(
        label=label,
        images=len(maps),
        groups=groups,
        mean_map=look.heat,
        invalid_activation=share,
        invalid_lift=lift,
        stability=look.stability,
        stability_low=look.low,
        spread=spread,
        place=box_of(look.place),
        traffic=traffic,
        fixed_place=bool(
            len(maps) >= MIN_IMAGES
            and groups >= MIN_GROUPS
            and look.low >= STABLE
            and spread <= LARGEST_SPREAD
            and off_object
        ),
    )


def _off_object(maps: np.ndarray, regions: RegionGrid, tolerance: int) -> tuple[float, float, float]:
    """Mean invalid activation, its lift, and the share of images with a region, over which both are."""
    known = np.asarray(regions.valid.any(axis=(1, 2)))
    if not known.any():
        return float("nan"), float("nan"), 0.0
    cells = regions.take(known)
    share = float(cells.invalid_share(maps[known].astype(np.float64), tolerance).mean())
    area = float(cells.invalid_share(np.ones(maps.shape[1:]), tolerance).mean())
    return share, share / area if area > 0 else float("nan"), float(known.mean())
