"""Hugging Face data sets as manifests; built in memory, nothing is downloaded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_pictures import SIZE, save_picture, save_region
from PIL import Image

from camgate.data.formats.huggingface import from_huggingface
from camgate.data.images import read_image, read_mask
from camgate.data.sources import load_data
from camgate.errors import InputError, ManifestError

hub = pytest.importorskip("datasets")
NAMES = hub.ClassLabel(names=["cat", "dog"])


def encoded(seed: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def in_memory(count: int = 3, kind: str = "PNG", **columns: Any) -> Any:
    images = [{"bytes": encoded(seed, kind), "path": None} for seed in range(count)]
    features = {"image": hub.Image(), "label": NAMES}
    values: dict[str, Any] = {"image": images, "label": [n % 2 for n in range(count)]}
    for name, (cells, feature) in columns.items():
        values[name], features[name] = cells, feature
    return hub.Dataset.from_dict(values, hub.Features(features))


def on_disk(root: Path, count: int = 3) -> Any:
    paths = [str(save_picture(root / f"{n}.png", n)) for n in range(count)]
    values = {"image": paths, "label": [n % 2 for n in range(count)]}
    return hub.Dataset.from_dict(values, hub.Features({"image": hub.Image(), "label": NAMES}))


def test_files_that_are_there_are_used_where_they_lie(tmp_path: Path) -> None:
    manifest = from_huggingface(on_disk(tmp_path), split="test")
    assert manifest["image"].tolist() == [str(tmp_path / f"{n}.png") for n in range(3)]
    assert manifest["label"].tolist() == ["cat", "dog", "cat"]
    assert manifest["split"].tolist() == ["test"] * 3


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_bytes_are_written_as_they_are(tmp_path: Path, kind: str, suffix: str) -> None:
    manifest = from_huggingface(in_memory(kind=kind), folder=tmp_path / "out")
    for number, image in enumerate(manifest["image"]):
        assert Path(image).suffix == suffix
        assert Path(image).read_bytes() == encoded(number, kind)
    again = load_data(tmp_path / "out")
    assert again["image"].tolist() == manifest["image"].tolist()
    with pytest.raises(InputError, match="give `folder`"):
        from_huggingface(in_memory())


def test_splits_of_a_dict(tmp_path: Path) -> None:
    parts = hub.DatasetDict({"train": in_memory(2), "val": in_memory(1), "test": on_disk(tmp_path)})
    manifest = from_huggingface(parts, folder=tmp_path / "out")
    assert manifest["split"].tolist() == ["train"] * 2 + ["validation"] + ["test"] * 3
    assert manifest["image_id"][2] == "validation/00000000"
    with pytest.raises(InputError, match="splits of its own"):
        from_huggingface(parts, split="test")


def test_regions_and_further_columns(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[2:5, 3:9] = True
    masks = [str(save_region(tmp_path / f"{n}.png", mask)) for n in range(2)] + [None]
    dataset = in_memory(
        3,
        mask=(masks, hub.Image()),
        group=(["p1", "p1", "p2"], hub.Value("string")),
        site=([1, 0, 1], NAMES),
        boxes=([[1], [2], [3]], hub.List(hub.Value("int32"))),
    )
    manifest = from_huggingface(dataset, region="mask", folder=tmp_path / "out")
    np.testing.assert_array_equal(read_mask(manifest["region"][0]), mask)
    assert manifest["region"][2] is None
    assert manifest["group"].tolist() == ["p1", "p1", "p2"]
    assert manifest["site"].tolist() == ["dog", "cat", "dog"]
    assert "boxes" not in manifest


def test_masks_in_memory_are_written_without_loss(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random(SIZE) < 0.5
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    dataset = in_memory(1, mask=([picture], hub.Image()))
    manifest = from_huggingface(dataset, region="mask", folder=tmp_path / "out")
    np.testing.assert_array_equal(read_mask(manifest["region"][0]), mask)


def test_a_mask_of_another_size_leaves_nothing_behind(tmp_path: Path) -> None:
    dataset = in_memory(1, mask=([Image.new("L", (3, 3))], hub.Image()))
    with pytest.raises(ManifestError, match="3x3 pixels"):
        from_huggingface(dataset, region="mask", folder=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_formats_and_transforms_are_not_applied(tmp_path: Path) -> None:
    dataset = in_memory(2)
    expected = [np.asarray(row["image"]) for row in dataset]
    dataset.set_transform(lambda batch: {"image": [Image.new("RGB", (2, 2))], "label": [0]})
    manifest = from_huggingface(dataset, folder=tmp_path / "a")
    torched = from_huggingface(in_memory(2).with_format("torch"), folder=tmp_path / "b")
    for frame in (manifest, torched):
        assert frame["label"].tolist() == ["cat", "dog"]
        for image, pixels in zip(frame["image"], expected, strict=True):
            np.testing.assert_array_equal(read_image(image), pixels)
    assert dataset[0]["image"].size == (2, 2)


def test_streams(tmp_path: Path) -> None:
    stream = in_memory(3).to_iterable_dataset()
    manifest = from_huggingface(stream, folder=tmp_path / "out")
    assert manifest["label"].tolist() == ["cat", "dog", "cat"]
    assert Path(manifest["image"][1]).read_bytes() == encoded(1)
    with pytest.raises(InputError, match="IterableDataset needs `folder`"):
        from_huggingface(stream)


def test_a_stream_that_states_no_columns(tmp_path: Path) -> None:
    def rows() -> Any:
        for seed in range(2):
            yield {"image": Image.open(io.BytesIO(encoded(seed))), "label": f"l{seed}"}

    stream = hub.IterableDataset.from_generator(rows)
    assert stream.features is None
    manifest = from_huggingface(stream, folder=tmp_path / "out")
    assert manifest["label"].tolist() == ["l0", "l1"]
    np.testing.assert_array_equal(
        read_image(manifest["image"][1]), np.asarray(Image.open(io.BytesIO(encoded(1))))
    )
    with pytest.raises(ManifestError, match=r"no column 'lable'.*did you mean 'label'"):
        from_huggingface(stream, label="lable", folder=tmp_path / "other")


def test_labels_as_text_or_numbers(tmp_path: Path) -> None:
    texts = in_memory(3, sort=(["x", "y", "x"], hub.Value("string")), number=([3, 4, 3], hub.Value("int64")))
    assert from_huggingface(texts, label="sort", folder=tmp_path / "a")["label"].tolist() == ["x", "y", "x"]
    assert from_huggingface(texts, label="number", folder=tmp_path / "b")["label"].tolist() == ["3", "4", "3"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"image": "imgae"}, "no column 'imgae'.*did you mean 'image'"),
        ({"label": "labels"}, "no column 'labels'.*did you mean 'label'"),
        ({"image": "label"}, "not pictures"),
        ({"region": "label"}, "`region`.*not pictures"),
        ({"label": "tags"}, "one label for each image"),
        ({"label": "image"}, "one label for each image"),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, options: dict[str, str], what: str) -> None:
    dataset = in_memory(2, tags=([[0], [1]], hub.List(NAMES)))
    with pytest.raises(InputError, match=what):
        from_huggingface(dataset, folder=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_faulty_rows_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    pictures = [{"bytes": b"x", "path": None}, {"bytes": None, "path": "/no/where.png"}, None]
    pictures += [{"bytes": encoded(0), "path": None}] * 2
    features = hub.Features({"image": hub.Image(), "label": NAMES})
    dataset = hub.Dataset.from_dict({"image": pictures, "label": [0, 1, 0, -1, None]}, features)
    with pytest.raises(ManifestError) as caught:
        from_huggingface(hub.DatasetDict({"test": dataset}), folder=tmp_path / "out")
    faults = caught.value.faults
    assert [fault.split(":")[0] for fault in faults] == [f"split 'test', row {n}" for n in range(5)]
    for fault, text in zip(
        faults,
        ["no image", "/no/where.png: no such file", "no picture", "-1 has no name", "no label"],
        strict=True,
    ):
        assert text in fault
    assert list(tmp_path.iterdir()) == []


def test_other_things_are_refused() -> None:
    with pytest.raises(InputError, match=r"must be a Dataset.*not list"):
        from_huggingface([{"image": None}])
