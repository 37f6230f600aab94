"""Pixels from files: images as RGB, grey or several bands, masks as truth values.

All honour EXIF orientation, and turn every decoding fault into one error that names the file. Of a file
with several frames the first is taken, except where a model takes one band a page.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from camgate.data.arrays import MAGIC, SUFFIX, read_array, read_header
from camgate.errors import InputError
from camgate.storage import is_remote, read_bytes

StrPath = str | PathLike[str]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"}
)

LOSSY_MASK = (
    "a mask saved as JPEG: compression noise makes pixels outside the object non-zero, that is, valid; "
    "save masks as PNG"
)
_DEEP_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_LOSSY = frozenset({"JPEG", "MPO", "JPEG2000"})
_SEVERAL_BANDS = {"LA": 2, "RGBA": 4, "CMYK": 4}
"""Modes whose bands a model with so many channels takes as they are."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(InputError):  # noqa: N818  # the public name, by the contract
    """A file that is missing, cut off, or not an image camgate can use. The message names it."""


def read_image(path: StrPath, channels: int = 3) -> NDArray[np.uint8]:
    """Read an image with 8 bits a band, upright; 16-bit values are scaled (65535 -> 255).

    As RGB (3 channels): grey is repeated over the channels, palettes are looked up, and an alpha channel is
    dropped, not composited: this is what `PIL.Image.convert("RGB")` and so nearly every training pipeline
    does, and the audit must show the model what it saw then. As grey (1 channel): that RGB reading through
    Pillow's `L` conversion (ITU-R 601-2 luma).

    As any other number of channels: the bands of a file that holds so many. These are RGBA and CMYK (4,
    alpha kept), grey with alpha (2), or a TIFF with one grey page a band. A NumPy file (`.npy`, uint8 or
    uint16, `(H, W, bands)`; `(H, W)` is one band) must hold as many bands as the model has channels,
    whatever their number.

    Args:
        path: any file that Pillow decodes, or `.npy`.
        channels: of the model's input, `Preprocessing.channels`.

    Returns:
        `(H, W, channels)` uint8.

    Raises:
        UnreadableImage: missing, truncated, not an image, another number of bands, or values without an
            agreed range (float).
    """
    if _is_array(path):
        with _open_array(path) as stream:
            return _eight_bits(read_array(stream, channels), path)
    if channels not in (1, 3):
        return _read_bands(path, channels)
    pixels = _read_rgb(path)
    return pixels if channels == 3 else np.array(Image.fromarray(pixels).convert("L"))[..., None]


def to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image for the eye: grey repeated, of several bands the first three, of two the second as green.

    Args:
        image: `(H, W, C)` uint8.

    Returns:
        `(H, W, 3)` uint8; an RGB image as it is.
    """
    bands = image.shape[2]
    if bands == 1:
        return np.repeat(image, 3, axis=2)
    if bands == 2:
        return np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)
    return image if bands == 3 else np.ascontiguousarray(image[..., :3])


def _read_rgb(path: StrPath) -> NDArray[np.uint8]:
    picture, _ = _decode(path)
    if picture.mode in _DEEP_GREY:
        return np.repeat(_eight_bits(np.asarray(picture), path)[..., None], 3, axis=2)
    if picture.mode == "F":
        raise UnreadableImage(
            f"{path}: floating-point pixels have no agreed range; save the image with 8 or 16 bits."
        )
    if picture.mode in {"P", "PA"}:
        # By way of RGBA: Pillow warns about palettes with transparency otherwise.
        picture = picture.convert("RGBA")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"), dtype=np.uint8)


def _read_bands(path: StrPath, channels: int) -> NDArray[np.uint8]:
    """The bands of one picture, or of a file with one grey page a band."""
    picture, _ = _decode(path)
    if _SEVERAL_BANDS.get(picture.mode) == channels:
        return np.array(picture, dtype=np.uint8)
    pages = _pages(path)
    if pages != channels:
        raise UnreadableImage(
            f"{path}: holds {len(picture.getbands())} band(s) ({picture.mode}) on {pages} page(s), the model "
            f"takes {channels}; give a TIFF with {channels} grey pages, or a .npy array (H, W, {channels})."
        )
    bands = []
    for number in range(pages):
        page, _ = _decode(path, number)
        if page.mode not in _DEEP_GREY | {"L"} or page.size != picture.size:
            raise UnreadableImage(
                f"{path}: page {number + 1} is {page.size[0]}x{page.size[1]} {page.mode}; as bands, all "
                f"pages are grey (8 or 16 bits) and of one size, here {picture.size[0]}x{picture.size[1]}."
            )
        bands.append(_eight_bits(np.asarray(page), path))
    return np.stack(bands, axis=2)


def read_mask(path: StrPath) -> NDArray[np.bool_]:
    """Read a mask: non-zero pixels are valid, upright.

    A palette file counts by its index (index 0 is invalid, whatever its colour). In a colour file a
    pixel is valid where any colour channel is non-zero; where there is an alpha channel, fully
    transparent pixels are invalid. JPEG is refused, for its ringing makes background pixels non-zero.

    Args:
        path: any lossless file that Pillow decodes.

    Returns:
        `(H, W)` bool, True = valid.

    Raises:
        UnreadableImage: missing, truncated, not an image, or JPEG.
    """
    picture, kind = _decode(path)
    if kind in _LOSSY:
        raise UnreadableImage(f"{path}: {LOSSY_MASK}.")
    values = np.asarray(picture)
    if picture.mode == "F":
        values = np.nan_to_num(values)
    valid: NDArray[np.bool_] = np.asarray(values != 0)
    if valid.ndim == 3 and picture.mode in {"LA", "La", "PA", "RGBA", "RGBa"}:
        valid = np.any(valid[..., :-1], axis=2, keepdims=True) & valid[..., -1:]
    return valid if valid.ndim == 2 else np.asarray(np.any(valid, axis=2))


def read_size(path: StrPath, *, mask: bool = False) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header alone.

    A NumPy file counts as `(H, W)` or `(H, W, bands)`. The pixels are not decoded: a file whose header is
    whole passes here even when it is cut off later.

    Args:
        path: an image file.
        mask: the file is a mask; refuse formats that `read_mask` refuses.

    Returns:
        `(height, width)` in pixels, after EXIF orientation.

    Raises:
        UnreadableImage: missing, or no image header.
    """
    if not mask and _is_array(path):
        with _open_array(path) as stream:
            height, width = read_header(stream)[0][:2]
            return height, width
    try:
        check_regular(path)
        with Image.open(path) as picture:
            if mask and picture.format in _LOSSY:
                raise UnreadableImage(f"{path}: {LOSSY_MASK}.")
            width, height = picture.size
            # Pillow reports a TIFF's size upright already.
            turned = picture.format != "TIFF" and _orientation(picture) >= 5
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        raise UnreadableImage(_explain(path, error)) from error
    return (width, height) if turned else (height, width)


