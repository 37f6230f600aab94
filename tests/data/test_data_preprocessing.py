"""One transform for image and region: they stay aligned whatever happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_pictures import STORED
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage
from torchvision import tv_tensors
from torchvision.transforms import v2

from camgate.data.images import read_image
from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError

RESIZES = ("squash", "crop", "letterbox")


def blob(height: int, width: int, seed: int) -> np.ndarray:
    """A random region with smooth edges and no fine detail."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = ndimage.gaussian_filter(noise, sigma=max(height, width) / 8)
    return smooth > np.quantile(smooth, 0.6)


def picture_of(region: np.ndarray) -> np.ndarray:
    """Red shows the region; green is 255 everywhere, so that padding can be told apart."""
    image = np.zeros((*region.shape, 3), dtype=np.uint8)
    image[..., 0] = region * 255
    image[..., 1] = 255
    return image


def assert_aligned(image: torch.Tensor, region: torch.Tensor) -> None:
    """Away from blended edges (red neither nearly 0 nor nearly 255) the two must agree exactly."""
    red, valid = image[0].numpy().astype(int), region.numpy()
    clear = np.abs(red - 127.5) > 20
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(valid[clear], red[clear] > 127)


sides = st.integers(24, 90)


@settings(max_examples=80, deadline=None)
@given(
    height=sides,
    width=sides,
    size=st.tuples(st.integers(16, 64), st.integers(16, 64)),
    resize=st.sampled_from(RESIZES),
    antialias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_image_and_region_stay_aligned(
    height: int, width: int, size: tuple[int, int], resize: str, antialias: bool, seed: int
) -> None:
    region = blob(height, width, seed)
    options = {"size": size, "resize": resize, "antialias": antialias, "mean": (0, 0, 0)}
    image, moved = Preprocessing.model_validate(options).geometry(picture_of(region), region)
    assert image.shape == (3, *size)
    assert image.dtype == torch.uint8
    assert moved.shape == size
    assert moved.dtype == torch.bool
    assert type(image) is torch.Tensor
    assert type(moved) is torch.Tensor
    assert_aligned(image, moved)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", RESIZES)
def test_aligned_for_every_orientation(tmp_path: Path, orientation: int, resize: str) -> None:
    region = blob(60, 84, seed=5)
    upright = picture_of(region)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).save(tmp_path / "a.png", exif=exif)
    preprocessing = Preprocessing.model_validate({"size": (40, 32), "resize": resize, "mean": (0, 0, 0)})
    image, moved = preprocessing.geometry(read_image(tmp_path / "a.png"), region)
    assert_aligned(image, moved)
    assert moved.any()


@settings(max_examples=60, deadline=None)
@given(
    half_height=st.integers(12, 40),
    half_width=st.integers(12, 40),
    size=st.sampled_from([(32, 32), (24, 48), (48, 24)]),
    resize=st.sampled_from(RESIZES),
    seed=st.integers(0, 1000),
)
def test_flip_and_transpose_commute_with_geometry(
    half_height: int, half_width: int, size: tuple[int, int], resize: str, seed: int
) -> None:
    # Even sides: then crop and padding are symmetric, and mirroring must change nothing but the side.
    region = blob(2 * half_height, 2 * half_width, seed)
    image = np.random.default_rng(seed).integers(0, 256, (*region.shape, 3), dtype=np.uint8)
    forward = Preprocessing.model_validate({"size": size, "resize": resize})
    turned = Preprocessing.model_validate({"size": size[::-1], "resize": resize})
    plain_image, plain = forward.geometry(image, region)
    scale = (max if resize == "crop" else min)(size[0] / region.shape[0], size[1] / region.shape[1])
    inner = [round(side * scale) for side in region.shape]
    if resize == "squash" or all((a - b) % 2 == 0 for a, b in zip(inner, size, strict=True)):
        flipped_image, flipped = forward.geometry(image[:, ::-1], region[:, ::-1])
        assert torch.equal(flipped.flip(1), plain)
        assert (flipped_image.flip(2).int() - plain_image.int()).abs().max() <= 1
    transposed_image, transposed = turned.geometry(image.transpose(1, 0, 2), region.T)
    assert torch.equal(transposed.T, plain)
    assert (transposed_image.transpose(1, 2).int() - plain_image.int()).abs().max() <= 1


def test_scaling_up_keeps_the_centre_of_every_pixel() -> None:
    region = np.random.default_rng(1).random((12, 12)) > 0.5
    _, moved = Preprocessing(size=(48, 48)).geometry(picture_of(region), region)
    np.testing.assert_array_equal(moved.numpy()[1::4, 1::4], region)
    np.testing.assert_array_equal(moved.numpy()[2::4, 2::4], region)


def test_a_pixel_that_is_half_valid_is_valid() -> None:
    region = np.zeros((6, 6), dtype=bool)
    region[:, :3] = True
    for side in (region, region[:, ::-1]):
        _, moved = Preprocessing(size=(3, 3)).geometry(picture_of(side), side)
        assert moved[0].tolist() == [side[0, 0], True, side[0, 5]]


def test_same_size_changes_nothing() -> None:
    region = np.random.default_rng(1).random((20, 30)) > 0.5
    image = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for resize in RESIZES:
        preprocessing = Preprocessing.model_validate({"size": (20, 30), "resize": resize})
        picture, moved = preprocessing.geometry(image, region)
        np.testing.assert_array_equal(picture.numpy().transpose(1, 2, 0), image)
        np.testing.assert_array_equal(moved.numpy(), region)


