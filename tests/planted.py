"""Planted truth: images in which one bright block alone decides the class, and networks fitted to them.

On grey noise lies one block at a random place; its colour is the class. A heatmap that tells the truth lights
up on the block. The networks are narrow variants of the published architectures, made of the libraries' own
classes. Two quick fits make the block decide:

* a head on random features, solved in closed form (a second or less). It has no bias and must say no to
  scenes without a block, so the background speaks against each class and only the block for it;
* for networks whose class token reads the patches, a short training by the same rule: their random attention
  is no more than an average, in which the class token's own constant takes the part of the bias.

A softmax would leave open whether the background votes for one class all the time and the other's block
outvotes it; a truthful map of the first then lights up on the background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from timm.models.convnext import ConvNeXt
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import Tensor, nn
from torchvision.models import convnext, densenet, efficientnet, mobilenetv3, regnet, swin_transformer
from torchvision.models.vision_transformer import VisionTransformer

from camgate.audit.scores import grow, region_on_grid
from camgate.data.preprocessing import Preprocessing
from camgate.heatmaps.explainers import Explainer
from camgate.heatmaps.layers import choose_layer, resolve_method
from camgate.models.classifier import Classifier

SIZE = 64
BLOCK = 14
RIDGE = 1e-3
STEPS = 80
COLOURS = ((250, 40, 40), (40, 40, 250))


def scenes(
    count: int, seed: int, size: tuple[int, int] = (SIZE, SIZE), empty: float = 0.0
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Images uint8 `(count, 3, h, w)`, labels `(count,)` and the blocks' pixels, bool `(count, h, w)`.

    A share `empty` of them has no block and the label -1.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    images = rng.integers(70, 110, (count, 1, height, width)).repeat(3, axis=1)
    labels = np.where(rng.random(count) < empty, -1, rng.integers(0, len(COLOURS), count))
    regions = np.zeros((count, height, width), dtype=bool)
    for row in np.flatnonzero(labels >= 0):
        top, left = rng.integers(0, height - BLOCK + 1), rng.integers(0, width - BLOCK + 1)
        block = np.s_[top : top + BLOCK, left : left + BLOCK]
        images[row][:, *block] = np.array(COLOURS[labels[row]])[:, None, None] + rng.integers(
            -20, 21, (3, BLOCK, BLOCK)
        )
        regions[row][block] = True
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8)), torch.from_numpy(labels), regions


def _wanted(labels: Tensor) -> Tensor:
    return labels[:, None] == torch.arange(len(COLOURS))


def _heads(module: nn.Module) -> list[nn.Linear]:
    heads = [x for x in module.modules() if isinstance(x, nn.Linear) and x.out_features == len(COLOURS)]
    for head in heads:
        head.bias.requires_grad_(False).zero_()
    return heads


def fit_heads(model: Classifier) -> Classifier:
    """Solve the head on random features by ridge regression, batch normalisation estimated beforehand."""
    images, labels, _ = scenes(384, seed=1, size=tuple(model.preprocessing.size), empty=1 / 3)
    model.module.eval()
    norms = [x for x in model.module.modules() if isinstance(x, nn.modules.batchnorm._BatchNorm)]
    for layer in norms:
        layer.momentum = None
        layer.train()
    if norms:
        with torch.no_grad():
            model.logits(images)
        model.module.eval()
    heads = _heads(model.module)
    given: dict[nn.Module, list[Tensor]] = {head: [] for head in heads}
    hooks = [
        head.register_forward_pre_hook(lambda layer, inputs: given[layer].append(inputs[0].double()))
        for head in heads
    ]
    with torch.no_grad():
        for part in images.split(32):
            model.logits(part)
    wanted = torch.where(_wanted(labels), 1.0, -0.5).double()
    for hook, head in zip(hooks, heads, strict=True):
        hook.remove()
        features = torch.cat(given[head])
        kernel = features @ features.T
        kernel += RIDGE * kernel.diagonal().mean() * torch.eye(len(kernel), dtype=kernel.dtype)
        with torch.no_grad():
            head.weight.copy_((features.T @ torch.linalg.solve(kernel, wanted)).T)
    return model


def train(model: Classifier) -> Classifier:
    """Train all weights for a few steps; each logit says on its own whether its block is there."""
    images, labels, _ = scenes(512, seed=1, size=tuple(model.preprocessing.size), empty=1 / 3)
    wanted = _wanted(labels).float()
    _heads(model.module)
    weights = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=STEPS, pct_start=0.2)
    model.module.train()
    for _ in range(STEPS):
        rows = torch.randint(0, len(images), (16,))
        loss = nn.functional.binary_cross_entropy_with_logits(model.logits(images[rows]), wanted[rows])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
    model.module.eval()
    return model


@dataclass(frozen=True)
class Found:
    """How well heatmaps find the block: means over the images that are classified rightly.

    Attributes:
        accuracy: of the network.
        mass: share of the map's mass on the block's cells, grown by one.
        area: share of the cells that these are.
        peak: how often the largest value is on them.
        dead: share of maps that are zero.
    """

    accuracy: float
    mass: float
    area: float
    peak: float
    dead: float

    @property
    def passed(self) -> bool:
        """Hardly a dead map, most of the mass and twice a uniform map's, the peak on the block."""
        right = self.accuracy >= 0.95 and self.dead <= 0.1
        return right and self.mass >= max(0.6, 2 * self.area) and self.peak >= 0.9


