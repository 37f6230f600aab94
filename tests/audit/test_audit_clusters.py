"""Clusters of heatmaps: what moves is no finding, what never moves is one; slow oracles and properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camgate.audit.clusters import MIN_IMAGES, Clusters, cluster_maps, clusters_of
from camgate.audit.onepass import heatmap_pass
from camgate.audit.places import Box, box_of, covers_middle, place_of, position_stability, steady_cells
from camgate.audit.preparing import AuditOptions, Prepared
from camgate.audit.result import AuditSettings
from camgate.audit.scores import RegionGrid
from camgate.data.dataset import ImageDataset
from camgate.models.classifier import Classifier

GRID = (8, 8)


def blob(y: float, x: float, *, sigma: float = 0.9, grid: tuple[int, int] = GRID) -> np.ndarray:
    rows, columns = np.arange(grid[0])[:, None], np.arange(grid[1])[None, :]
    return np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))


def fixed(count: int, y: float, x: float, *, seed: int = 0) -> np.ndarray:
    """An overlay: always there, its heat a little uneven."""
    rng = np.random.default_rng(seed)
    return np.stack([blob(y, x) * rng.uniform(0.9, 1.1, GRID) * rng.uniform(0.5, 2) for _ in range(count)])


def moving(
    count: int,
    *,
    rows: tuple[float, float] = (2, 6),
    columns: tuple[float, float] = (1.5, 6),
    seed: int = 0,
) -> np.ndarray:
    """An object: anywhere inside the box."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [blob(rng.uniform(*rows), rng.uniform(*columns)) * rng.uniform(0.9, 1.1, GRID) for _ in range(count)]
    )


def names(count: int, prefix: str = "g") -> np.ndarray:
    return np.array([f"{prefix}{number}" for number in range(count)])


def of(maps: np.ndarray, labels: np.ndarray | str = "a", **options: object) -> Clusters:
    return cluster_maps(maps, np.broadcast_to(labels, len(maps)), names(len(maps)), **options)


def grids(boxes: list[tuple[slice, slice] | None]) -> RegionGrid:
    valid = np.zeros((len(boxes), *GRID))
    for cells, box in zip(valid, boxes, strict=True):
        if box is not None:
            cells[box] = 1.0
    return RegionGrid(valid, np.ones_like(valid))


# --- stability of a place ---------------------------------------------------------------------------


