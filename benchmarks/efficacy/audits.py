"""The blind audit of one model of the zoo, and what others would say of the same heatmaps."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peers import border_mass, overlap_at_half, share_on_object
from photos import write_photos
from zoo import AUDIT_IMAGES, NETWORKS, Entry

from camgate import Classifier, Policy, audit, judge
from camgate.audit.result import AuditResult
from camgate.audit.summary import summarise
from camgate.data.dataset import ImageDataset
from camgate.heatmaps.explainers import Explainer
from camgate.scenes.dataset import write_scenes
from camgate.scenes.render import CLASSES


def audit_one(entry: Entry, out: Path, *, images: int = AUDIT_IMAGES) -> None:
    """Audit by the default policy's terms, on new scenes with the shortcut as strong as in training."""
    folder = out / entry.name
    start = time.monotonic()
    classifier = Classifier.load(folder / "model")
    with tempfile.TemporaryDirectory() as scratch:
        manifest = _test_set(entry, out, Path(scratch) / "data", images, entry.strength, 5000)
        options = Policy.default().audit_options()
        result = audit(classifier, manifest, **options, gallery_worst=4, gallery_sample=0)
        dataset = ImageDataset(manifest, classifier.preprocessing, classifier.classes)
        maps, regions = look(classifier, dataset, result)
    labels = result.scores["label"].to_numpy().astype(str)
    objects = regions.any(axis=(1, 2))
    facts = {
        "share_on_object": float(np.nanmean(share_on_object(maps[objects], regions[objects]))),
        "overlap_at_half": float(np.mean(overlap_at_half(maps[objects], regions[objects]))),
        "border_mass": border_mass(maps, labels, regions.shape[1:]),
        "seconds": round(time.monotonic() - start, 1),
    }
    result.save(folder / "audit")
    np.savez_compressed(
        folder / "maps.npz", maps=maps.astype(np.float32), regions=np.packbits(regions, axis=2)
    )
    (folder / "peers.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def audit_clean_set(entry: Entry, out: Path, *, images: int = AUDIT_IMAGES // 2) -> None:
    """Audit on scenes in which the shortcut falls at random: a test set that does not share the flaw."""
    classifier = Classifier.load(out / entry.name / "model")
    with tempfile.TemporaryDirectory() as scratch:
        manifest = _test_set(entry, out, Path(scratch) / "data", images, 0.0, 7000)
        result = audit(classifier, manifest, **Policy.default().audit_options(), gallery_worst=0)
    numbers = summarise(result)
    verdict = judge(result, Policy.default())
    names = ("accuracy", "invalid_lift", "background_gap", "background_flips")
    facts = {"verdict": verdict.status.value, **{name: numbers[name] for name in names}}
    (out / entry.name / "clean_set.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _test_set(entry: Entry, out: Path, folder: Path, images: int, strength: float, seed: int) -> pd.DataFrame:
    """New scenes, or the photographs of the test split, which are as many as they are."""
    if entry.photos:
        return write_photos(entry.kind, strength, out, folder)
    return write_scenes(
        folder,
        per_class={"test": images // len(CLASSES)},
        shortcut=entry.kind,
        strength=strength,
        seed=seed + entry.seed,
        size=NETWORKS[entry.network].size,
        coco=False,
    )


def look(classifier: Classifier, dataset: ImageDataset, result: AuditResult) -> tuple[np.ndarray, np.ndarray]:
    """Raw maps of the predicted class `(n, h, w)` and valid regions `(n, H, W)` of every image."""
    maps, regions = [], []
    settings = result.settings
    with Explainer(classifier, layer=settings.target_layer, method=settings.method) as explainer:
        for first in range(0, len(dataset), 64):
            samples = [dataset[row] for row in range(first, min(first + 64, len(dataset)))]
            heat = explainer(torch.stack([torch.as_tensor(sample.image) for sample in samples]))
            maps.append(heat.maps.numpy())
            regions += [np.asarray(sample.region, dtype=bool) for sample in samples]
    return np.concatenate(maps), np.stack(regions)
