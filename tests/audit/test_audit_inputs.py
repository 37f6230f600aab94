"""Whole audits of networks with other inputs and outputs than three channels and logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from camgate.audit.runner import audit
from camgate.audit.summary import background_gap
from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.data.rle import region_cell
from camgate.models.classifier import Classifier

CELL = 8


class ReadsOneBand(nn.Module):
    """Class b where one band is bright in the cells that it reads, class a where it is dark."""

    def __init__(self, band: int, rows: slice, columns: slice, grid: tuple[int, int], last: str) -> None:
        super().__init__()
        mask = torch.zeros(grid)
        mask[rows, columns] = 1
        self.features = nn.Sequential(nn.AvgPool2d(CELL), _Band(band, mask))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        evidence = 100 * self.features(x).mean(dim=(2, 3))  # dark, bright
        if self.last == "sigmoid":
            return evidence[:, 1:] - evidence[:, :1]
        return evidence.softmax(dim=1) if self.last == "probabilities" else evidence


class _Band(nn.Module):
    def __init__(self, band: int, mask: Tensor) -> None:
        super().__init__()
        self.band = band
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        value = x[:, self.band : self.band + 1] - 0.5
        return torch.relu(torch.cat([-value, value], dim=1)) * self.mask


def write(folder: Path, channels: int, *, size: tuple[int, int]) -> pd.DataFrame:
    """The last band is bright (b) or dark (a) in the object, cells 4-5 x 2-3, and all is grey elsewhere."""
    rng = np.random.default_rng(0)
    region = np.zeros(size, dtype=bool)
    region[32:48, 16:32] = True
    rows = []
    for number in range(60):
        label = "ab"[number % 2]
        picture = np.full((*size, channels), 128, np.uint8) + rng.integers(0, 3, (*size, 1), np.uint8)
        picture[region, -1] = 250 if label == "b" else 5
        path = folder / f"{number}.{'png' if channels == 1 else 'npy'}"
        if channels == 1:
            Image.fromarray(picture[..., 0]).save(path)
        else:
            np.save(path, picture)
        rows.append({"image": str(path), "label": label, "region": region_cell(region), "split": "test"})
    frame = pd.DataFrame(rows)
    return validate_manifest(frame.assign(group=[f"g{number % 15}" for number in range(60)]))


def plain(size: tuple[int, int], channels: int, **options: str) -> Preprocessing:
    return Preprocessing(size=size, mean=(0.0,) * channels, std=(1.0,) * channels, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("last", ["logits", "probabilities", "sigmoid"])
def test_heat_lies_on_the_object_whatever_goes_in_and_comes_out(
    channels: int, last: str, tmp_path: Path
) -> None:
    manifest = write(tmp_path, channels, size=(64, 96))
    net = ReadsOneBand(channels - 1, slice(4, 6), slice(2, 4), (8, 12), last)
    result = audit(Classifier(net, ["a", "b"], plain((64, 96), channels)), manifest, target="label")
    assert (result.scores["predicted"] == result.scores["label"]).all()
    assert (result.scores["status"] == "ok").all()
    np.testing.assert_allclose(result.scores["invalid_activation"], 0.0, atol=1e-6)
    gap = background_gap(result)
    assert gap is not None
    assert (gap.same_class, gap.other_class) == (1.0, 1.0)
    assert result.gallery[0].image.shape == (64, 96, 3)
    said = [warning for warning in result.warnings if "one output" in warning or "probabilities" in warning]
    assert len(said) == (last != "logits")


def test_letterbox_on_a_non_square_input_region_and_score_follow(tmp_path: Path) -> None:
    manifest = write(tmp_path, 1, size=(64, 96))

    def scores(net: nn.Module, size: tuple[int, int]) -> pd.DataFrame:
        how = plain(size, 1, resize="letterbox")
        return audit(Classifier(net, ["a", "b"], how), manifest, interventions=False, target="label").scores

    # 64 x 96 in 128 x 96: as it is, 32 rows (4 cells) of padding above and below
    tall = scores(ReadsOneBand(0, slice(8, 10), slice(2, 4), (16, 12), "logits"), (128, 96))
    np.testing.assert_allclose(tall["invalid_activation"], 0.0, atol=1e-6)
    np.testing.assert_allclose(tall["invalid_area_raw"], 1 - 4 / (16 * 12))
    padding = scores(ReadsOneBand(0, slice(0, 3), slice(0, 12), (16, 12), "logits"), (128, 96))
    alive = padding[padding["status"] == "ok"]  # padding is as dark as `mean`: heat of class a only
    assert len(alive) > 0
    np.testing.assert_allclose(alive["invalid_activation"], 1.0)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (56, 120)])
@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
def test_any_size_that_the_model_takes(size: tuple[int, int], resize: str, tmp_path: Path) -> None:
    manifest = write(tmp_path, 1, size=(64, 96))
    make: Callable[[], nn.Module] = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 4, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    torch.manual_seed(0)
    result = audit(Classifier(make(), ["a", "b"], plain(size, 1, resize=resize)), manifest)
    assert result.settings.map_size == (size[0] // 4, size[1] // 4)
    assert result.scores["status"].isin(["ok", "dead_map"]).all()
