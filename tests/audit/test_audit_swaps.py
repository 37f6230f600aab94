"""Intervals of comparisons whose recipients and donors both come in groups."""

from itertools import product

import numpy as np
import pytest

from camgate.audit.statistics import mean_sample
from camgate.audit.swaps import swap_sample


def pairs(rng, images, groups, swaps=4):
    """Each image in a group of its own place, with composites of distinct donor groups, as pairs."""
    codes = np.arange(images) % groups
    donor = np.stack(
        [(code + rng.permutation(np.arange(1, groups))[:swaps]) % groups for code in codes.tolist()]
    )
    first, second = np.triu_indices(swaps, 1)
    image = np.repeat(np.arange(images), len(first))
    return codes, image, np.stack([donor[:, first], donor[:, second]], axis=2).reshape(-1, 2), donor


def dyadic_variance(outcome, image, groups, donors):
    """Fafchamps & Gubert 2007 from the definition: products of deviations of what has any group in common.

    What common donors add is scaled for few clusters. Returned with what they alone would give.
    """
    count = np.bincount(image)
    pull = (outcome - outcome.mean()) / count[image] / len(count)
    of_donor = len(np.unique(donors)) / (len(np.unique(donors)) - 1)
    total = donor = 0.0
    for a, b in product(range(len(outcome)), repeat=2):
        common = len(set(donors[a]) & set(donors[b]))
        own = groups[image[a]] == groups[image[b]]
        total += pull[a] * pull[b] * (of_donor * common + own - own * common)
        donor += pull[a] * pull[b] * of_donor * common
    return total, donor


@pytest.mark.parametrize(("seed", "ease"), [(0, 0.0), (1, 0.5), (2, 0.9)])
def test_error_is_the_one_of_dyads(seed, ease):
    rng = np.random.default_rng(seed)
    codes, image, donors, _ = pairs(rng, images=36, groups=12)
    mark = rng.random(12) < 0.4
    outcome = (mark[donors[:, 0]] != mark[donors[:, 1]]).astype(float)
    outcome = np.where(rng.random(len(outcome)) < 0.2, 1 - outcome, outcome)
    outcome[(rng.random(12) < ease)[codes[image]]] = 0  # recipients that no swap turns
    sample = swap_sample(outcome, image, codes, donors)
    alone = mean_sample(outcome.reshape(36, -1).mean(axis=1), codes)
    # What the recipients' own variance has on top (few and unequal groups) is the mean's business.
    pull = (outcome - outcome.mean()) / 6 / 36
    of_recipient = (np.bincount(codes[image], weights=pull) ** 2).sum()
    both, donor = dyadic_variance(outcome, image, codes, donors)
    expected = max(both + alone.error**2 - of_recipient, donor)
    assert sample.value == pytest.approx(outcome.mean())
    assert sample.error**2 == pytest.approx(max(expected, alone.error**2), rel=1e-9)
    assert sample.degrees <= alone.degrees


def test_one_donor_that_turns_every_image_is_one_observation():
    rng = np.random.default_rng(0)
    codes, image, donors, _ = pairs(rng, images=200, groups=20)
    outcome = (donors == 7).any(axis=1).astype(float)
    sample = swap_sample(outcome, image, codes, donors)
    alone = mean_sample(outcome.reshape(200, -1).mean(axis=1), codes)
    assert sample.error > 3 * alone.error
    assert sample.at(0.95).low == 0.0 < alone.at(0.95).low


def test_donors_without_influence_leave_the_interval_of_the_recipients():
    codes = np.repeat(np.arange(20), 5)
    image = np.repeat(np.arange(100), 3)
    donors = np.arange(300)[:, None] + 100
    outcome = (codes % 3 / 3)[image] + np.random.default_rng(1).random(300) / 3
    groups = np.concatenate([codes, np.arange(20, 320)])
    sample = swap_sample(outcome, image, groups, donors)
    alone = mean_sample(outcome.reshape(100, 3).mean(axis=1), codes)
    assert sample.value == pytest.approx(alone.value)
    assert sample.error == pytest.approx(alone.error, rel=0.01)


def test_two_donors_of_one_group_count_once():
    rng = np.random.default_rng(2)
    codes, image, donors, _ = pairs(rng, images=60, groups=15)
    outcome = (donors[:, 0] % 3 == 0).astype(float)
    once = swap_sample(outcome, image, codes, donors[:, :1])
    twice = swap_sample(outcome, image, codes, donors[:, [0, 0]])
    assert twice.at(0.95) == once.at(0.95)


def test_images_count_alike_however_many_comparisons_they_have():
    outcome = np.array([1.0, 0, 0, 0, 0, 0, 0])
    image = np.array([0, 1, 1, 1, 1, 1, 1])
    sample = swap_sample(outcome, image, np.array([0, 1]), np.arange(7)[:, None] + 2)
    assert sample.value == 0.5


def test_nothing_differs_still_has_a_width():
    sample = swap_sample(np.zeros(60), np.repeat(np.arange(20), 3), np.arange(20), np.arange(60)[:, None])
    found = sample.at(0.95)
    assert found.low == 0 < found.high
