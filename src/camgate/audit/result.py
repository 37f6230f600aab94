"""`AuditResult`: everything an audit found, frozen, and its folder on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import BaseModel, ConfigDict

from camgate.audit.sanity import Sanity
from camgate.audit.views import ClassAverage, SwapExample
from camgate.errors import InputError
from camgate.files import atomic_folder
from camgate.heatmaps.overlays import triptych

FORMAT = 2
SCORE_COLUMNS = (
    "image_id",
    "label",
    "predicted",
    "confidence",
    "target",
    "invalid_activation",
    "invalid_activation_label",
    "invalid_area",
    "invalid_area_raw",
    "invalid_lift",
    "peak_invalid",
    "status",
    "group",
    "split",
)
INTERVENTION_COLUMNS = ("image_id", "arm", "draw", "donor_id", "predicted", "target_probability")

_ASKED = (
    "target",
    "tolerance",
    "interventions",
    "draws",
    "fill",
    "margin",
    "match_on",
    "slices",
    "max_interventions",
    "sanity",
)
"""Settings that do not follow from the network."""

Status = Literal["ok", "unreadable", "no_region", "below_resolution", "dead_map"]


class AuditSettings(BaseModel):
    """What was asked for and what was chosen; a policy's `audit:` section is compared with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    """Explainer used, e.g. `gradcam`; never `auto`."""
    method_requested: str
    target_layer: str
    target_layer_reason: str
    target_layer_rule: Literal["auto", "model", "caller"]
    """Who chose the layer: the rule, the model's own spec, or the caller of this audit."""
    map_size: tuple[int, int]
    """Height and width of the raw map in cells."""
    target: Literal["predicted", "label"]
    tolerance: int
    """Cells by which the valid region was grown."""
    interventions: bool
    draws: int
    fill: str
    margin: float
    """Margin around kept objects, as a share of the shorter image side."""
    match_on: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    seed: int
    max_interventions: int
    sanity: bool = True
    """Whether the explainer was held against untrained networks."""

    def options(self) -> dict[str, Any]:
        """Arguments of `camgate.audit` that ask for the same of another model; the seed is left out."""
        layer = self.target_layer if self.target_layer_rule == "caller" else None
        asked = self.model_dump(include=set(_ASKED))
        return asked | {"method": self.method_requested, "target_layer": layer}


