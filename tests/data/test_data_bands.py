"""Images that are not RGB: grey, several bands, NumPy files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from camgate.data.dataset import ImageDataset
from camgate.data.images import UnreadableImage, read_image, read_size, to_rgb
from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing

CHANCE = np.random.default_rng(0)


def bands(count: int, dtype: type = np.uint8) -> np.ndarray:
    return CHANCE.integers(0, np.iinfo(dtype).max, (6, 8, count), dtype=dtype, endpoint=True)


def tiff(path: Path, array: np.ndarray) -> Path:
    pages = [Image.fromarray(np.ascontiguousarray(array[..., band])) for band in range(array.shape[2])]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def test_grey_is_pillows_luma_of_the_rgb_reading(tmp_path: Path) -> None:
    Image.fromarray(bands(3)).save(tmp_path / "a.png")
    grey = read_image(tmp_path / "a.png", channels=1)
    np.testing.assert_array_equal(
        grey[..., 0], np.asarray(Image.open(tmp_path / "a.png").convert("RGB").convert("L"))
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_files(dtype: type, count: int, order: str, tmp_path: Path) -> None:
    array = bands(count, dtype)
    np.save(tmp_path / "a.npy", np.asarray(array, order=order))  # type: ignore[call-overload]
    expected = array if dtype is np.uint8 else np.floor(array * (255 / 65535) + 0.5)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy", channels=count), expected)
    assert read_size(tmp_path / "a.npy") == (6, 8)


def test_a_tiff_with_a_page_for_each_band(tmp_path: Path) -> None:
    array = bands(5)
    np.testing.assert_array_equal(read_image(tiff(tmp_path / "a.tif", array), channels=5), array)
    rgb = bands(3)
    Image.fromarray(rgb).save(tmp_path / "rgb.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.tif"), rgb)


def test_alpha_is_a_band_where_four_are_wanted(tmp_path: Path) -> None:
    array = bands(4)
    Image.fromarray(array, "RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", channels=4), array)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), array[..., :3])


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled!",))


def test_what_cannot_be_read_names_file_and_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(bands(3)).save(tmp_path / "rgb.png")
    np.save(tmp_path / "four.npy", bands(4))
    np.save(tmp_path / "float.npy", bands(5).astype(float))
    np.save(tmp_path / "flat.npy", np.zeros(3, np.uint8))
    np.save(tmp_path / "object.npy", np.array([[_Evil()]], dtype=object), allow_pickle=True)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(_Evil()))
    whole = tmp_path / "whole.npy"
    np.save(whole, bands(5))
    (tmp_path / "cut.npy").write_bytes(whole.read_bytes()[:-7])
    tiff(tmp_path / "three.tif", bands(3))
    for name, message in (
        ("rgb.png", r"holds 3 band\(s\) \(RGB\) on 1 page\(s\), the model takes 5"),
        ("four.npy", r"holds 4 band\(s\), the model takes 5"),
        ("float.npy", "float64 has no agreed range"),
        ("flat.npy", r"an image is an array \(H, W\)"),
        ("object.npy", "object"),
        ("raw.npy", r"not a \.npy file"),
        ("cut.npy", "cut off"),
        ("three.tif", r"on 3 page\(s\), the model takes 5"),
        ("absent.npy", "no such file"),
    ):
        with pytest.raises(UnreadableImage, match=rf"{name}: .*{message}"):
            read_image(tmp_path / name, channels=5)
    assert capsys.readouterr().out == ""


def test_a_data_set_of_five_bands(tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", bands(5))
    rows = pd.DataFrame({"image": [f"{number}.npy" for number in range(3)], "label": ["a", "b", "a"]})
    manifest = validate_manifest(rows, root=tmp_path)
    (tmp_path / "1.npy").write_bytes(b"broken")
    how = Preprocessing(size=(8, 8), mean=(0.5,) * 5, std=(0.25,) * 5, resize="letterbox")
    data = ImageDataset(manifest, how, ["a", "b"])
    assert data[0].image.shape == (5, 8, 8)
    assert data[1].image.shape == (5, 8, 8)
    assert "1.npy" in str(data[1].fault)


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,), (0.5, 0.5)), ((), ()), ((0.5, 2.0), (0.1, 0.1)), ((0.5,), (0.0,))]
)
def test_mean_and_std_fit(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"`mean`|`std`"):
        Preprocessing(size=(8, 8), mean=mean, std=std)


def test_pictures_for_the_eye() -> None:
    assert to_rgb(bands(1)).shape == to_rgb(bands(2)).shape == to_rgb(bands(5)).shape == (6, 8, 3)
    five, one = bands(5), bands(1)
    np.testing.assert_array_equal(to_rgb(five), five[..., :3])
    np.testing.assert_array_equal(to_rgb(one), np.repeat(one, 3, axis=2))
