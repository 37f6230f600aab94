"""Clusters of heatmaps: the few ways in which a model looks at a class, and those that never move.

Spectral Relevance Analysis (SpRAy; Lapuschkin et al. 2019, "Unmasking Clever Hans predictors", Nature
Communications 10:1096, arXiv 1902.10178): the maps of one class, their nearest-neighbour graph, its
spectrum, the eigengap. What SpRAy leaves to the eye is decided here: a cluster is scored against the
valid regions where there are any, and by the stability of its place where there are none. A cluster that
stays in one place of the image across many images is a finding, `fixed_place`. What it cannot see is in
`docs/clusters.md`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from scipy.sparse.csgraph import connected_components, laplacian

from camgate.audit.interventions import sample_recipients
from camgate.audit.intervals import group_codes
from camgate.audit.places import (
    Box,
    box_of,
    covers_middle,
    density,
    mean_map,
    place_of,
    position_stability,
    resemblance_moved,
    unit,
)
from camgate.audit.scores import RegionGrid

MOST_MAPS = 1000
"""Maps clustered at most: a dense spectrum of 1,000 maps costs about a second."""
MOST_CLUSTERS = 8
MIN_IMAGES = 10
MIN_GROUPS = 10
"""Fewer images or groups than this make no finding; the same as the gate's `min_groups`."""
STABLE = 0.3
"""Lower bound of the stability from which a place is fixed.

Between objects and the overlays that models decide by, see the numbers measured in docs/clusters.md.
"""
LARGEST_PLACE = 0.375
"""Share of the image beyond which half of the mass is no place: a uniform map needs 0.5, a frame 0.34."""
SEEN_OFF = 0.35
"""Invalid lift from which a cluster looks off the object: where clean and biased models part."""
_LEAK = 0.01
"""Weight of the ties between all maps beside that of a neighbour's: a graph that falls apart has no gap."""


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
        place: box around the fewest cells that hold half of the mean map.
        place_share: how much of the image these cells are, 0..1.
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
    place: Box
    place_share: float
    traffic: float
    fixed_place: bool


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

    A cluster is `fixed_place` when it has enough images and groups, the lower bound of its stability is
    at least `STABLE`, its place is small (`LARGEST_PLACE`), and it is not the place of objects:

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

    members: list[np.ndarray] = []
    eigenvalues = {}
    for label in np.unique(labels[rows]):
        of_class = rows[labels[rows] == label]
        if len(of_class) < MIN_IMAGES:
            continue
        parts, eigenvalues[str(label)] = _parted(maps[of_class], seed=seed)
        pieces = [of_class[parts == part] for part in range(parts.max() + 1)]
        members.extend(sorted(pieces, key=len, reverse=True))
    assignment = np.full(len(maps), -1)
    for number, piece in enumerate(members):
        assignment[piece] = number
    steady = [
        position_stability(maps[piece].astype(np.float64), group_codes(groups[piece])[0], seed=seed)
        for piece in members
    ]
    moving = _moving(maps, members, steady, regions, rows, tolerance)
    found = tuple(
        _described(maps, piece, labels, groups, regions, tolerance, stability, moving)
        for piece, stability in zip(members, steady, strict=True)
    )
    return Clusters(assignment, found, eigenvalues)