class ClusterRecord(BaseModel):
    """One way in which the model looks at a class; see `camgate.audit.clusters.Cluster`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    images: int
    groups: int
    mean_map: tuple[tuple[float, ...], ...]
    invalid_activation: float | None
    invalid_lift: float | None
    stability: float | None
    stability_low: float | None
    spread: float
    fixed_place: bool
    in_words: str


@dataclass(frozen=True)
class GalleryItem:
    """One audited image kept for the eye.

    Attributes:
        image_id: row of `AuditResult.scores`.
        kind: `worst` (highest invalid activation first), `sample` (stratified by class, at random), or
            `cluster` (the most typical image of a cluster of maps).
        rank: 0-based position inside its kind.
        image: uint8 `(H, W, 3)`, as the model saw it before normalisation.
        heatmap: float32 `(h, w)`, raw ReLU'd map at its own resolution, not scaled.
        region: bool `(H, W)`, valid pixels.
    """

    image_id: str
    kind: Literal["worst", "sample", "cluster"]
    rank: int
    image: np.ndarray
    heatmap: np.ndarray
    region: np.ndarray

    @property
    def file(self) -> str:
        """Path of its picture inside the audit folder."""
        return f"heatmaps/{self.kind}_{self.rank:03d}.png"


@dataclass(frozen=True)
class AuditResult:
    """Outcome of one audit of one model on one data set.

    Attributes:
        settings: how the audit was done.
        classes: class names in the order of the logits.
        model_digest: SHA-256 hex of what decides a prediction (see `Classifier.digest`).
        data_digest: SHA-256 hex of the audited rows, images and regions.
        scores: one row per audited image, columns `SCORE_COLUMNS` plus the named slices.
        interventions: one row per composite (`INTERVENTION_COLUMNS`), None where switched off.
        baselines: mean invalid activation of a uniform, a centred and a shuffled-region map.
        sanity: how much maps of the untrained network resemble these, None where it was not asked for.
        clusters: the ways in which the model looks at each class, those that never move marked.
        gallery: pictures to look at.
        averages: mean image and map of the classes where the model looks off the object most.
        examples: images on their own and on swapped backgrounds, with what was predicted.
        region_free: classes whose images all have no valid region (`empty`).
        warnings: sentences a reader of the report must see.
        versions: library name -> version.
        created: ISO 8601 time in UTC.
        model_uri: MLflow URI the model came from or was logged to, None where there is none.
    """

    settings: AuditSettings
    classes: tuple[str, ...]
    model_digest: str
    data_digest: str
    scores: pd.DataFrame
    interventions: pd.DataFrame | None
    baselines: dict[str, float]
    sanity: Sanity | None = None
    clusters: tuple[ClusterRecord, ...] = ()
    gallery: tuple[GalleryItem, ...] = ()
    averages: tuple[ClassAverage, ...] = ()
    examples: tuple[SwapExample, ...] = ()
    region_free: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    model_uri: str | None = None

    def meta(self) -> dict[str, Any]:
        """Everything but the tables and pictures, ready for JSON."""
        return {
            "format": FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "classes": list(self.classes),
            "model_digest": self.model_digest,
            "data_digest": self.data_digest,
            "baselines": self.baselines,
            "sanity": None if self.sanity is None else self.sanity.model_dump(mode="json"),
            "clusters": [cluster.model_dump(mode="json") for cluster in self.clusters],
            "region_free": list(self.region_free),
            "warnings": list(self.warnings),
            "versions": self.versions,
            "created": self.created,
            "model_uri": self.model_uri,
            "gallery": [
                {"image_id": item.image_id, "kind": item.kind, "rank": item.rank, "file": item.file}
                for item in self.gallery
            ],
            "averages": [{"label": each.label, "images": each.images} for each in self.averages],
            "examples": [
                {
                    "image_id": each.image_id,
                    "label": each.label,
                    "kind": each.kind,
                    "donors": list(each.donors),
                    "predicted": list(each.predicted),
                    "probability": list(each.probability),
                }
                for each in self.examples
            ],
        }

    def document(self) -> dict[str, Any]:
        """What `audit.json` holds: `meta`, and the digest of the tables beside it."""
        return self.meta() | {"scores_digest": self.scores_digest()}

    def save(self, folder: str | Path) -> Path:
        """Write the audit folder: all of it, or nothing.

        Args:
            folder: must not exist yet, or be an empty folder.

        Raises:
            InputError: the folder holds something already, or cannot be written.
        """
        with atomic_folder(folder) as scratch:
            self.write_into(scratch)
        return Path(folder)

    def write_into(self, folder: Path) -> None:
        """Write the files into an existing folder, for callers that add their own before it is renamed."""
        text = json.dumps(self.document(), indent=2) + "\n"
        (folder / "audit.json").write_text(text, encoding="utf-8")
        self.scores.to_parquet(folder / "scores.parquet", index=False)
        if self.interventions is not None:
            self.interventions.to_parquet(folder / "interventions.parquet", index=False)
        (folder / "heatmaps").mkdir()
        arrays: dict[str, np.ndarray] = {}
        for number, item in enumerate(self.gallery):
            Image.fromarray(triptych(item.image, item.heatmap, item.region)).save(folder / item.file)
            arrays[f"image_{number}"] = item.image
            arrays[f"heatmap_{number}"] = item.heatmap
            arrays[f"region_{number}"] = item.region
        for number, average in enumerate(self.averages):
            arrays[f"average_image_{number}"] = average.image
            arrays[f"average_heatmap_{number}"] = average.heatmap
        for number, example in enumerate(self.examples):
            arrays[f"example_{number}"] = example.pictures
        np.savez_compressed(folder / "heatmaps" / "gallery.npz", **arrays)  # type: ignore[arg-type]

    def scores_digest(self) -> str:
        """SHA-256 (hex) over scores and interventions as CSV: the same after `save` and `load`."""
        digest = hashlib.sha256()
        for table in (self.scores, self.interventions):
            text = "" if table is None else table.to_csv(index=False, lineterminator="\n")
            digest.update(f"{len(text)}\n{text}".encode())
        return digest.hexdigest()

    @classmethod
    def load(cls, folder: str | Path) -> AuditResult:
        """Read what `save` or `camgate audit --out` wrote.

        Raises:
            InputError: not an audit folder, or one of its files is missing or damaged.
        """
        root = Path(folder)
        if not (root / "audit.json").is_file():
            raise InputError(
                f"{root} is not an audit folder: it has no audit.json. Make one with `camgate audit`."
            )
        try:
            meta = json.loads((root / "audit.json").read_text(encoding="utf-8"))
            if meta.pop("format") != FORMAT:
                raise InputError(f"{root}/audit.json was written by another version of camgate; audit again.")
            index, digest = meta.pop("gallery"), meta.pop("scores_digest", None)
            with np.load(root / "heatmaps" / "gallery.npz", allow_pickle=False) as arrays:
                gallery = tuple(
                    GalleryItem(
                        image_id=entry["image_id"],
                        kind=entry["kind"],
                        rank=entry["rank"],
                        image=arrays[f"image_{number}"],
                        heatmap=arrays[f"heatmap_{number}"],
                        region=arrays[f"region_{number}"],
                    )
                    for number, entry in enumerate(index)
                )
                averages = tuple(
                    ClassAverage(
                        entry["label"],
                        entry["images"],
                        arrays[f"average_image_{number}"],
                        arrays[f"average_heatmap_{number}"],
                    )
                    for number, entry in enumerate(meta.pop("averages", []))
                )
                examples = tuple(
                    SwapExample(
                        image_id=entry["image_id"],
                        label=entry["label"],
                        kind=entry["kind"],
                        donors=tuple(entry["donors"]),
                        predicted=tuple(entry["predicted"]),
                        probability=tuple(entry["probability"]),
                        pictures=arrays[f"example_{number}"],
                    )
                    for number, entry in enumerate(meta.pop("examples", []))
                )
            settings = AuditSettings.model_validate(meta.pop("settings"))
            sanity, clusters = meta.pop("sanity"), meta.pop("clusters")
            scores = pd.read_parquet(root / "scores.parquet")
            table = root / "interventions.parquet"
            if settings.interventions and not table.is_file():
                raise InputError(f"{table} is missing, though the audit was made with interventions.")
            interventions = pd.read_parquet(table) if settings.interventions else None
            found = cls(
                settings=settings,
                sanity=None if sanity is None else Sanity.model_validate(sanity),
                clusters=tuple(ClusterRecord.model_validate(cluster) for cluster in clusters),
                scores=scores,
                interventions=interventions,
                gallery=gallery,
                averages=averages,
                examples=examples,
                classes=tuple(meta.pop("classes")),
                region_free=tuple(meta.pop("region_free")),
                warnings=tuple(meta.pop("warnings")),
                **meta,
            )
            if digest not in {None, found.scores_digest()}:
                raise InputError(
                    f"{root}: scores.parquet or interventions.parquet is not what this audit wrote "
                    "(audit.json has another digest); audit again."
                )
            return found
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{root}: the audit folder is damaged ({type(error).__name__}: {error})."
            ) from error
