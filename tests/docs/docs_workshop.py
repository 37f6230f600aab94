"""What a reader has: pictures with masks, a trained model in all its forms, and a registry that holds it.

The model passes the default policy in full, so that whatever a page shows ends as the page says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mlflow import MlflowClient
from PIL import Image
from torch import nn

from camgate.audit.runner import audit
from camgate.data.preprocessing import Preprocessing
from camgate.data.sources import load_manifest
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.models.classifier import Classifier
from camgate.models.training import train_classifier
from camgate.registry.attestation import attest
from camgate.registry.flavor import log_classifier
from camgate.registry.promotion import Promotion, register_and_promote
from camgate.registry.runs import open_run
from camgate.registry.tracking import log_audit, log_verdict

SIDE = 48
MY_SIZE = Preprocessing(size=(SIDE, SIDE))
COLOURS = {"cat": (200, 60, 60), "dog": (60, 60, 200)}
TRAINING = {"epochs": 5, "batch_size": 16, "learning_rate": 3e-3, "seed": 0}
SMALL = {"gallery_worst": 2, "gallery_sample": 2}


@dataclass(frozen=True)
class Workshop:
    """Attributes:
    folder: `data/` (manifest, pictures, masks), `model/`, `net.pth`, `model.json`, `instances.json`.
    classifier: the model.
    """

    folder: Path
    classifier: Classifier

    @property
    def manifest(self) -> pd.DataFrame:
        return load_manifest(self.folder / "data" / "manifest.csv")


def make_workshop(folder: Path) -> Workshop:
    """Paint the pictures, train, and save the model."""
    paint(folder / "data")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    manifest = load_manifest(folder / "data" / "manifest.csv")
    classifier = train_classifier(
        manifest, builder="resnet_small", preprocessing=MY_SIZE, **TRAINING
    ).classifier
    torch.set_num_threads(threads)
    classifier.save(folder / "model")
    torch.save(classifier.module.state_dict(), folder / "net.pth")
    spec = {
        "classes": list(COLOURS),
        "preprocessing": {"size": [SIDE, SIDE]},
        "builder": "resnet_small",
    }
    (folder / "model.json").write_text(json.dumps(spec))
    (folder / "instances.json").write_text(json.dumps(instances(manifest, folder / "data" / "images")))
    return Workshop(folder, classifier)


def paint(folder: Path) -> None:
    """Squares on noise: red ones are cats. Two pictures make a group."""
    chance = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 40), ("validation", 6), ("test", 30)):
        for label, colour in COLOURS.items():
            for number in range(count):
                image = chance.integers(100, 141, (SIDE, SIDE, 3), dtype=np.uint8)
                mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
                top, left = chance.integers(0, SIDE - 20, 2)
                mask[top : top + 20, left : left + 20] = 255
                image[mask > 0] = colour
                name = f"{label}/{split}-{number:02d}.png"
                for kind, pixels in (("images", image), ("masks", mask)):
                    (folder / kind / label).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(folder / kind / name)
                rows.append(
                    {
                        "image": f"images/{name}",
                        "label": label,
                        "region": f"masks/{name}",
                        "split": split,
                        "group": f"{split} {label} {number // 2}",
                        "camera": "north" if number % 4 < 2 else "south",
                    }
                )
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)


def instances(manifest: pd.DataFrame, images: Path) -> dict[str, object]:
    """The test rows as COCO instances."""
    rows = manifest[manifest["split"] == "test"]
    pictures, boxes = [], []
    for number, row in enumerate(rows.itertuples(), start=1):
        name = str(Path(str(row.image)).relative_to(images))
        pictures.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        ys, xs = np.nonzero(np.asarray(Image.open(str(row.region))))
        box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
        category = 1 + list(COLOURS).index(str(row.label))
        boxes.append(
            {"id": number, "image_id": number, "category_id": category, "bbox": box, "area": box[2] * box[3]}
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(COLOURS, start=1)]
    return {"images": pictures, "annotations": boxes, "categories": categories}


def promoted(workshop: Workshop, name: str, policy: Policy | None = None, *, key: str = "docs") -> Promotion:
    """Log, audit, judge, attest and promote, as the steps do, in the store of the environment."""
    classifier = Classifier.load(workshop.folder / "model")
    terms = policy or Policy.default()
    run_id = open_run(experiment="docs", key=key)
    uri = log_classifier(classifier, run_id=run_id).model_uri
    result = audit(classifier, workshop.manifest, **terms.audit_options(), **SMALL)
    verdict = judge(result, terms)
    statement = attest(verdict, result, runs={"audit": run_id})
    log_audit(run_id, result, verdict)
    log_verdict(run_id, verdict, terms, attestation=statement)
    return register_and_promote(verdict, model_uri=uri, name=name, run_id=run_id, attestation=statement)


def versions_before(name: str, count: int) -> None:
    """So many versions of a registered model that say nothing, so that the next number is the page's."""
    client = MlflowClient()
    client.create_registered_model(name)
    for _ in range(count):
        client.create_model_version(name, "file:///nowhere")


def train_network(manifest: pd.DataFrame) -> nn.Module:
    """A network, trained by somebody who knows nothing of camgate."""
    return train_classifier(
        manifest, builder="resnet_small", preprocessing=MY_SIZE, **TRAINING
    ).classifier.module
