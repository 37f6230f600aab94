"""Running the interventions: composites through the model, one row per prediction."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from camgate.audit.interventions import camera_medians, make_composites, pair_donors, sample_recipients
from camgate.audit.result import INTERVENTION_COLUMNS, AuditSettings
from camgate.audit.views import SwapExample, SwapExamples, small_pictures
from camgate.data.dataset import ImageDataset
from camgate.errors import ModelError
from camgate.models.classifier import Classifier

CHUNK = 64


class View(NamedTuple):
    """One image as the model sees it before normalisation.

    Attributes:
        image: uint8 `(H, W, C)`.
        region: bool `(H, W)`, the valid pixels.
        objects: bool `(H, W)`, valid and void pixels: void ones may belong to an object.
    """

    image: np.ndarray
    region: np.ndarray
    objects: np.ndarray


class Images:
    """Row number -> `View`, with a cache: a bounded piece of memory, in which a mask's pixel takes a bit."""

    def __init__(self, dataset: ImageDataset, *, most_bytes: int = 64 * 2**20) -> None:
        self._dataset = dataset
        height, width = dataset.preprocessing.size
        self._shape = height, width, dataset.preprocessing.channels
        self._pixels = height * width * dataset.preprocessing.channels
        self._mask = -(-height * width // 8)
        entry = self._pixels + 2 * self._mask
        self._held = np.empty((max(1, min(len(dataset), most_bytes // entry)), entry), dtype=np.uint8)
        self._places: OrderedDict[int, int] = OrderedDict()

    def __call__(self, row: int) -> View:
        """The image of that row of the dataset."""
        if row not in self._places:
            self._keep(row)
        self._places.move_to_end(row)
        image, region, objects = np.split(
            self._held[self._places[row]], [self._pixels, self._pixels + self._mask]
        )
        return View(image.reshape(self._shape).copy(), self._unpacked(region), self._unpacked(objects))

    def _keep(self, row: int) -> None:
        sample = self._dataset[row]
        image = np.asarray(sample.image).transpose(1, 2, 0)
        region = np.asarray(sample.region).astype(bool)
        objects = region if sample.void is None else region | np.asarray(sample.void)
        full = len(self._places) == len(self._held)
        place = self._places.popitem(last=False)[1] if full else len(self._places)
        self._held[place] = np.concatenate([image.ravel(), np.packbits(region), np.packbits(objects)])
        self._places[row] = place

    def _unpacked(self, mask: np.ndarray) -> np.ndarray:
        height, width, _ = self._shape
        return np.unpackbits(mask, count=height * width).view(bool).reshape(height, width)


def run_interventions(
    model: Classifier,
    images: Images,
    rows: pd.DataFrame,
    scores: pd.DataFrame,
    region_free: tuple[str, ...],
    settings: AuditSettings,
    report: Callable[[str, int, int], None],
) -> tuple[pd.DataFrame, tuple[SwapExample, ...], tuple[str, ...]]:
    """Predict every recipient as it is and on swapped backgrounds.

    Args:
        model: the classifier.
        images: access by row number.
        rows: the audited manifest rows.
        scores: their scores, in the same order.
        region_free: classes without objects, replaced as a whole.
        settings: draws, fill, margin, match_on, seed, cap.
        report: progress.

    Returns:
        The table (`INTERVENTION_COLUMNS`), a few examples for the eye, and warnings for the reader.
    """
    labels = scores["label"].to_numpy().astype(str)
    groups = scores["group"].to_numpy().astype(str)
    status = scores["status"].to_numpy().astype(str)
    usable = (status != "unreadable") & ((status != "no_region") | np.isin(labels, region_free))
    strata = None
    if settings.match_on:
        strata = rows[list(settings.match_on)].astype(str).agg("\x1f".join, axis=1).to_numpy()
    recipients = sample_recipients(
        np.flatnonzero(usable), labels, groups, most=settings.max_interventions, seed=settings.seed
    )
    pairings, left_out = pair_donors(
        labels, groups, usable, recipients, draws=settings.draws, strata=strata, seed=settings.seed
    )
    notes: tuple[str, ...] = ()
    if left_out:
        notes = (
            f"{left_out} of {len(recipients)} images had no donor outside their own group and were not "
            "tested by swapping backgrounds.",
        )
    medians = {}
    cameras = rows["camera"].astype(str).to_numpy() if "camera" in rows else np.full(len(rows), "")
    if settings.fill == "median":
        medians = camera_medians(lambda row: images(row).image, np.where(usable, cameras, "\x00"))
        if "camera" not in rows:
            notes = (
                *notes,
                "fill=median with no `camera` column: all images are taken to be of one camera.",
            )

    tested = sorted({pairing.recipient for pairing in pairings})
    ids = scores["image_id"].to_numpy().astype(str)
    records: list[tuple[str, str, int, str | None, str, float]] = []
    pending: list[tuple[int, str, int, str | None, np.ndarray]] = []
    examples = SwapExamples(settings.seed)
    originals: dict[int, tuple[str, float]] = {}
    total = len(tested) + 2 * len(pairings)

    def flush() -> None:
        if not pending:
            return
        batch = torch.from_numpy(np.stack([entry[4] for entry in pending])).permute(0, 3, 1, 2)
        probabilities = model.probabilities(batch, batch_size=CHUNK)
        if not np.isfinite(probabilities).all():
            raise ModelError("the model gives NaN or infinite outputs on images with swapped backgrounds.")
        for (row, arm, draw, donor, _), probability in zip(pending, probabilities, strict=True):
            target = model.classes.index(labels[row])
            answer = model.classes[int(probability.argmax())], float(probability[target])
            records.append((ids[row], arm, draw, donor, *answer))
            if arm == "original":
                originals[row] = answer
        for position, (row, arm, draw, _, _) in enumerate(pending):
            if arm == "other_class" and draw == 0:
                offer(row, len(records) - len(pending) + position, position)
        pending.clear()
        report("interventions", len(records), total)

    def offer(row: int, record: int, position: int) -> None:
        """The two composites of a pairing lie side by side."""
        same, other = records[record - 1], records[record]

        def make() -> SwapExample:
            return SwapExample(
                image_id=ids[row],
                label=labels[row],
                kind="sample",
                donors=(str(same[3]), str(other[3])),
                predicted=(originals[row][0], same[4], other[4]),
                probability=(originals[row][1], same[5], other[5]),
                pictures=small_pictures(images(row).image, pending[position - 1][4], pending[position][4]),
            )

        examples.see(make, same[5] - other[5])

    report("interventions", 0, total)
    for row in tested:
        pending.append((row, "original", 0, None, images(row).image))
        if len(pending) >= CHUNK:
            flush()
    bare = np.isin(labels, region_free)

    def load(row: int) -> tuple[np.ndarray, np.ndarray]:
        view = images(row)
        return view.image, np.zeros_like(view.region) if bare[row] else view.objects  # a speck is no object

    composites = make_composites(
        sorted(pairings, key=lambda pairing: (pairing.recipient, pairing.draw)),
        load,
        margin=settings.margin,
        median_of=lambda row: medians.get(cameras[row]),
    )
    for pairing, same, other in composites:
        pending.append((pairing.recipient, "same_class", pairing.draw, ids[pairing.same], same))
        pending.append((pairing.recipient, "other_class", pairing.draw, ids[pairing.other], other))
        if len(pending) >= CHUNK:
            flush()
    flush()
    table = pd.DataFrame(records, columns=list(INTERVENTION_COLUMNS))
    table = table.astype({"draw": "int64", "target_probability": "float64"})
    return table, examples.kept(), notes