def look(model: Classifier, layer: str, method: str, count: int = 64) -> Found:
    """Explain fresh scenes and compare the maps with the blocks."""
    images, labels, regions = scenes(count, seed=2, size=tuple(model.preprocessing.size))
    with Explainer(model, layer=layer, method=method) as explainer:
        heat = explainer(images, labels)
    right = (heat.logits.argmax(dim=1) == labels).numpy()
    maps = heat.maps.numpy()[right].astype(np.float64)
    cells = grow(region_on_grid(regions[right], maps.shape[1:]).astype(np.float64), 1)
    total = maps.sum(axis=(1, 2))
    alive = total > 0
    if not alive.any():
        return Found(float(right.mean()), 0.0, float(cells.mean()), 0.0, 1.0)
    maps, cells = maps[alive], cells[alive]
    mass = (maps * cells).sum(axis=(1, 2)) / total[alive]
    peaks = maps.reshape(len(maps), -1).argmax(axis=1)
    hit = cells.reshape(len(cells), -1)[np.arange(len(cells)), peaks] > 0
    return Found(
        float(right.mean()),
        float(mass.mean()),
        float(cells.mean()),
        float(hit.mean()),
        float(1 - alive.mean()),
    )


def choose(model: Classifier) -> tuple[str, str]:
    """Layer and method as an audit of planted scenes would choose them."""
    _, _, regions = scenes(16, seed=3, size=tuple(model.preprocessing.size))
    choice = choose_layer(model, list(regions))
    return choice.name, resolve_method("auto", choice)


def _vit() -> nn.Module:
    return VisionTransformer(SIZE, 8, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=2)