def test_letterbox_padding_is_invalid_and_has_the_mean_colour() -> None:
    region = np.ones((20, 40), dtype=bool)
    preprocessing = Preprocessing(size=(32, 32), resize="letterbox", mean=(0.5, 0.2, 0.1))
    image, moved = preprocessing.geometry(picture_of(region), region)
    expected = np.zeros((32, 32), dtype=bool)
    expected[8:24] = True
    np.testing.assert_array_equal(moved.numpy(), expected)
    assert image[:, 0, 0].tolist() == [128, 51, 26]
    assert image[:, 31, 31].tolist() == [128, 51, 26]
    normalised = preprocessing.normalise(image[None])
    assert normalised[0, :, 0, 0].abs().max() < 0.01


def test_crop_covers_and_takes_the_centre() -> None:
    region = np.zeros((40, 80), dtype=bool)
    region[:, 20:60] = True
    image, moved = Preprocessing(size=(20, 20), resize="crop").geometry(picture_of(region), region)
    assert moved.all()
    assert (image[0] == 255).float().mean() > 0.85
    assert (image[1] == 255).all()


def test_squash_reaches_every_border() -> None:
    region = np.zeros((40, 80), dtype=bool)
    region[:, :40] = True
    _, moved = Preprocessing(size=(20, 20)).geometry(picture_of(region), region)
    expected = np.zeros((20, 20), dtype=bool)
    expected[:, :10] = True
    np.testing.assert_array_equal(moved.numpy(), expected)


@pytest.mark.parametrize("resize", RESIZES)
def test_a_thin_object_does_not_vanish_by_scaling(resize: str) -> None:
    region = np.zeros((256, 256), dtype=bool)
    region[100:140, 130] = True
    preprocessing = Preprocessing.model_validate({"size": (32, 32), "resize": resize})
    _, moved = preprocessing.geometry(picture_of(region), region)
    rows, columns = np.nonzero(moved.numpy())
    assert set(columns) == {16}
    assert set(rows) <= set(range(12, 18))


def test_an_object_outside_the_crop_is_gone() -> None:
    region = np.zeros((40, 200), dtype=bool)
    region[:, :10] = True
    _, moved = Preprocessing(size=(20, 20), resize="crop").geometry(picture_of(region), region)
    assert not moved.any()


def test_empty_regions_stay_empty() -> None:
    region = np.zeros((30, 40), dtype=bool)
    for resize in RESIZES:
        preprocessing = Preprocessing.model_validate({"size": (16, 24), "resize": resize})
        assert not preprocessing.geometry(picture_of(region), region)[1].any()


def test_extreme_shapes() -> None:
    for shape in ((1, 1), (1, 400), (400, 1), (3, 5)):
        region = np.ones(shape, dtype=bool)
        for resize in RESIZES:
            preprocessing = Preprocessing.model_validate({"size": (8, 8), "resize": resize})
            image, moved = preprocessing.geometry(picture_of(region), region)
            assert image.shape == (3, 8, 8)
            assert moved.any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_augmentations_of_torchvision_keep_them_aligned(seed: int) -> None:
    region = blob(64, 64, seed)
    image, moved = Preprocessing(size=(64, 64)).geometry(picture_of(region), region)
    augment = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomCrop(48),
            v2.Pad([3, 5, 7, 9]),
        ]
    )
    torch.manual_seed(seed)
    pair = augment(tv_tensors.Image(image), tv_tensors.Mask(moved))
    assert_aligned(*pair)


def test_normalise_is_the_formula() -> None:
    batch = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8).to(memory_format=torch.channels_last)
    preprocessing = Preprocessing(size=(4, 5), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    values = preprocessing.normalise(batch)
    assert values.dtype == torch.float32
    assert values.is_contiguous(memory_format=torch.channels_last)
    for channel in range(3):
        expected = (batch[:, channel].numpy() / 255 - preprocessing.mean[channel]) / preprocessing.std[
            channel
        ]
        np.testing.assert_allclose(values[:, channel].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(2, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
    ],
)
def test_normalise_refuses_what_was_normalised_before(batch: torch.Tensor) -> None:
    with pytest.raises(InputError, match="uint8"):
        Preprocessing(size=(4, 4)).normalise(batch)


@pytest.mark.parametrize(
    ("image", "region"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool)),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), bool)),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), bool)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), bool)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)),
    ],
)
def test_geometry_refuses_what_does_not_fit(image: np.ndarray, region: np.ndarray) -> None:
    with pytest.raises(InputError, match="must be"):
        Preprocessing(size=(4, 4)).geometry(image, region)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 4)}, "size"),
        ({"size": (4, 4), "mean": (123.7, 116.3, 103.5)}, "divide by 255"),
        ({"size": (4, 4), "std": (0, 1, 1)}, "above 0"),
        ({"size": (4, 4), "resize": "stretch"}, "squash"),
        ({"size": (4, 4), "antialiased": True}, "antialiased"),
        ({}, "size"),
    ],
)
def test_impossible_preprocessing(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Preprocessing.model_validate(options)


def test_json_and_back() -> None:
    preprocessing = Preprocessing(size=(224, 192), resize="letterbox", std=(0.5, 0.5, 0.5))
    assert Preprocessing.model_validate_json(preprocessing.model_dump_json()) == preprocessing
    assert hash(preprocessing) == hash(preprocessing.model_copy())
