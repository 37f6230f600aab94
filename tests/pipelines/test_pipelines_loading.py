"""The loading step and the part of its cache key that ZenML cannot see."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.models.builders import build
from camgate.steps import load_data
from camgate.steps._fingerprint import data_fingerprint, weights_fingerprint
from camgate.steps._models import as_classifier


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, grey in (("a", 50), ("b", 200)):
        for place in ("images", "masks"):
            (tmp_path / place / label).mkdir(parents=True)
            Image.new("L", (8, 8), grey).save(tmp_path / place / label / "1.png")
    return tmp_path


def fingerprint(**parameters: Any) -> str:
    """As `generate_cache_key` calls it: the step is a local of the caller."""
    step = SimpleNamespace(config=SimpleNamespace(parameters=parameters))
    assert step is not None
    return data_fingerprint()


def test_folder_with_masks_and_a_zone(folder: Path) -> None:
    options = {"masks": str(folder / "masks"), "zone": {"polygon": [(0, 0), (1, 0), (1, 0.5)]}}
    manifest = load_data.entrypoint(str(folder / "images"), options)
    assert [Path(region).parent.name for region in manifest["region"]] == ["a", "b"]
    assert manifest["zone"].notna().all()


@pytest.mark.parametrize("changed", ["images/a/1.png", "masks/b/1.png"])
def test_fingerprint_changes_with_any_file_and_only_then(folder: Path, changed: str) -> None:
    parameters = {"data": str(folder)}
    before = fingerprint(**parameters)
    assert fingerprint(**parameters) == before
    Image.new("L", (8, 8), 7).save(folder / changed)
    assert fingerprint(**parameters) != before


def test_fingerprint_changes_with_a_column_that_no_digest_knows(folder: Path) -> None:
    path = folder / "manifest.csv"
    table = pd.DataFrame({"image": ["images/a/1.png", "images/b/1.png"], "label": ["a", "b"]})
    table.assign(light="day").to_csv(path, index=False)
    before = fingerprint(data=str(path), options=None)
    table.assign(light="night").to_csv(path, index=False)
    assert fingerprint(data=str(path), options=None) != before


def test_fingerprint_knows_the_zone(folder: Path) -> None:
    shapes = [[[0, 0], [1, 0], [1, height]] for height in (0.5, 0.6)]
    assert len({fingerprint(data=str(folder), options={"zone": {"polygon": shape}}) for shape in shapes}) == 2


def test_training_is_cached_until_its_weights_change(tmp_path: Path) -> None:
    def of(**parameters: Any) -> str:
        step = SimpleNamespace(config=SimpleNamespace(parameters=parameters))
        assert step is not None
        return weights_fingerprint()

    weights = tmp_path / "w.pth"
    assert of() == of(weights=None) == of(weights="DEFAULT") == of(weights=str(weights)) == ""
    weights.write_bytes(b"one")
    before = of(weights=str(weights))
    assert of(weights=str(weights)) == before != ""
    weights.write_bytes(b"two")
    assert of(weights=str(weights)) != before
    assert weights_fingerprint() != weights_fingerprint()


def test_nothing_is_cached_where_data_or_step_cannot_be_seen(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert fingerprint(data=str(folder / "nowhere")) != fingerprint(data=str(folder / "nowhere"))
    assert data_fingerprint() != data_fingerprint()
    assert "load_data is not cached" in caplog.text


def test_a_file_of_weights_is_a_model_with_its_facts(tmp_path: Path) -> None:
    net = build("resnet_small", {"widths": [4, 4, 4, 4]}, 2)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    facts: dict[str, Any] = {
        "classes": ["a", "b"],
        "preprocessing": Preprocessing(size=(32, 32)),
        "builder": "resnet_small",
        "builder_args": {"widths": [4, 4, 4, 4]},
    }
    model = as_classifier(None, source=str(tmp_path / "net.pth"), **facts)
    assert model.builder == "resnet_small"  # so the audit step can log it
    folder = model.save(tmp_path / "saved")
    assert as_classifier(None, source=str(folder), **facts).digest() == model.digest()
    with pytest.raises(ModelError, match="`classes` is given as"):
        as_classifier(None, source=str(folder), classes=["b", "a"])
