"""From a picture of any size to what the model takes: image and region through one transform."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812

from camgate.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Exact halves are common (an edge in the middle of a pixel); a hair below 0.5 they all count as valid,
# whichever way rounding went, so that flipped input gives flipped output.
_HALF = 0.5 - 1e-4


class Preprocessing(BaseModel):
    """How images are brought to the model's size and range.

    Attributes:
        size: `(height, width)` of the model's input in pixels.
        mean: per channel, in units of the range 0..1; as many values as the model's input has channels.
        std: per channel, in units of the range 0..1.
        resize: `squash` stretches to the size; `crop` scales until the size is covered, then crops the
            centre; `letterbox` scales until it fits, then pads with `mean` - padding is invalid.
        antialias: smooth before scaling down.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: Literal["squash", "crop", "letterbox"] = "squash"
    antialias: bool = True

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if min(self.size) < 1:
            raise ValueError(f"`size` is (height, width) in pixels, both at least 1; got {self.size}")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(
                "`mean` and `std` have one value a channel each (default: the 3 of ImageNet's RGB); got "
                f"{len(self.mean)} and {len(self.std)}"
            )
        if not all(0.0 <= value <= 1.0 for value in self.mean):
            raise ValueError(f"`mean` is in units of the range 0..1 (divide by 255); got {self.mean}")
        if not all(0.0 < value <= 1.0 for value in self.std):
            raise ValueError(f"`std` is in units of the range 0..1, above 0; got {self.std}")
        return self

    @property
    def channels(self) -> int:
        """Channels of the model's input: 3 is RGB, 1 grey, else the bands of the image files."""
        return len(self.mean)

    def geometry(self, image: NDArray[np.uint8], region: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Bring an image and its region to the model's size, both by the same transform.

        An object that scaling down makes thinner than a pixel keeps the pixels it covers most: it never
        vanishes by scaling, only by lying outside a crop.

        Args:
            image: `(H, W, C)` uint8, of as many channels as `mean` has values.
            region: `(H, W)` bool, True = valid.

        Returns:
            Image `(C, h, w)` uint8 and region `(h, w)` bool, contiguous tensors.

        Raises:
            InputError: shapes or types that do not fit.
        """
        if image.ndim != 3 or image.shape[2] != self.channels or image.dtype != np.uint8:
            raise InputError(
                f"`image` must be (H, W, {self.channels}) uint8, got {image.shape} {image.dtype}"
            )
        if region.shape != image.shape[:2] or region.dtype != np.bool_:
            raise InputError(
                f"`region` must be bool of the image's size {image.shape[:2]}, "
                f"got {region.shape} {region.dtype}"
            )
        inner = self._inner(*region.shape)
        # A view, so channels come last in memory: torch scales such bytes twice as fast, to the same values.
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        picture = F.resize_image(pixels, list(inner), antialias=self.antialias)
        mask = _scaled_mask(region, inner, antialias=self.antialias)
        if self.resize == "crop":
            picture, mask = (F.center_crop_image(part, list(self.size)) for part in (picture, mask))
        elif self.resize == "letterbox":
            (height, width), (inner_h, inner_w) = self.size, inner
            top, left = (height - inner_h) // 2, (width - inner_w) // 2
            around = [left, top, width - inner_w - left, height - inner_h - top]
            picture = F.pad_image(picture, around, fill=[round(value * 255) for value in self.mean])
            mask = F.pad_image(mask, around, fill=0)
        return picture.contiguous(), mask[0].contiguous()

    def normalise(self, batch: Tensor) -> Tensor:
        """Scale a batch to the range the model was trained on: `(x / 255 - mean) / std`.

        Args:
            batch: `(B, C, h, w)` uint8, on any device.

        Returns:
            `(B, C, h, w)` float32 on the same device, in the same memory format.

        Raises:
            InputError: another shape or type (a float batch was probably normalised before).
        """
        if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[1] != self.channels:
            raise InputError(
                f"a batch must be (B, {self.channels}, h, w) uint8, got {tuple(batch.shape)} {batch.dtype}"
            )
        mean = torch.tensor(self.mean, device=batch.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=batch.device).view(1, -1, 1, 1)
        return batch.to(torch.float32).div_(255.0).sub_(mean).div_(std)

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        """The size that an image is scaled to, before it is cropped or padded."""
        target_h, target_w = self.size
        if self.resize == "squash":
            return self.size
        down, across = target_h / height, target_w / width
        scale = max(down, across) if self.resize == "crop" else min(down, across)
        # The side that decides the scale gets the exact size, whatever rounding says.
        inner_h = target_h if scale == down else max(1, round(height * scale))
        inner_w = target_w if scale == across else max(1, round(width * scale))
        return inner_h, inner_w


def _scaled_mask(region: NDArray[np.bool_], size: tuple[int, int], *, antialias: bool) -> Tensor:
    """A mask scaled like its image (same kernel) and then cut at one half; bool `(1, h, w)`.

    torchvision scales masks by legacy nearest neighbour, which samples half a source pixel off centre: a
    region would drift against its image, and flipping before or after would not give the same.
    """
    if not region.any():
        return torch.zeros((1, *size), dtype=torch.bool)
    source = torch.from_numpy(region.astype(np.float32))[None]
    cover = F.resize_image(source, list(size), antialias=antialias)
    valid: Tensor = cover >= _HALF
    if not bool(valid.any()):
        peak = float(cover.max())
        valid = (cover >= peak - 1e-4) & (cover > 0)
    return valid
