"""A pipeline of your own, with your own training step, that adds camgate's audit and gate.

    python examples/add_to_your_pipeline.py DATA [POLICY]

DATA is a manifest (CSV, Parquet) or a folder of images with masks; POLICY a YAML file. The training step
below knows nothing of camgate: it gives back a plain `nn.Module`. The run fails when the model is blocked,
with all evidence kept in MLflow.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import pandas as pd
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional as F  # noqa: N812
from zenml import pipeline, step

from camgate import Preprocessing
from camgate.steps import audit_heatmaps, enforce_verdict, gate_promotion, load_data

SIDE = 64


@step
def train_my_own_way(manifest: pd.DataFrame) -> Annotated[nn.Module, "network"]:
    """Stands for whatever you train with: a few passes of plain PyTorch over the training images."""
    torch.manual_seed(0)
    rows = manifest[manifest["split"] == "train"]
    classes = sorted(manifest["label"].unique())
    pictures = [F.to_image(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in rows["image"]]
    images = PREPROCESSING.normalise(torch.stack(pictures))
    labels = torch.tensor([classes.index(label) for label in rows["label"]])
    network = torchvision.models.resnet18(weights=None, num_classes=len(classes))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(3):
        for chosen in torch.randperm(len(images)).split(16):
            loss = nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


PREPROCESSING = Preprocessing(size=(SIDE, SIDE))


@pipeline
def my_pipeline(data: str, classes: list[str], policy: str | dict[str, Any] | None = None) -> None:
    """Your pipeline: the last four lines are camgate's."""
    manifest = load_data(data=data)
    network = train_my_own_way(manifest=manifest)
    audit = audit_heatmaps(
        manifest=manifest, model=network, classes=classes, preprocessing=PREPROCESSING, policy=policy
    )
    verdict = gate_promotion(result=audit, policy=policy)
    enforce_verdict(verdict=verdict)


if __name__ == "__main__":
    from camgate.data.manifest import manifest_classes
    from camgate.data.sources import load_data as read

    names = list(manifest_classes(read(sys.argv[1])))
    my_pipeline(data=sys.argv[1], classes=names, policy=sys.argv[2] if len(sys.argv) > 2 else None)
