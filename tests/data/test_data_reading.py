"""Data as a run configuration describes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from data_pictures import SIZE, save_picture, save_region

from camgate.data.reading import DataOptions, read_data
from camgate.data.regions import region_for
from camgate.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("cat", "dog"):
        for number in range(3):
            save_picture(tmp_path / "images" / label / f"{number}.png", number)
            save_region(tmp_path / "masks" / label / f"{number}.png")
    return tmp_path


def areas(manifest: pd.DataFrame) -> list[int]:
    regions = [region_for(row, SIZE) for row in manifest.to_dict("records")]
    return [0 if region is None else int(region.sum()) for region in regions]


def test_plain_and_with_masks_elsewhere(folder: Path) -> None:
    assert areas(read_data(folder)) == [36] * 6
    (folder / "masks").rename(folder / "elsewhere")
    assert areas(read_data(folder / "images")) == [0] * 6
    assert areas(read_data(folder / "images", {"masks": str(folder / "elsewhere")})) == [36] * 6


def test_rule_and_zones_from_a_yaml_file(folder: Path, tmp_path: Path) -> None:
    left = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump({"zone": {"polygon": left}, "region": {"combine": "either"}}))
    joined = read_data(folder, file)
    expected = np.zeros(SIZE, dtype=bool)
    expected[:, :8] = True
    expected[2:8, 4:10] = True
    assert areas(joined) == [int(expected.sum())] * 6
    both = read_data(folder, {"zone": [{"polygon": left}]})
    assert areas(both) == [6 * 4] * 6


def test_camera_fills_in_what_is_missing(folder: Path) -> None:
    for number in range(3):
        whole = save_picture(folder / "images" / "cat" / f"{number}.png", 9)
        save_picture(folder / "images" / "dog" / f"{number}.png", 9).write_bytes(whole.read_bytes())
    manifest = read_data(folder / "images", {"camera": {"empty": ["cat"]}})
    assert areas(manifest) == [0] * 6  # nothing ever changes before this camera
    assert manifest["region"].notna().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": {"grow": 2}}, r"region\.grow"),
        ({"camera": {"treshold": 3}}, r"camera\.treshold"),
        ({"zone": {"polygon": [[0, 0]]}}, "zone"),
        ({"maskz": "there"}, r"no option 'maskz' for load_folder; did you mean 'masks'\?"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(folder: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data(folder / "images", options)


def test_the_options_file_is_named(tmp_path: Path) -> None:
    for text, message in (("- a", "mapping"), ("a: [", "no YAML"), ("region: {grow: -1}", r"region\.grow")):
        (tmp_path / "o.yaml").write_text(text)
        with pytest.raises(InputError, match=rf"o\.yaml: .*{message}"):
            DataOptions.read(tmp_path / "o.yaml")
    with pytest.raises(InputError, match=r"no\.yaml"):
        DataOptions.read(str(tmp_path / "no.yaml"))
