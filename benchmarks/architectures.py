"""Writes docs/architectures.md: for each network the layer that the rule chooses, its map, and planted truth.

python benchmarks/architectures.py --out docs/architectures.md
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from camgate.data.preprocessing import Preprocessing
from camgate.heatmaps.layers import choose_layer, resolve_method
from camgate.models.builders import build
from camgate.models.classifier import Classifier

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from planted import NARROW, choose, look  # the same networks and the same criterion as in the tests

SEEDS = (0, 1, 2)
FULL = (
    "torchvision:vit_b_16",
    "torchvision:vit_b_32",
    "torchvision:swin_t",
    "torchvision:swin_v2_t",
    "torchvision:convnext_tiny",
    "torchvision:efficientnet_b0",
    "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_large",
    "torchvision:densenet121",
    "torchvision:densenet201",
    "torchvision:regnet_y_400mf",
    "torchvision:resnet18",
    "torchvision:resnet50",
    "timm:vit_small_patch16_224",
    "timm:vit_base_patch32_224",
    "timm:vit_small_patch14_reg4_dinov2",
    "timm:vit_base_patch16_siglip_224",
    "timm:deit_tiny_patch16_224",
    "timm:deit_tiny_distilled_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
    "timm:convnext_nano",
    "timm:efficientnet_b0",
    "timm:mobilenetv3_large_100",
    "timm:densenet121",
    "timm:regnety_004",
)
SIZES = {"timm:vit_small_patch14_reg4_dinov2": 518, "torchvision:swin_v2_t": 256}

HEAD = """# Architectures

Which layer `target_layer=None` chooses, and what `method="auto"` makes of it, without any option. The rule
takes the deepest layer through which all information goes and whose cells are read; where regions are small
or its map has fewer than 7 x 7 cells, it goes back to a finer one. The reason is printed with every audit.

## Planted truth

Narrow variants of each architecture, 64 px, fitted to images in which one bright block decides, {seeds} seeds
each. Passed: at least 95 % right, at most a tenth of the maps dead, at least 60 % of the mass and twice a
uniform map's on the block (grown by one cell), the peak there in at least nine of ten. A network that did not
learn its task (under 95 % right) says nothing of the layer and is counted apart.

| architecture | library | layer | method | passed | mass on the block (uniform map) |
|---|---|---|---|---|---|
"""
WRONG = """
The same networks at the norm before their last block, a layer that part of the information goes around. Such
a layer alone makes a correct model look biased: every map below is of a network that is right.

| architecture | layer | passed | mass on the block (uniform map), or dead |
|---|---|---|---|
"""
FULL_HEAD = """
## Full size

Random weights; the map is what the rule chooses when no region is too small for it.

| network | input | layer | map | method | seconds to choose |
|---|---|---|---|---|---|
"""
NORMS = {
    "Swin": "features.3.1.norm1",
    "Swin V2": "features.3.1.norm1",
    "Swin (timm)": "layers.1.blocks.1.norm1",
}


def planted() -> Iterator[str]:
    for name, narrow in NARROW.items():
        found = []
        for seed in SEEDS:
            model = narrow.fitted(seed)
            layer, method = choose(model)
            found.append(look(model, layer, method))
        able = [one for one in found if one.accuracy >= 0.95]
        masses = ", ".join(f"{one.mass:.2f}" for one in able)
        unable = f", {len(found) - len(able)} not learnt" if len(able) < len(found) else ""
        dead = sum(one.dead > 0.1 for one in able)
        passed = f"{sum(one.passed for one in able)} of {len(able)}{unable}"
        passed += f", {dead} with dead maps" if dead else ""
        row = (name, narrow.library, f"`{layer}`", method, passed, f"{masses} ({able[0].area:.2f})")
        yield f"| {' | '.join(row)} |"


def wrong() -> Iterator[str]:
    for name, layer in NORMS.items():
        models = [NARROW[name].fitted(seed) for seed in SEEDS]
        found = [look(model, layer, "gradcam") for model in models]
        masses = ", ".join(f"{one.mass:.2f}" if one.dead <= 0.1 else f"{one.dead:.0%} dead" for one in found)
        passed = f"{sum(one.passed for one in found)} of {len(found)}"
        yield f"| {name} | `{layer}` | {passed} | {masses} ({found[0].area:.2f}) |"


def full() -> Iterator[str]:
    for name in FULL:
        side = SIZES.get(name, 224)
        model = Classifier(build(name, {}, 5).eval(), list("abcde"), Preprocessing(size=(side, side)))
        began = time.perf_counter()
        choice = choose_layer(model, [])
        seconds = time.perf_counter() - began
        method = resolve_method("auto", choice)
        grid = f"{choice.grid[0]} x {choice.grid[1]}"
        yield f"| {name} | {side} | `{choice.name}` | {grid} | {method} | {seconds:.1f} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("docs/architectures.md"))
    out = options.parse_args().out
    parts = [HEAD.format(seeds=len(SEEDS)), *(f"{row}\n" for row in planted()), WRONG]
    parts += [*(f"{row}\n" for row in wrong()), FULL_HEAD, *(f"{row}\n" for row in full())]
    parts.append("\nWritten by `benchmarks/architectures.py`, on 2 CPU cores.\n")
    out.write_text("".join(parts), encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
