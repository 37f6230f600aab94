"""Pixels from files: images as RGB, masks as truth values.

Both honour EXIF orientation, take the first frame of a file with several, and turn every decoding
fault into one error that names the file.
"""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from camgate.errors import InputError

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


def read_image(path: StrPath) -> NDArray[np.uint8]:
    """Read an image as 8-bit RGB, upright.

    Grey is repeated over the channels, palettes are looked up, 16-bit values are scaled (65535 -> 255).
    An alpha channel is dropped, not composited: this is what `PIL.Image.convert("RGB")` and so nearly
    every training pipeline does, and the audit must show the model what it saw then.

    Args:
        path: any file that Pillow decodes.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        UnreadableImage: missing, truncated, not an image, or values without an agreed range (float).
    """
    picture, _ = _decode(path)
    if picture.mode in _DEEP_GREY:
        return np.repeat(_scale_deep(np.asarray(picture), path)[..., None], 3, axis=2)
    if picture.mode == "F":
        raise UnreadableImage(
            f"{path}: floating-point pixels have no agreed range; save the image with 8 or 16 bits."
        )
    if picture.mode in {"P", "PA"}:
        # By way of RGBA: Pillow warns about palettes with transparency otherwise.
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"), dtype=np.uint8)


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

    The pixels are not decoded: a file whose header is whole passes here even when it is cut off later.

    Args:
        path: an image file.
        mask: the file is a mask; refuse formats that `read_mask` refuses.

    Returns:
        `(height, width)` in pixels, after EXIF orientation.

    Raises:
        UnreadableImage: missing, or no image header.
    """
    try:
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


def _decode(path: StrPath) -> tuple[Image.Image, str | None]:
    """The decoded, upright first frame and the name of its file format."""
    try:
        with Image.open(path) as picture:
            kind = picture.format
            picture.load()
            turn = _UPRIGHT.get(_orientation(picture))
            return (picture.copy() if turn is None else picture.transpose(turn)), kind
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever their format's library raises
        raise UnreadableImage(_explain(path, error)) from error


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


def _scale_deep(values: NDArray[np.generic], path: StrPath) -> NDArray[np.uint8]:
    """16-bit grey to 8 bits, rounded; the full range is kept, nothing is clipped."""
    wide = values.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise UnreadableImage(
            f"{path}: grey values from {wide.min()} to {wide.max()} do not fit 16 bits; "
            "save the image with 8 or 16 bits."
        )
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)
