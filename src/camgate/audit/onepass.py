"""The one pass: logits, raw maps and scores of every image from the same forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from camgate.audit.preparing import Prepared
from camgate.audit.profile import each, stage
from camgate.audit.result import AuditSettings
from camgate.audit.scores import RegionGrid, regions_on_grid, score_cells, status_of
from camgate.data.dataset import Batch, loader_workers, make_loader
from camgate.heatmaps.explainers import Explainer
from camgate.heatmaps.handed_in import HandedIn, explainer_of
from camgate.models.classifier import Classifier


@dataclass(frozen=True)
class Pass:
    """What one pass over the data gives, rows in the order of the dataset.

    Attributes:
        table: the model's and the map's columns of `SCORE_COLUMNS`.
        maps: float32 `(n, h, w)`, raw maps; zero where unreadable.
        regions: the valid regions on the map's grid, all False where unreadable.
    """

    table: pd.DataFrame
    maps: np.ndarray
    regions: RegionGrid

    @classmethod
    def join(cls, parts: Iterable[tuple[slice | np.ndarray, Pass]], rows: int) -> Pass:
        """The whole from its parts, each copied to its place as it comes.

        Kept as they come, many small arrays would lie between the images of batches that are done, and the C
        library would give none of that memory back.

        Args:
            parts: which rows, and what they hold; every row once.
            rows: their number, at least 1.

        Raises:
            ValueError: a row is missing.
        """
        whole: dict[str, np.ndarray] = {}
        filled = np.zeros(rows, dtype=bool)
        for place, part in parts:
            held = part._arrays()
            whole = whole or {name: np.empty((rows, *a.shape[1:]), a.dtype) for name, a in held.items()}
            for name, values in held.items():
                whole[name][place] = values
            filled[place] = True
        if not filled.all():
            raise ValueError(f"{int((~filled).sum())} of {rows} rows are missing")
        maps, regions = whole.pop("maps"), RegionGrid(whole.pop("valid"), whole.pop("counted"))
        return cls(pd.DataFrame(whole), maps, regions)

    def _arrays(self) -> dict[str, np.ndarray]:
        columns = {
            str(name): column.to_numpy() if is_numeric_dtype(column) else _texts(column)
            for name, column in self.table.items()
        }
        return {**columns, "maps": self.maps, "valid": self.regions.valid, "counted": self.regions.counted}


def _texts(column: pd.Series) -> np.ndarray:
    """Texts or None, object `(n,)`; equal ones are one object."""
    codes, values = pd.factorize(column)
    return np.array([*values, None], dtype=object)[codes]


def scored_batches(prepared: Prepared) -> Iterator[Pass]:
    """Explain and score every image once, a batch at a time, in constant memory.

    Args:
        prepared: the audit before its first heatmap.

    Raises:
        ModelError: see `Explainer`.
    """
    options, dataset = prepared.options, prepared.dataset
    workers = options.workers
    if workers is None:
        workers = loader_workers(len(dataset), prepared.model.device)
    loader = make_loader(dataset, batch_size=options.batch_size, workers=workers)
    explainer = explainer_of(prepared.model, prepared.explained, prepared.settings.target_layer)
    with explainer:
        for batch in each("reading", loader):
            yield _score_batch(prepared.model, explainer, batch, prepared.settings)


def heatmap_pass(prepared: Prepared, *, progress: Callable[[int], None]) -> Pass:
    """Explain and score every image once.

    Args:
        prepared: the audit before its first heatmap.
        progress: called with the number of images done.
    """

    def placed() -> Iterator[tuple[slice, Pass]]:
        done = 0
        progress(done)
        for part in scored_batches(prepared):
            yield slice(done, done + len(part.table)), part
            done += len(part.table)
            progress(done)

    return Pass.join(placed(), len(prepared.rows))


def _score_batch(
    model: Classifier, explainer: Explainer | HandedIn, batch: Batch, settings: AuditSettings
) -> Pass:
    readable = np.array([fault is None for fault in batch.faults])
    count = len(readable)
    maps = np.zeros((count, *settings.map_size), dtype=np.float32)
    predicted = np.full(count, None, dtype=object)
    target = predicted.copy()
    confidence = np.full(count, np.nan)
    label_maps = maps.copy()
    if readable.any():
        labels = batch.labels[readable]
        with stage("network"):
            heat = explainer(batch.images[readable], None if settings.target == "predicted" else labels)
            maps[readable] = label_maps[readable] = np.asarray(heat.maps)
            if (heat.targets != labels).any():
                label_maps[readable] = np.asarray(explainer.maps_for(labels))
        names = np.array(model.classes, dtype=object)
        probabilities = np.asarray(heat.logits.softmax(dim=1))
        predicted[readable] = names[probabilities.argmax(axis=1)]
        confidence[readable] = probabilities.max(axis=1)
        target[readable] = names[np.asarray(heat.targets)]
    regions = np.asarray(batch.regions)
    voids = None if batch.voids is None else np.asarray(batch.voids)
    cells = regions_on_grid(regions, voids, settings.map_size)
    has_region = np.asarray(batch.has_region)
    scored = score_cells(maps, cells, has_region, tolerance=settings.tolerance)
    differs = (label_maps != maps).any()
    scored_label = (
        score_cells(label_maps, cells, has_region, tolerance=settings.tolerance) if differs else scored
    )
    status = np.array(
        [
            status_of(readable=bool(r), has_region=bool(h), below_resolution=bool(b), dead=bool(d))
            for r, h, b, d in zip(
                readable, scored.has_region, scored.below_resolution, scored.dead, strict=True
            )
        ],
        dtype=object,
    )
    # A share is reported where it means something: the region is known, resolved, and the map alive.
    share = status == "ok"
    known = scored.has_region & readable
    table = pd.DataFrame(
        {
            "predicted": predicted,
            "confidence": confidence,
            "target": target,
            "invalid_activation": np.where(share, scored.invalid_activation, np.nan),
            "invalid_activation_label": np.where(share, scored_label.invalid_activation, np.nan),
            "invalid_area": np.where(known, scored.invalid_area, np.nan),
            "invalid_area_raw": np.where(known, scored.invalid_area_raw, np.nan),
            "invalid_lift": np.where(share, scored.invalid_lift, np.nan),
            "peak_invalid": np.where(share, scored.peak_invalid, np.nan),
            "status": status,
        }
    )
    # Half the bytes for what is kept of every image; the scores above are from the full precision.
    return Pass(table, maps, RegionGrid(cells.valid.astype(np.float32), cells.counted.astype(np.float32)))
