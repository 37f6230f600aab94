"""Paths in data that others have put together: nothing outside is read where that was asked for, nothing is
written outside ever, and what never ends is not opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from audits_by_hand import make_audit
from camgate.audit.result import AuditResult, GalleryItem
from camgate.data.digest import data_digest
from camgate.data.images import UnreadableImage, read_image, read_mask
from camgate.data.manifest import validate_manifest
from camgate.data.reading import read_data
from camgate.errors import InputError, ManifestError

Write = Callable[[Path, str], Path]


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 30, 30)).save(path)
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return picture(tmp_path / "private" / "secret.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    picture(folder / "a.png")
    return folder


def csv(folder: Path, image: str) -> Path:
    (folder / "manifest.csv").write_text(f"image,label\na.png,red\n{image},red\n", encoding="utf-8")
    return folder / "manifest.csv"


def parquet(folder: Path, image: str) -> Path:
    import pandas as pd

    pd.DataFrame({"image": ["a.png", image], "label": ["red", "red"]}).to_parquet(folder / "manifest.parquet")
    return folder


def region(folder: Path, mask: str) -> Path:
    picture(folder / "b.png")
    (folder / "m.csv").write_text(f"image,label,region\na.png,red,\nb.png,red,{mask}\n", encoding="utf-8")
    return folder / "m.csv"


def zone(folder: Path, mask: str) -> Path:
    picture(folder / "b.png")
    cell = json.dumps({"mask": mask}).replace('"', '""')
    (folder / "m.csv").write_text(f'image,label,zone\na.png,red,\nb.png,red,"{cell}"\n', encoding="utf-8")
    return folder / "m.csv"


def coco(folder: Path, image: str) -> Path:
    names = ["a.png", image]
    content = {
        "images": [{"id": n, "file_name": name, "width": 8, "height": 8} for n, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 4], "iscrowd": 0} for n in (0, 1)
        ],
        "categories": [{"id": 1, "name": "red"}],
    }
    (folder / "coco.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "coco.json"


def voc(folder: Path, image: str) -> Path:
    picture(folder / "JPEGImages" / "a.png")
    (folder / "Annotations").mkdir()
    for stem, name in (("a", "a.png"), ("x", os.path.join("..", image))):
        size = "<size><width>8</width><height>8</height></size>"
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
        (folder / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{name}</filename>{size}<object><name>red</name>{box}</object></annotation>",
            encoding="utf-8",
        )
    return folder


def yolo(folder: Path, image: str) -> Path:
    (folder / "list.txt").write_text(f"a.png\n{image}\n", encoding="utf-8")
    (folder / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n", encoding="utf-8")
    Path(os.path.normpath(folder / image)).with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.5\n")
    content = {"path": ".", "test": "list.txt", "names": {0: "red"}}
    (folder / "data.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "data.yaml"


FORMATS = (csv, parquet, coco, voc, yolo, region, zone)


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("how", ["traversal", "absolute", "link", "folder link"])
def test_files_outside_are_refused_on_request(
    write: Write, how: str, data: Path, secret: Path, request: pytest.FixtureRequest
) -> None:
    if how == "traversal":
        name = "../private/secret.png"
    elif how == "absolute":
        name = str(secret)
    elif how == "link":
        (data / "innocent.png").symlink_to(secret)
        name = "innocent.png"
        if write is yolo:
            (data / "innocent.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    else:
        (data / "inside").symlink_to(secret.parent)
        name = "inside/secret.png"
    source = write(data, name)
    assert len(read_data(source)) == 2, (
        "without the option data sets may be built of links and absolute paths"
    )
    with pytest.raises(
        ManifestError, match=r"row 2, column (image|region|zone): .* lies outside "
    ) as refused:
        read_data(source, {"within": True})
    assert "row 1" not in str(refused.value)
    assert len(read_data(source, {"within": str(data.parent)})) == 2


def test_links_out_of_a_folder_of_images(tmp_path: Path, secret: Path) -> None:
    picture(tmp_path / "set" / "red" / "a.png")
    (tmp_path / "set" / "red" / "b.png").symlink_to(secret)
    with pytest.raises(ManifestError, match=rf"red/b.png \(in truth {secret}\) lies outside"):
        read_data(tmp_path / "set", {"within": True})
    assert len(read_data(tmp_path / "set")) == 2


def test_what_is_inside_passes_and_a_sibling_with_the_same_beginning_does_not(
    tmp_path: Path, data: Path
) -> None:
    picture(data / "deep" / "b.png")
    (data / "again").symlink_to(data / "deep")
    assert len(read_data(csv(data, "again/../deep/b.png"), {"within": True})) == 2
    picture(tmp_path / "data-of-others" / "c.png")
    with pytest.raises(ManifestError, match="lies outside"):
        read_data(csv(data, "../data-of-others/c.png"), {"within": True})
    with pytest.raises(InputError, match="is no folder"):
        read_data(csv(data, "deep/b.png"), {"within": str(tmp_path / "nowhere")})


@pytest.mark.timeout(20)
def test_what_never_ends_is_not_read(data: Path) -> None:
    os.mkfifo(data / "pipe.png")
    for read in (read_image, read_mask):
        for name in (data / "pipe.png", Path("/dev/zero")):
            with pytest.raises(UnreadableImage, match="no regular file"):
                read(name)
    os.mkfifo(data / "pipe.npy")
    with pytest.raises(UnreadableImage, match="no regular file"):
        read_image(data / "pipe.npy")
    manifest = read_data(csv(data, "pipe.png"))  # one bad file does not end a run
    with pytest.raises(UnreadableImage, match=r"pipe.png: no regular file"):
        data_digest(manifest)


@pytest.mark.parametrize(
    "name", ["../../escape", "/tmp/escape", "..", "a/../../../b", "C:\\x", "~/x", "x" * 300]
)
def test_no_name_from_the_data_becomes_a_file(name: str, tmp_path: Path) -> None:
    import numpy as np

    result = make_audit(per_class=3)
    scores = result.scores.copy()
    scores.loc[0, "image_id"] = name
    blank = np.zeros((8, 8), dtype=bool)
    item = GalleryItem(name, "worst", 0, np.zeros((8, 8, 3), np.uint8), np.ones((2, 2), np.float32), blank)
    folder = tmp_path / "deep" / "inside" / "audit"
    replace(result, scores=scores, gallery=(item,)).save(folder)
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.relative_to(folder).as_posix() for path in files} == {
        "audit.json",
        "scores.parquet",
        "interventions.parquet",
        "heatmaps/gallery.npz",
        "heatmaps/worst_000.png",
    }
    assert AuditResult.load(folder).gallery[0].image_id == name


def test_an_index_that_names_other_files_reads_none_of_them(tmp_path: Path) -> None:
    """`file` in audit.json is for people: pictures come from the folder's own archive."""
    result = make_audit(per_class=3)
    import numpy as np

    blank = np.zeros((8, 8), dtype=bool)
    item = GalleryItem("cat-0", "worst", 0, np.zeros((8, 8, 3), np.uint8), np.ones((2, 2), np.float32), blank)
    folder = replace(result, gallery=(item,)).save(tmp_path / "audit")
    meta = json.loads((folder / "audit.json").read_text())
    meta["gallery"][0]["file"] = "/etc/passwd"
    (folder / "audit.json").write_text(json.dumps(meta))
    assert AuditResult.load(folder).gallery[0].file == "heatmaps/worst_000.png"


def test_a_pickle_in_the_gallery_is_not_opened(tmp_path: Path) -> None:
    import numpy as np

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'exploded'}",)

    folder = make_audit(per_class=3).save(tmp_path / "audit")
    bomb = np.array([Bomb()], dtype=object)
    meta = json.loads((folder / "audit.json").read_text())
    meta["gallery"] = [{"image_id": "cat-0", "kind": "worst", "rank": 0, "file": "x"}]
    (folder / "audit.json").write_text(json.dumps(meta))
    np.savez(folder / "heatmaps" / "gallery.npz", image_0=bomb, heatmap_0=bomb, region_0=bomb)
    with pytest.raises(InputError, match="damaged"):
        AuditResult.load(folder)
    assert not (tmp_path / "exploded").exists()


def test_a_manifest_is_checked_whoever_made_it(data: Path) -> None:
    import pandas as pd

    with pytest.raises(ManifestError, match="is not a path"):
        validate_manifest(pd.DataFrame({"image": ["a\0.png"], "label": ["red"]}), root=data)
