"""The same regions told in two ways give the same scores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from camgate.audit.runner import audit
from camgate.data.formats.coco import load_coco
from camgate.data.preprocessing import Preprocessing
from camgate.data.sources import load_manifest
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.scenes.dataset import write_scenes


def test_the_scenes_coco_file_and_their_masks_give_the_same_scores(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    write_scenes(folder, per_class={"test": 6}, size=64, seed=1)
    by_masks = load_manifest(folder / "manifest.csv")
    by_coco = load_coco(folder / "coco.json", folder, empty_label="empty")
    torch.manual_seed(0)
    net = build("resnet_small", {"widths": (4, 8, 8, 8)}, 4).eval()
    classes = sorted(by_masks["label"].unique())
    model = Classifier(net, classes, Preprocessing(size=(64, 64)))
    tables = []
    for manifest in (by_masks, by_coco):
        scores = audit(model, manifest, interventions=False, seed=0).scores
        tables.append(scores.assign(image=manifest["image"]).sort_values("image").reset_index(drop=True))
    assert len(tables[0]) == 24
    kept = [name for name in tables[0] if name not in ("image_id", "group", "split")]
    pd.testing.assert_frame_equal(tables[0][kept], tables[1][kept])
    assert (tables[0]["status"] == "ok").sum() > 5