def slow_stability(maps: np.ndarray, codes: np.ndarray) -> float:
    """Map by map: cosine with the mean of the other groups against that of a map with itself one cell on."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))

    moved = []
    for heat in maps:
        height, width = heat.shape
        ways = []
        for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            other = np.empty_like(heat)
            for y in range(height):
                for x in range(width):
                    other[y, x] = heat[min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)]
            ways.append(cosine(heat, other))
        moved.append(np.mean(ways))
    nearby = np.median(moved)
    shares = []
    for heat, code in zip(maps, codes, strict=True):
        others = [m / np.sqrt((m * m).sum()) for m, c in zip(maps, codes, strict=True) if c != code]
        shares.append((cosine(heat, np.mean(others, axis=0)) ** 2 - nearby) / (1 - nearby))
    return float(np.median(np.clip(shares, 0, 1)))


@given(st.integers(0, 2**31), st.sampled_from([(4, 4), (5, 8), (7, 7)]), st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_stability_equals_the_oracle(seed: int, grid: tuple[int, int], groups: int) -> None:
    rng = np.random.default_rng(seed)
    maps = np.stack([blob(2 + rng.normal(0, 0.4), 2, grid=grid) for _ in range(groups + 5)])
    codes = np.concatenate([np.arange(groups), rng.integers(0, groups, 5)])
    value, low = position_stability(maps, codes, seed=0)
    assert value == pytest.approx(slow_stability(maps, codes), abs=1e-9)
    assert 0 <= low <= value


def test_stability_is_one_where_nothing_moves_and_zero_from_a_cell_on() -> None:
    everyone = np.arange(60)
    still = position_stability(fixed(60, 1, 6), everyone, seed=0)
    assert still[0] > 0.9
    assert still[1] > 0.85
    assert position_stability(moving(60), everyone, seed=0) == (0.0, 0.0)
    steps = [blob(4, 2 + number % 3) for number in range(60)]  # three neighbouring cells
    assert position_stability(np.stack(steps), everyone, seed=0)[0] == 0.0


def test_a_blurred_map_does_not_pass_for_a_steady_one() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(2, 5, (60, 2))
    maps = np.stack([blob(y, x, sigma=3.0) for y, x in places])
    flat = np.ones((60, *GRID))
    assert position_stability(maps, np.arange(60), seed=0)[0] < 0.1
    assert position_stability(flat, np.arange(60), seed=0)[0] == 0.0


def test_frames_of_one_video_are_no_evidence_of_a_fixed_place() -> None:
    """In each group the object stands still for six frames: steady inside, moving between."""
    places = moving(12)
    maps = np.repeat(places, 6, axis=0)
    assert position_stability(maps, np.repeat(np.arange(12), 6), seed=0)[0] == 0.0
    assert np.isnan(position_stability(maps[:6], np.zeros(6, dtype=int), seed=0)[0])


def test_place_is_the_fewest_cells_with_half_of_the_mass() -> None:
    heat = np.zeros(GRID)
    heat[0, 6:8] = 3.0
    heat[5, 5] = 1.0
    assert box_of(place_of(heat)) == Box(0, 6, 1, 8)
    assert place_of(np.ones(GRID)).all()
    assert not covers_middle(place_of(heat))
    assert covers_middle(place_of(blob(3.5, 3.5)))
    assert covers_middle(place_of(blob(3, 3, grid=(7, 7))))
    assert not covers_middle(place_of(blob(3, 6, grid=(7, 7))))


# --- clusters and findings --------------------------------------------------------------------------


def test_a_moving_object_is_no_finding() -> None:
    for seed in range(5):
        found = of(moving(150, seed=seed))
        assert not found.findings
        assert {cluster.stability for cluster in found.found} == {0.0}


def test_an_overlay_is_a_finding_and_its_place_is_told() -> None:
    (cluster,) = of(fixed(60, 0, 7)).found
    assert cluster.fixed_place
    assert cluster.images == cluster.groups == 60
    assert cluster.place.top == 0
    assert cluster.place.right == 8
    assert cluster.spread < 0.1
    assert cluster.mean_map.sum() == pytest.approx(1)
    assert np.isnan(cluster.invalid_lift)
    assert "60 maps of class a stay around rows 1 to" in cluster.in_words


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_class_that_is_told_by_two_ways_has_two_clusters_and_one_is_fixed(share: float) -> None:
    overlay, objects = round(120 * share), 120 - round(120 * share)
    maps = np.concatenate([fixed(overlay, 0.5, 0.5), moving(objects, rows=(4, 6), columns=(4, 6))])
    found = of(maps)
    assert len(found.found) == 2
    (cluster,) = found.findings
    assert cluster.images == overlay
    assert set(found.assignment[:overlay]) == {found.found.index(cluster)}
    assert cluster.traffic < 0.2  # the object moves elsewhere
    assert len(found.eigenvalues["a"]) == 9


def test_an_overlay_beside_an_object_in_the_same_map_is_found() -> None:
    """Every map of one class shows the overlay and, just as hot, an object that stands anywhere."""
    for seed in range(3):
        objects = moving(120, rows=(4, 6.5), columns=(1, 6), seed=seed)
        maps, labels = objects.copy(), np.repeat(["a", "b"], 60)
        maps[:60] += blob(0.5, 6.5) * np.random.default_rng(seed).uniform(0.8, 1.2, (60, 1, 1))
        (cluster,) = of(maps, labels).findings
        assert (cluster.label, cluster.images) == ("a", 60)
        assert (cluster.place.top, cluster.place.right) == (0, 8)
        assert cluster.place.bottom <= 3
        assert not of(objects, labels).findings


def test_half_a_class_with_an_overlay_hotter_than_its_object_is_found() -> None:
    objects = moving(120, rows=(4, 6.5), columns=(1, 6), seed=1)
    maps = objects.copy()
    maps[:60] += 3 * blob(0.5, 6.5) * np.random.default_rng(1).uniform(0.8, 1.2, (60, 1, 1))
    found = of(maps)
    (cluster,) = found.findings
    members = found.assignment == found.found.index(cluster)
    assert members[:60].all()
    assert not members[60:].any()


def test_steady_cells_are_those_of_the_overlay() -> None:
    maps = moving(80, rows=(4, 6.5), columns=(1, 6)) + blob(0, 7)
    steady = steady_cells(maps)
    assert steady[0, 7]
    assert not steady[3:].any()
    assert not steady_cells(moving(80)).any()


def test_each_class_is_clustered_alone_and_what_moves_in_one_excuses_the_place_in_another() -> None:
    """`empty` is told by the floor on which people would walk: a fixed place, yet theirs."""
    people, floor = moving(60, rows=(3, 6), columns=(2, 6)), fixed(60, 4.5, 4)
    maps = np.concatenate([people, floor])
    labels = np.repeat(["person", "empty"], 60)
    found = of(maps, labels)
    empty = next(cluster for cluster in found.found if cluster.label == "empty")
    assert empty.stability_low > 0.8
    assert empty.traffic > 1
    assert not empty.fixed_place
    maps[60:] = fixed(60, 0.5, 0.5)
    assert [cluster.label for cluster in of(maps, labels).findings] == ["empty"]


def test_objects_centred_in_every_picture_are_not_told_from_an_overlay_and_make_no_finding() -> None:
    maps = np.concatenate([fixed(60, 3.5, 3.5, seed=1), fixed(60, 3.2, 3.8, seed=2)])
    found = of(maps, np.repeat(["cup", "plate"], 60))
    assert all(cluster.stability_low > 0.5 for cluster in found.found)
    assert not found.findings


def test_regions_decide_where_there_are_any() -> None:
    """The same steady place: on the object it is none of our business, off it it is a finding."""
    maps = fixed(40, 1, 1)
    here, there = (slice(0, 3), slice(0, 3)), (slice(5, 8), slice(5, 8))
    on = of(maps, regions=grids([here] * 40))
    off = of(maps, regions=grids([there] * 40))
    assert on.found[0].invalid_activation < 0.05
    assert not on.findings
    assert off.found[0].invalid_activation > 0.95
    assert off.found[0].invalid_lift > 1
    assert len(off.findings) == 1
    few = of(maps, regions=grids([here] * 3 + [None] * 37))  # a class without objects, three mistakes
    assert few.found[0].invalid_lift < 0.1
    assert few.found[0].traffic > 1
    assert not few.findings


def test_too_few_images_or_groups_make_no_finding() -> None:
    assert of(fixed(MIN_IMAGES - 1, 0, 0)).found == ()
    assert len(of(fixed(MIN_IMAGES, 0, 0)).findings) == 1
    maps = fixed(60, 0, 0)
    two = cluster_maps(maps, ["a"] * 60, [f"g{number % 2}" for number in range(60)])
    assert two.found[0].stability > 0.9
    assert not two.findings
    assert np.isnan(cluster_maps(maps, ["a"] * 60, ["one"] * 60).found[0].stability)
    single = of(fixed(1, 0, 0))
    assert single.found == ()
    assert single.assignment.tolist() == [-1]
    assert cluster_maps(np.zeros((0, *GRID)), [], []).found == ()


def test_dead_maps_are_left_out() -> None:
    maps = fixed(40, 0, 0)
    maps[3], maps[5, 2, 2] = 0.0, np.nan
    found = of(maps)
    assert found.assignment[[3, 5]].tolist() == [-1, -1]
    assert found.found[0].images == 38
    assert of(np.zeros((20, *GRID))).found == ()


def test_identical_maps_are_one_cluster() -> None:
    found = of(np.repeat(blob(0, 0)[None], 50, axis=0))
    assert len(found.found) == 1
    assert found.found[0].stability == pytest.approx(1)
    assert found.findings
    cells = np.zeros((50, *GRID))
    cells[:25, 0, 0] = cells[25:, 7, 7] = 1
    assert sorted(cluster.images for cluster in of(cells).found) == [25, 25]


def test_a_place_as_large_as_the_image_is_no_place() -> None:
    rng = np.random.default_rng(0)
    weave = 1 + 0.4 * rng.random(GRID)
    found = of(np.stack([weave * rng.uniform(0.99, 1.01, GRID) for _ in range(60)]))
    assert found.found[0].stability > 0.3
    assert found.found[0].spread > 0.4
    assert not found.findings


def test_the_cap_is_kept_and_spread_over_classes() -> None:
    maps = np.concatenate([fixed(300, 0, 0), moving(60)])
    found = of(maps, np.repeat(["many", "few"], [300, 60]), most=100)
    assert (found.assignment >= 0).sum() == 100
    assert sum(cluster.images for cluster in found.found if cluster.label == "few") == 50


def test_what_does_not_fit_is_refused() -> None:
    maps = fixed(12, 0, 0)
    with pytest.raises(ValueError, match="one label"):
        cluster_maps(maps, ["a"] * 11, names(12))
    with pytest.raises(ValueError, match="grid"):
        of(maps, regions=RegionGrid(np.zeros((12, 4, 4)), np.ones((12, 4, 4))))
    with pytest.raises(ValueError, match="negative"):
        of(-maps)


# --- properties -------------------------------------------------------------------------------------


def mixture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    maps = np.concatenate(
        [
            fixed(25, 0.5, 6.5, seed=seed),
            moving(35, rows=(4, 6.5), columns=(1, 5), seed=seed),
            moving(30, seed=seed + 1),
        ]
    )
    return maps, np.repeat(["a", "b"], [60, 30])


def as_set(found: Clusters) -> set[tuple[object, ...]]:
    return {
        (
            cluster.label,
            frozenset(np.flatnonzero(found.assignment == number)),
            round(cluster.stability, 6),
            cluster.fixed_place,
        )
        for number, cluster in enumerate(found.found)
    }


@given(st.integers(0, 2**31), st.integers(20, 200))
@settings(deadline=None, max_examples=15)
def test_the_order_of_the_images_changes_nothing(seed: int, most: int) -> None:
    maps, labels = mixture(seed)
    groups = names(len(maps))
    order = np.random.default_rng(seed).permutation(len(maps))
    straight = cluster_maps(maps, labels, groups, most=most)
    shuffled = cluster_maps(maps[order], labels[order], groups[order], most=most)
    assert shuffled.assignment.tolist() == straight.assignment[order].tolist()
    for one, other in zip(straight.found, shuffled.found, strict=True):
        assert one.stability_low == other.stability_low
        assert one.fixed_place == other.fixed_place
        assert (one.mean_map == other.mean_map).all()


def turned_box(box: Box, turn: str) -> Box:
    if turn == "transpose":
        return Box(box.left, box.top, box.right, box.bottom)
    if turn == "mirror":
        return Box(box.top, GRID[1] - box.right, box.bottom, GRID[1] - box.left)
    return Box(GRID[0] - box.bottom, box.left, GRID[0] - box.top, box.right)


TURNS = {
    "transpose": lambda maps: maps.transpose(0, 2, 1),
    "mirror": lambda maps: maps[:, :, ::-1],
    "upside down": lambda maps: maps[:, ::-1],
}


@given(st.integers(0, 2**31), st.sampled_from(sorted(TURNS)), st.booleans())
@settings(deadline=None, max_examples=20)
def test_turning_all_maps_turns_the_result(seed: int, turn: str, annotated: bool) -> None:
    maps, labels = mixture(seed)
    regions = grids([(slice(4, 8), slice(0, 6))] * len(maps)) if annotated else None
    turned_regions = None
    if regions is not None:
        turned_regions = RegionGrid(TURNS[turn](regions.valid), TURNS[turn](regions.counted))
    straight = of(maps, labels, regions=regions)
    turned = of(TURNS[turn](maps), labels, regions=turned_regions)
    assert len(straight.findings) == 1
    assert as_set(turned) == as_set(straight)
    one, other = straight.findings[0], turned.findings[0]
    assert turned_box(one.place, turn) == other.place
    assert TURNS[turn](one.mean_map[None])[0] == pytest.approx(other.mean_map)


@given(st.integers(0, 2**31), st.floats(1e-6, 1e6))
@settings(deadline=None, max_examples=10)
def test_the_scale_of_a_map_does_not_matter(seed: int, factor: float) -> None:
    maps, labels = mixture(seed)
    scale = np.random.default_rng(seed).uniform(1, 2, (len(maps), 1, 1)) * factor
    assert as_set(of(maps * scale, labels)) == as_set(of(maps, labels))


# --- on the tables of an audit ----------------------------------------------------------------------


def audited(model: Classifier, manifest: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, RegionGrid]:
    chosen = AuditSettings(
        method="gradcam",
        method_requested="gradcam",
        target_layer="features",
        target_layer_reason="",
        target_layer_rule="caller",
        map_size=GRID,
        target="predicted",
        tolerance=1,
        interventions=False,
        draws=1,
        fill="inpaint",
        margin=0.05,
        seed=0,
        max_interventions=1,
    )
    dataset = ImageDataset(manifest, model.preprocessing, model.classes)
    prepared = Prepared(model, AuditOptions(batch_size=16), manifest, dataset, chosen, "gradcam", ())
    found = heatmap_pass(prepared, progress=lambda done: None)
    rows = manifest.reset_index(drop=True)
    scores = pd.concat([rows[["image_id", "label", "group"]], found.table], axis=1)
    return scores, found.maps, found.regions


def test_an_audit_of_a_model_that_reads_the_wall(reads_wall: Classifier, biased_data: pd.DataFrame) -> None:
    scores, maps, regions = audited(reads_wall, biased_data)
    for known in (None, regions):
        found = clusters_of(scores, maps, known, tolerance=1, seed=0)
        assert [cluster.label for cluster in found.findings] == ["blue", "red"]
        assert {cluster.place for cluster in found.findings} == {Box(0, 0, 2, 2)}
    order = np.random.default_rng(0).permutation(len(scores))
    shuffled = clusters_of(scores.iloc[order], maps[order], regions.take(order), tolerance=1, seed=0)
    assert shuffled.assignment.tolist() == found.assignment[order].tolist()


def test_an_audit_of_a_model_that_reads_an_object_that_stands_still(
    reads_object: Classifier, biased_data: pd.DataFrame
) -> None:
    """Regions clear it; without them its place in the middle does."""
    scores, maps, regions = audited(reads_object, biased_data)
    for known in (None, regions):
        found = clusters_of(scores, maps, known, tolerance=1, seed=0)
        assert len(found.found) == 2
        assert not found.findings


def test_an_unreadable_image_is_in_no_cluster(reads_wall: Classifier, biased_data: pd.DataFrame) -> None:
    scores, maps, regions = audited(reads_wall, biased_data)
    scores.loc[4, "target"], maps[4] = None, 0.0
    found = clusters_of(scores, maps, regions, tolerance=1, seed=0)
    assert found.assignment[4] == -1
    assert (np.delete(found.assignment, 4) >= 0).all()
