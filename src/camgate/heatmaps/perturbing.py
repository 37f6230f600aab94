"""Methods that run the network again with something changed, many images to a forward pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from camgate.heatmaps.cases import Case

BATCH = 32
"""Changed copies of an image in one forward pass; memory follows it, and no map does."""


def scorecam(case: Case) -> np.ndarray:
    """Channels weighted by what the network says of the image seen through them (Wang et al. 2020).

    Each channel, enlarged to the input and scaled to 0..1, multiplies the network's input; the softmax over
    channels of the target's logits weighs them. One forward pass for each channel.
    """
    size = case.images.shape[-2:]
    maps = []
    for image, target, cells in zip(case.images, case.targets.tolist(), _cells(case), strict=True):
        scores = []
        for channels in torch.split(cells, BATCH):
            masks = interpolate(channels[None], size=size, mode="bilinear", align_corners=True)[0]
            low, high = masks.amin(dim=(1, 2), keepdim=True), masks.amax(dim=(1, 2), keepdim=True)
            masks = (masks - low) / (high - low + 1e-8)
            scores.append(case.again(image.expand(len(masks), -1, -1, -1), masks=masks)[:, target])
        weights = torch.cat(scores).softmax(dim=0)
        maps.append((weights[:, None, None] * cells).sum(dim=0))
    return torch.stack(maps).numpy()


def ablationcam(case: Case) -> np.ndarray:
    """Channels weighted by how far the target's logit falls without them (Desai and Ramaswamy 2020).

    A channel is taken away by setting its cells to zero, as in the paper, also where activations may be
    negative (pytorch-grad-cam then sets them to about -1e7). The fall is not divided by the logit: that
    changes no share of the map, but turns it around where the logit is negative. One forward pass for each
    channel.
    """
    maps = []
    rows = zip(case.images, case.targets.tolist(), case.logits, _cells(case), strict=True)
    for image, target, logits, cells in rows:
        falls = []
        for channels in torch.split(torch.arange(len(cells)), BATCH):
            without = cells.repeat(len(channels), 1, 1, 1)
            without[torch.arange(len(channels)), channels] = 0.0
            left = case.again(image.expand(len(channels), -1, -1, -1), cells=without)[:, target]
            falls.append(logits[target] - left)
        maps.append((torch.cat(falls)[:, None, None] * cells).sum(dim=0))
    return torch.stack(maps).numpy()


def _cells(case: Case) -> Tensor:
    return torch.from_numpy(case.activations)
