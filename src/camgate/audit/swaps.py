"""Intervals of what happens to an image when its background is swapped: recipients and donors come in groups.

A mean over images, by bootstrap-t over the recipients' groups, whose standard error is widened to the two-way
one (Cameron, Gelbach & Miller 2011): a single donor that turns every image's prediction is one observation,
not as many as it has recipients. Two composites of an image have two donors; such a comparison counts with
the groups of both, as dyads do (Fafchamps & Gubert 2007).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from camgate.audit.gaps import with_donors
from camgate.audit.statistics import MeanSample, mean_sample


def swap_sample(
    outcome: np.ndarray, image: np.ndarray, groups: np.ndarray, donors: np.ndarray, *, seed: int = 0
) -> MeanSample:
    """Mean over images of the mean outcome of each image's comparisons.

    Args:
        outcome: of each comparison, `(n,)` in 0..1.
        image: the recipient of each comparison, int `(n,)`, positions in `groups`.
        groups: code of the group of every image, int `(images,)`.
        donors: codes of the donors' groups of each comparison, int `(n, k)`.
        seed: of the bootstrap.
    """
    images, own, counts = np.unique(image, return_inverse=True, return_counts=True)
    share = np.bincount(own, weights=outcome, minlength=len(images)) / counts
    sample = mean_sample(share, groups[images], seed=seed)
    if sample.groups < 2 or sample.error == 0:
        return sample
    pull = (outcome - sample.value) / counts[own] / len(images)
    # A comparison whose donors are of one group counts with that group once.
    first = np.stack(
        [(donors[:, :k] != donors[:, k, None]).all(axis=1) for k in range(donors.shape[1])], axis=1
    )
    _, donor = np.unique(donors, return_inverse=True)
    _, recipient = np.unique(groups[image], return_inverse=True)
    shape = int(donor.max()) + 1, int(recipient.max()) + 1
    place = donor.reshape(donors.shape)[first], np.broadcast_to(recipient[:, None], donors.shape)[first]
    pulls = np.broadcast_to(pull[:, None], donors.shape)[first]
    influence = sparse.coo_array((pulls, place), shape=shape).tocsr()
    error, degrees = with_donors(sample.error**2, sample.degrees, influence)
    return replace(sample, error=error, degrees=degrees)
