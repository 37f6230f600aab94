"""Spectral clustering of heatmaps: nearest-neighbour graph, spectrum, eigengap.

As in Spectral Relevance Analysis (SpRAy; Lapuschkin et al. 2019, arXiv 1902.10178); on the eigengap see
von Luxburg 2007, "A tutorial on spectral clustering" (arXiv 0711.0189).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.csgraph import laplacian

from camgate.audit.places import unit

MOST_PARTS = 8
_LEAK = 0.01
"""Weight of the ties between all maps beside that of a neighbour's: a graph that falls apart has no gap."""


def spectral_parts(maps: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part the maps of one class where the eigengap says so.

    Args:
        maps: float `(n, h, w)`, >= 0, none dead, n >= 2.
        seed: of the eigensolver's start.

    Returns:
        Code of each map's part, int `(n,)`, and the smallest eigenvalues of the normalised Laplacian,
        rising; the widest step between two of them follows the number of parts.
    """
    vectors = unit(maps)
    affinity = _neighbour_graph(vectors)
    last = min(MOST_PARTS + 1, len(maps)) - 1
    graph_laplacian = np.asarray(laplacian(affinity, normed=True), dtype=np.float64)
    spectrum = np.asarray(eigh(graph_laplacian, eigvals_only=True, subset_by_index=(0, last)))
    count = int(np.argmax(np.diff(spectrum))) + 1  # the eigengap
    if count == 1:
        return np.zeros(len(maps), dtype=int), spectrum
    from sklearn.cluster import SpectralClustering

    clustering = SpectralClustering(
        count, affinity="precomputed", assign_labels="cluster_qr", random_state=seed % 2**32
    )
    _, parts = np.unique(clustering.fit_predict(affinity), return_inverse=True)
    return parts, spectrum


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
