"""Reading pixels: every mode and orientation against what was put in."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from data_pictures import STORED
from PIL import Image, ImageFile, TiffImagePlugin, WebPImagePlugin

from camgate.data.images import UnreadableImage, read_image, read_mask, read_size

PIXELS = np.random.default_rng(3).integers(0, 256, (10, 14, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]


def save_turned(path: Path, upright: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).save(path, exif=exif)
    return path


def test_colour_is_read_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, PIXELS)


def test_grey_fills_all_channels(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.stack([GREY] * 3, axis=2))


def test_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 1], np.where(GREY > 100, 255, 0))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), GREY > 100)


@pytest.mark.parametrize("transparent", [None, 0, b"\x00\xff\x80"])
def test_palette_is_looked_up(tmp_path: Path, transparent: object) -> None:
    index = (GREY % 3).astype(np.uint8)
    colours = np.array([[10, 20, 30], [250, 0, 5], [1, 2, 200]], dtype=np.uint8)
    picture = Image.fromarray(index, mode="L").convert("P")
    picture.putpalette(colours.tobytes())
    picture.putdata(index.reshape(-1).tolist())
    options = {} if transparent is None else {"transparency": transparent}
    picture.save(tmp_path / "a.png", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colours[index])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), index != 0)


def test_alpha_is_dropped_not_composited(tmp_path: Path) -> None:
    alpha = np.where(GREY > 100, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([PIXELS, alpha])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = np.linspace(0, 65535, 140).astype(np.uint16).reshape(10, 14)
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    pixels = read_image(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(pixels[..., 2], np.rint(deep / 65535 * 255).astype(np.uint8))
    assert len(np.unique(pixels)) > 100
    np.testing.assert_array_equal(read_mask(tmp_path / f"a.{suffix}"), deep != 0)


def test_values_without_an_agreed_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0].astype(np.float32) / 255).save(tmp_path / "float.tif")
    with pytest.raises(UnreadableImage, match=r"float\.tif.*8 or 16 bits"):
        read_image(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 4), 70000, dtype=np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(UnreadableImage, match=r"wide\.tif.*70000"):
        read_image(tmp_path / "wide.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    # Blocks of 8, so that JPEG keeps them apart well enough to tell all eight apart.
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :16] = 255
    upright[:16, 32:] = 120
    path = save_turned(tmp_path / f"a.{suffix}", upright, orientation)
    pixels = read_image(path)
    assert pixels.shape == upright.shape
    np.testing.assert_allclose(pixels.astype(int), upright, atol=12)
    assert read_size(path) == (32, 48)


def test_orientation_of_masks(tmp_path: Path) -> None:
    region = GREY > 128
    path = save_turned(tmp_path / "m.png", region.astype(np.uint8), 6)
    np.testing.assert_array_equal(read_mask(path), region)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_image(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS)
    assert read_size(tmp_path / "a.png") == (10, 14)


def test_coloured_mask_counts_every_channel(tmp_path: Path) -> None:
    values = np.zeros((2, 3, 3), dtype=np.uint8)
    values[0, 1, 2] = 1  # one step of blue: luminance rounds to 0, the pixel is non-zero all the same
    Image.fromarray(values).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), values.any(axis=2))


def test_transparent_pixels_of_a_mask_are_invalid(tmp_path: Path) -> None:
    values = np.array([[[255, 255, 255, 0], [255, 255, 255, 9], [0, 0, 0, 255]]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[False, True, False]]
    Image.fromarray(values[..., 2:]).save(tmp_path / "la.png")
    assert read_mask(tmp_path / "la.png").tolist() == [[False, True, False]]


def test_jpeg_masks_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(tmp_path / "m.jpg")
    for read in (read_mask, lambda path: read_size(path, mask=True)):
        with pytest.raises(UnreadableImage, match=r"m\.jpg.*JPEG.*PNG"):
            read(tmp_path / "m.jpg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "gif", "bmp"])
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_truncated_files_name_the_file(tmp_path: Path, suffix: str, share: float) -> None:
    large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(large).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: max(12, int(len(content) * share))])
    with pytest.raises(UnreadableImage, match=f"cut.{suffix}"):
        read_image(path)
    with pytest.raises(UnreadableImage, match=f"cut.{suffix}"):
        read_mask(path)


def test_header_of_a_truncated_file_is_still_read(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    assert read_size(tmp_path / "a.png") == (10, 14)


def test_reading_the_size_decodes_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save_turned(tmp_path / f"a.{suffix}", PIXELS, 6) for suffix in ("png", "jpg", "tif", "webp")]
    Image.fromarray(PIXELS).save(tmp_path / "plain.png")

    decoded = []
    for owner in (ImageFile.ImageFile, TiffImagePlugin.TiffImageFile, WebPImagePlugin.WebPImageFile):
        monkeypatch.setattr(owner, "load", lambda picture: decoded.append(picture.format))
    for path in [*paths, tmp_path / "plain.png"]:
        assert read_size(path) == (10, 14), path
    assert decoded == []


@pytest.mark.parametrize("read", [read_image, read_mask, read_size])
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "not an image"), (b"hello, I am no image", "not an image")],
)
def test_what_is_no_image_is_named(tmp_path: Path, read: object, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=rf"x\.png: {message}"):
        read(path)  # type: ignore[operator]


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="a folder"):
        read_image(tmp_path)


def test_the_error_survives_a_process_boundary() -> None:
    assert str(pickle.loads(pickle.dumps(UnreadableImage("a.png: cut off")))) == "a.png: cut off"
