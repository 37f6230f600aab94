"""A few models of the shortcut zoo, trained and audited as the whole of it is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "efficacy"


@pytest.fixture(scope="module")
def zoo() -> Iterator[None]:
    """The benchmark's modules are scripts beside each other."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.mark.usefixtures("zoo")
def test_a_planted_shortcut_is_blocked_and_a_random_one_is_not(tmp_path: Path) -> None:
    from audits import audit_one
    from collect import collect
    from run import train_one
    from zoo import Entry

    entries = [Entry("small", "tag", strength, 0) for strength in (1.0, 0.0)]
    for entry in entries:
        train_one(entry, tmp_path)
        audit_one(entry, tmp_path, images=200)
    rows, power = collect(entries, tmp_path)
    assert rows["truth"].tolist() == ["biased", "clean"]
    assert rows["verdict"].tolist() == ["FAIL", "PASS"], rows.to_string()
    assert rows.loc[0, "background_gap"] > 0.5
    assert rows.loc[0, "invalid_lift"] > 2 * rows.loc[1, "invalid_lift"]
    assert rows.loc[0, "background_flips"] > 0.3 > 0.1 > rows.loc[1, "background_flips"]
    assert set(power["check"]) == {"invalid_lift", "background_gap"}


@pytest.mark.usefixtures("zoo")
def test_the_plan_is_the_whole_zoo() -> None:
    from zoo import plan

    entries = plan()
    names = [entry.name for entry in entries]
    assert len(set(names)) == len(names) == 342
    assert len({entry.kind for entry in entries if not entry.photos}) == 10
    counts = Counter(entry.network for entry in entries)
    assert counts == {"small": 200, "vit": 60, "shufflenet": 60, "lite0": 6, "photos": 16}


@pytest.mark.usefixtures("zoo")
@pytest.mark.photos
def test_photographs_carry_the_mark_of_their_class_or_one_at_random(
    photos_root: Path, tmp_path: Path
) -> None:
    import photos

    photos.cut_photos(photos_root / "walkway" / "vtest.avi", tmp_path)
    split = photos.photo_split("patch", "test", tmp_path)
    same = (split.own == split.other).flatten(1).all(dim=1)
    assert 0.4 < same.float().mean() < 0.6  # one of two variants at random
    changed = (split.own != split.other).any(dim=1).float().mean(dim=(1, 2))
    assert changed[~same].min() > 0
    assert changed.max() < 0.04
    rows = photos.write_photos("patch", 1.0, tmp_path, tmp_path / "data")
    assert rows["label"].tolist() == [photos.CLASSES[label] for label in split.labels.tolist()]
    assert rows["group"].nunique() >= 10
    place = photos.photo_split("place", "test", tmp_path)
    people = place.labels == 1
    assert bool((place.own == place.other)[people].all())
    assert not bool((place.own == place.other)[~people].all())


@pytest.mark.usefixtures("zoo")
def test_auroc_and_thresholds_that_never_saw_the_kind() -> None:
    from figures import auroc, left_out

    rng = np.random.default_rng(0)
    score = rng.random(40)
    biased = rng.random(40) < 0.5
    pairs = [(a > b) + 0.5 * (a == b) for a in score[biased] for b in score[~biased]]
    assert auroc(score, biased) == pytest.approx(np.mean(pairs))
    kinds = np.array(["a", "b"] * 20)
    shifted = np.where(biased, 0.8, 0.2) + np.where(kinds == "a", 1.0, 0.0)
    flagged, limits = left_out(shifted, biased, kinds)
    assert limits == pytest.approx([0.5, 1.5])
    assert flagged[kinds == "a"].all()  # a threshold from the other kind alone
    assert not flagged[kinds == "b"].any()


@pytest.mark.usefixtures("zoo")
def test_the_rules_of_others_on_maps_drawn_by_hand() -> None:
    from peers import border_mass, overlap_at_half, share_on_object

    regions = np.zeros((2, 32, 32), dtype=bool)
    regions[:, 8:24, 8:24] = True
    maps = np.zeros((2, 8, 8))
    maps[0, 3:5, 3:5] = 1.0  # inside
    maps[1, 0, 0] = 1.0  # in a corner
    assert share_on_object(maps, regions) == pytest.approx([1.0, 0.0], abs=0.02)
    assert overlap_at_half(maps, regions).tolist() == [1.0, 0.0]
    assert border_mass(maps, np.array(["a", "b"]), (32, 32)) == pytest.approx(1.0, abs=0.03)
    assert border_mass(maps[:1], np.array(["a"]), (32, 32)) == pytest.approx(0.0)