def _canonical_order(maps: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """An order that follows from what the rows hold, so that the caller's order changes nothing."""
    cells = maps.reshape(len(maps), maps.shape[1] * maps.shape[2])
    return np.lexsort((*cells.T[::-1], group_codes(groups)[0], group_codes(labels)[0]))


def _parted(maps: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Parts of the maps of one class: code of each map, and the spectrum that decided their number."""
    vectors = unit(maps)
    affinity = _neighbour_graph(vectors)
    last = min(MOST_CLUSTERS + 1, len(maps)) - 1
    spectrum = eigh(laplacian(affinity, normed=True), eigvals_only=True, subset_by_index=[0, last])
    count = int(np.argmax(np.diff(spectrum))) + 1  # the eigengap
    if count == 1:
        return np.zeros(len(maps), dtype=int), spectrum
    from sklearn.cluster import SpectralClustering

    clustering = SpectralClustering(
        count, affinity="precomputed", assign_labels="cluster_qr", random_state=seed % 2**32
    )
    _, parts = np.unique(clustering.fit_predict(affinity), return_inverse=True)
    return _joined(parts, vectors, maps), spectrum


def _neighbour_graph(vectors: np.ndarray) -> np.ndarray:
    """Symmetric graph of nearest neighbours by cosine, ties included; float64 `(n, n)`.

    A tenth of the maps are neighbours: with a fixed share, the spectrum of one cloud of maps does not
    depend on how many were drawn from it.
    """
    count = len(vectors)
    neighbours = min(max(math.ceil(math.log(count)) + 1, count // 10), count - 1)
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = np.partition(cosine, count - neighbours, axis=1)[:, count - neighbours]
    near = cosine >= nearest[:, None] - 1e-9
    graph = (near.astype(np.float64) + near.T) / 2 + _LEAK * neighbours / count
    np.fill_diagonal(graph, 0.0)
    return np.asarray(graph)


def _joined(parts: np.ndarray, vectors: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Join parts whose places are less than two cells apart.

    The eigengap also cuts a cloud of maps that follow a moving object into pieces, and each piece alone
    would seem to stay in its place. Mean maps that resemble each other as much as a map resembles itself
    moved by two cells belong to one cloud.
    """
    means = np.stack([vectors[parts == part].mean(axis=0) for part in range(parts.max() + 1)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    near = means @ means.T >= resemblance_moved(maps.astype(np.float64), 2).mean()
    return np.asarray(connected_components(near, directed=False)[1][parts])


def _moving(
    maps: np.ndarray,
    members: list[np.ndarray],
    steady: list[tuple[float, float]],
    regions: RegionGrid | None,
    rows: np.ndarray,
    tolerance: int,
) -> np.ndarray | None:
    """Where things that move are seen: the regions, else maps of clusters that move; None: unknown."""
    if regions is not None:
        objects = rows[regions.valid[rows].any(axis=(1, 2))]
        if len(objects):
            return np.asarray((1.0 - regions.take(objects).invalid(tolerance)).mean(axis=0))
    movers = [piece for piece, (value, _) in zip(members, steady, strict=True) if value == 0]
    return mean_map(maps[np.concatenate(movers)]) if movers else None


def _described(
    maps: np.ndarray,
    piece: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    regions: RegionGrid | None,
    tolerance: int,
    stability: tuple[float, float],
    moving: np.ndarray | None,
) -> Cluster:
    heat = mean_map(maps[piece])
    place = place_of(heat)
    share = lift = traffic = float("nan")
    off_object = not covers_middle(place)
    if moving is not None:
        traffic = density(moving, place)
        off_object = traffic < 1.0
    if regions is not None:
        share, lift, known = _off_object(maps[piece], regions.take(piece), tolerance)
        # An image of the class `empty` with an object in it says nothing about the others.
        if known > 0.5 and np.isfinite(lift):
            off_object = lift >= SEEN_OFF
    many = len(np.unique(groups[piece]))
    return Cluster(
        label=str(labels[piece[0]]),
        images=len(piece),
        groups=many,
        mean_map=heat,
        invalid_activation=share,
        invalid_lift=lift,
        stability=stability[0],
        stability_low=stability[1],
        place=box_of(place),
        place_share=float(place.mean()),
        traffic=traffic,
        fixed_place=bool(
            len(piece) >= MIN_IMAGES
            and many >= MIN_GROUPS
            and stability[1] >= STABLE
            and place.mean() <= LARGEST_PLACE
            and off_object
        ),
    )


def _off_object(maps: np.ndarray, regions: RegionGrid, tolerance: int) -> tuple[float, float, float]:
    """Mean invalid activation, its lift, and the share of images with a region, over which both are."""
    known = regions.valid.any(axis=(1, 2))
    if not known.any():
        return float("nan"), float("nan"), 0.0
    cells = regions.take(known)
    share = float(cells.invalid_share(maps[known].astype(np.float64), tolerance).mean())
    area = float(cells.invalid_share(np.ones(maps.shape[1:]), tolerance).mean())
    return share, share / area if area > 0 else float("nan"), float(known.mean())
