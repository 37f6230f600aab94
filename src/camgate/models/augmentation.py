"""Augmentation of a whole batch: image and region move together, because they are warped as one tensor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody knows it by
from torch import Tensor

from camgate.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Mild changes that keep the class, and keep every shortcut that may be in the data.

    Nothing is cut out, blanked or recoloured strongly: a net trained with the defaults can learn a shortcut
    as any team's net can. Hiding one is a cure, and a cure belongs to the user, not to a default.

    Attributes:
        flip: probability of a horizontal mirror image.
        zoom: largest relative change of scale, in and out.
        shift: largest move along each axis, as a fraction of the side. What moves in is mirrored.
        brightness: largest relative change of brightness.
        contrast: largest relative change of the distance to the image's mean grey; where an image is neither
            grey nor RGB, to the mean of each band.
    """

    flip: float = 0.5
    zoom: float = 0.20
    shift: float = 0.10
    brightness: float = 0.20
    contrast: float = 0.20

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise InputError(f"`flip` is a probability, got {self.flip}")
        for name in ("zoom", "shift", "brightness", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"`{name}` must be in [0, 1), got {getattr(self, name)}")

    def __call__(
        self, images: Tensor, regions: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw one change an image and apply it to image and region.

        Args:
            images: (B, C, h, w) uint8.
            regions: (B, h, w) bool.
            generator: the only source of chance, on the CPU.

        Returns:
            Images (B, C, h, w) uint8 and regions (B, h, w) bool. A region pixel is valid where at least
            half of what moved there is.
        """
        count = len(images)

        def uniform(limit: float) -> Tensor:
            return (torch.rand(count, generator=generator) * 2 - 1) * limit

        mirrored = torch.rand(count, generator=generator) < self.flip
        scale, right, down = 1 + uniform(self.zoom), uniform(self.shift), uniform(self.shift)
        brightness, contrast = 1 + uniform(self.brightness), 1 + uniform(self.contrast)
        # affine_grid maps output to input coordinates, which run from -1 to 1: a shift of s sides is 2 s.
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = torch.where(mirrored, -scale, scale)
        theta[:, 1, 1] = scale
        theta[:, 0, 2], theta[:, 1, 2] = 2 * right, 2 * down
        both = warp(torch.cat([images, regions[:, None].to(torch.uint8) * 255], dim=1).float(), theta)
        pixels, moved = both[:, :-1], both[:, -1] >= 127.5
        pixels = _lit(pixels, brightness.to(pixels.device), contrast.to(pixels.device))
        return pixels.round_().clamp_(0, 255).to(torch.uint8), moved


def warp(planes: Tensor, theta: Tensor) -> Tensor:
    """Sample float planes (B, C, h, w) bilinearly through affine maps (B, 2, 3); outside is mirrored."""
    grid = F.affine_grid(theta.to(planes.device), list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _lit(pixels: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    # Bands that are no colours (infrared, depth) have no common grey to be drawn to.
    axes = (1, 2, 3) if pixels.shape[1] in (1, 3) else (2, 3)
    grey = pixels.mean(dim=axes, keepdim=True)
    return ((pixels - grey) * contrast.view(-1, 1, 1, 1) + grey) * brightness.view(-1, 1, 1, 1)