def _decode(path: StrPath, page: int = 0) -> tuple[Image.Image, str | None]:
    """The decoded, upright frame and the name of its file format."""
    try:
        check_regular(path)
        with Image.open(_opened(path)) as picture:
            kind = picture.format
            if page:
                picture.seek(page)
            picture.load()
            turn = _UPRIGHT.get(_orientation(picture))
            return (picture.copy() if turn is None else picture.transpose(turn)), kind
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever their format's library raises
        raise UnreadableImage(_explain(path, error)) from error


def check_regular(path: StrPath) -> None:
    """Refuse pipes and devices: reading one may never end.

    Raises:
        UnreadableImage: it is one.
        OSError: it is not there.
    """
    if isinstance(path, io.BytesIO) or is_remote(path):
        return
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UnreadableImage(f"{path}: no regular file (a pipe or a device).")


def _opened(path: StrPath) -> StrPath | io.BytesIO:
    """What Pillow opens: the path, or the bytes of a remote file."""
    if not is_remote(path):
        return path
    try:
        return io.BytesIO(read_bytes(path))
    except FileNotFoundError:
        raise
    except (OSError, InputError) as error:
        raise UnreadableImage(f"{path}: cannot be read ({str(error).removesuffix('.')}).") from error


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or the metadata is damaged."""
    try:
        # The base class's method: PNG's own decodes all pixels to look for late metadata.
        value = Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata must not cost a readable image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _explain(path: StrPath, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file."
    if isinstance(error, IsADirectoryError):
        return f"{path}: a folder, not an image file."
    if isinstance(error, PermissionError):
        return f"{path}: no permission to read it."
    if isinstance(error, UnidentifiedImageError):
        return f"{path}: not an image file, or damaged at its start."
    if isinstance(error, Image.DecompressionBombError):
        return f"{path}: too many pixels ({error}); scale it down first."
    return f"{path}: the image is cut off or damaged ({error})."


def _eight_bits(values: NDArray[np.generic], path: StrPath) -> NDArray[np.uint8]:
    """16 bits to 8, rounded; the full range is kept, nothing is clipped. 8 bits stay as they are."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    wide = values.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise UnreadableImage(
            f"{path}: grey values from {wide.min()} to {wide.max()} do not fit 16 bits; "
            "save the image with 8 or 16 bits."
        )
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _pages(path: StrPath) -> int:
    with Image.open(_opened(path)) as picture:
        return int(getattr(picture, "n_frames", 1))


def _is_array(path: StrPath) -> bool:
    """Whether it is a NumPy file: by its suffix, or by its first bytes where it is open already."""
    if isinstance(path, io.BytesIO):
        return path.getbuffer()[: len(MAGIC)] == MAGIC
    return os.fspath(path).lower().endswith(SUFFIX)


@contextmanager
def _open_array(path: StrPath) -> Iterator[BinaryIO]:
    """The open file; every fault while it is read names it."""
    try:
        check_regular(path)
        opened = io.BytesIO(path.getvalue()) if isinstance(path, io.BytesIO) else _opened(path)
        with opened if isinstance(opened, io.BytesIO) else open(opened, "rb") as stream:
            yield stream
    except UnreadableImage:
        raise
    except InputError as error:
        raise UnreadableImage(f"{path}: {error}") from error
    except OSError as error:
        raise UnreadableImage(_explain(path, error)) from error
