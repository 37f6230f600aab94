"""Images as NumPy files: `.npy` of `(H, W)` or `(H, W, C)`, for pictures that are not grey or RGB."""

from __future__ import annotations

import math
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camgate.errors import InputError

MAGIC = b"\x93NUMPY"
SUFFIX = ".npy"


def read_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, Fortran order and type, from the file's header alone.

    Nothing is unpickled: a header whose type is not uint8 or uint16 is refused.

    Raises:
        InputError: no `.npy` file, or no image in one. The text does not name the file.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _read_header_2
        shape, fortran, dtype = read(stream)
    except (ValueError, EOFError) as error:
        raise InputError(f"not a .npy file, or damaged at its start ({error}).") from error
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise InputError(
            f"an array of {dtype} has no agreed range; save it as uint8 (0 to 255) or uint16 (0 to 65535)."
        )
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"an image is an array (H, W) or (H, W, bands), this one is {shape}.")
    # Pillow's own limit for pictures, against files that claim to be huge.
    if Image.MAX_IMAGE_PIXELS is not None and shape[0] * shape[1] > 2 * Image.MAX_IMAGE_PIXELS:
        raise InputError(f"too many pixels ({shape[0]} x {shape[1]}); scale it down first.")
    return shape, fortran, dtype


def read_array(stream: BinaryIO, channels: int) -> NDArray[np.uint8 | np.uint16]:
    """An array `(H, W, channels)`; one of `(H, W)` has one band.

    Args:
        stream: at the start of the file.
        channels: bands that there must be.

    Raises:
        InputError: another number of bands, another type, cut off, or no `.npy` file.
    """
    shape, fortran, dtype = read_header(stream)
    bands = shape[2] if len(shape) == 3 else 1
    if bands != channels:
        raise InputError(
            f"holds {bands} band(s), the model takes {channels}; arrays are (H, W, bands), and `mean` and "
            "`std` of the preprocessing have one value a band."
        )
    wanted = math.prod(shape) * dtype.itemsize
    content = stream.read(wanted)
    if len(content) < wanted:
        raise InputError(f"cut off: {len(content)} of {wanted} bytes are there.")
    flat = np.frombuffer(content, dtype=dtype)
    array = flat.reshape(shape, order="F" if fortran else "C").reshape(*shape[:2], bands)
    return np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False))


def _read_header_2(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, fortran, dtype
