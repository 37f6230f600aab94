"""Cost of logits and raw heatmaps relative to a plain forward pass, in one process, interleaved.

python benchmarks/heatmap_speed.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torchvision

from camgate.data.preprocessing import Preprocessing
from camgate.heatmaps.explainers import Explainer
from camgate.models.classifier import Classifier, evaluation_mode

NETWORKS = {"resnet18": "layer4", "mobilenet_v3_large": "features"}
BATCH, SIZE, ROUNDS = 32, 224, 5


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    images = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8)
    for name, layer in NETWORKS.items():
        module = torchvision.models.get_model(name, weights=None, num_classes=10)
        module = module.to(memory_format=torch.channels_last).eval()
        model = Classifier(module, [str(n) for n in range(10)], Preprocessing(size=(SIZE, SIZE)))

        def plain(model: Classifier = model) -> None:
            with evaluation_mode(model.module), torch.inference_mode():
                model.logits(images)

        with Explainer(model, layer=layer, method="gradcam") as explainer:
            plain()
            explainer(images)
            pairs = [(seconds(lambda: explainer(images)), seconds(plain)) for _ in range(ROUNDS)]
        ratios = [heat / forward for heat, forward in pairs]
        print(
            f"{name}: heatmap / plain forward = {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), plain forward "
            f"{1000 * statistics.median(f for _, f in pairs) / BATCH:.1f} ms an image, batch {BATCH}, "
            f"{SIZE} px, {torch.get_num_threads()} threads"
        )


if __name__ == "__main__":
    main()