def _timm_vit(
    kind: type[nn.Module] = TimmVisionTransformer, img_size: int | tuple[int, int] = SIZE, **options: object
) -> nn.Module:
    sizes = {"patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4, "mlp_ratio": 2}
    return kind(img_size=img_size, num_classes=2, **sizes, **options)


def _swin() -> nn.Module:
    return swin_transformer.SwinTransformer(
        [4, 4], 24, [2, 2], [3, 6], [4, 4], num_classes=2, stochastic_depth_prob=0.0
    )


def _swin_v2() -> nn.Module:
    return swin_transformer.SwinTransformer(
        [4, 4],
        24,
        [2, 2],
        [3, 6],
        [4, 4],
        num_classes=2,
        stochastic_depth_prob=0.0,
        block=swin_transformer.SwinTransformerBlockV2,
        downsample_layer=swin_transformer.PatchMergingV2,
    )


def _timm_swin() -> nn.Module:
    return SwinTransformer(
        SIZE,
        4,
        num_classes=2,
        embed_dim=24,
        depths=(2, 2),
        num_heads=(3, 6),
        window_size=4,
        drop_path_rate=0.0,
    )


def _convnext() -> nn.Module:
    blocks = [convnext.CNBlockConfig(24, 48, 1), convnext.CNBlockConfig(48, None, 2)]
    return convnext.ConvNeXt(blocks, num_classes=2)


def _timm_convnext() -> nn.Module:
    return ConvNeXt(num_classes=2, patch_size=1, depths=(1, 1, 1, 2), dims=(8, 16, 32, 64))


def _efficientnet() -> nn.Module:
    block = partial(efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    blocks = [block(1, 3, 1, 16, 16, 1), block(4, 3, 2, 16, 24, 1), block(4, 3, 2, 24, 32, 2)]
    return efficientnet.EfficientNet(
        blocks, dropout=0.0, stochastic_depth_prob=0.0, num_classes=2, last_channel=64
    )


def _mobilenet() -> nn.Module:
    block = partial(mobilenetv3.InvertedResidualConfig, width_mult=1.0, dilation=1)
    blocks = [
        block(16, 3, 32, 16, True, "RE", 2),
        block(16, 3, 64, 24, False, "RE", 2),
        block(24, 3, 64, 24, True, "HS", 1),
    ]
    return mobilenetv3.MobileNetV3(blocks, last_channel=64, num_classes=2)


def _densenet() -> nn.Module:
    return densenet.DenseNet(12, (2, 3), num_init_features=24, num_classes=2)


def _regnet() -> nn.Module:
    params = regnet.BlockParams(
        depths=[1, 2],
        widths=[24, 48],
        group_widths=[8, 8],
        bottleneck_multipliers=[1.0, 1.0],
        strides=[2, 2],
        se_ratio=0.25,
    )
    return regnet.RegNet(params, num_classes=2, stem_width=16)


@dataclass(frozen=True)
class Narrow:
    """A narrow variant of an architecture."""

    library: str
    make: Callable[[], nn.Module]
    trained: bool = False
    seed: int = 0

    def fitted(self, seed: int | None = None) -> Classifier:
        """The network fitted to planted scenes, in evaluation mode; always the same for a seed."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # so small a network is slower on two, and not the same
        torch.manual_seed(self.seed if seed is None else seed)
        model = Classifier(self.make(), ["red", "blue"], Preprocessing(size=(SIZE, SIZE)))
        try:
            return (train if self.trained else fit_heads)(model)
        finally:
            torch.set_num_threads(threads)


NARROW = {
    "ViT, class token": Narrow("torchvision", _vit, trained=True),
    "ViT, class token (timm)": Narrow("timm", _timm_vit, trained=True, seed=1),
    "ViT, registers": Narrow("timm", partial(_timm_vit, reg_tokens=4), trained=True),
    "DeiT, distilled": Narrow("timm", partial(_timm_vit, kind=VisionTransformerDistilled), trained=True),
    "ViT, average pooling": Narrow("timm", partial(_timm_vit, class_token=False, global_pool="avg")),
    "ViT, attention pooling": Narrow("timm", partial(_timm_vit, class_token=False, global_pool="map")),
    "Swin": Narrow("torchvision", _swin),
    "Swin (timm)": Narrow("timm", _timm_swin),
    "Swin V2": Narrow("torchvision", _swin_v2),
    "ConvNeXt": Narrow("torchvision", _convnext),
    "ConvNeXt (timm)": Narrow("timm", _timm_convnext),
    "EfficientNet": Narrow("torchvision", _efficientnet),
    "MobileNet": Narrow("torchvision", _mobilenet),
    "DenseNet": Narrow("torchvision", _densenet),
    "RegNet": Narrow("torchvision", _regnet),
}
