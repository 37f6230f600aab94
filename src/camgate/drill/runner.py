"""`drill`: does this gate see planted bias on my images and my network?

Mutation testing, the testing community's own measure, applied to the test that heatmaps are. Mutants of the
candidate are made, each with a shortcut of known size and place, and those that measurably rely on it are
audited blind under the same policy. Neutral mutants, with the same stamps at random, tell what the gate
blocks without reason.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from camgate._version import __version__
from camgate.audit.runner import audit, derive_seed
from camgate.data.dataset import ImageDataset
from camgate.data.manifest import audited_rows, data_digest, validate_manifest
from camgate.data.sampling import even_sample
from camgate.drill.mutants import Pictures, accuracy, refit, stamped
from camgate.drill.stamps import Stamp, apply_stamp, free_corner
from camgate.errors import InputError
from camgate.gate.drilled import BIASED, CLEAN, SPOILT, DrillResult, Mutant, Role
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.gate.verdict import Status
from camgate.models.classifier import Classifier

Progress = Callable[[str, int, int], None]

AREAS = (0.005, 0.01, 0.02, 0.05, 0.10)
LEVELS = (0.3, 0.6, 1.0)
NEUTRAL = 10
TRAIN_IMAGES, AUDIT_IMAGES, MEASURED_IMAGES = 600, 240, 1000
"""To refit on, to audit, and to measure reliance on: at most so many."""
MINUTES = 10.0


def run_drill(
    model: Classifier,
    manifest: pd.DataFrame,
    policy: Policy | Mapping[str, Any] | str | Path | None = None,
    *,
    minutes: float = MINUTES,
    seed: int | None = None,
    train_images: int = TRAIN_IMAGES,
    audit_images: int = AUDIT_IMAGES,
    progress: Progress | None = None,
) -> DrillResult:
    """Plant shortcuts in copies of a candidate, audit the copies blind, and count what the gate blocks.

    Args:
        model: the candidate; left as it was.
        manifest: its images. Mutants are refitted on rows of the split `train`, and audited on those that
            an audit takes; without training rows, on two halves of the audited rows, split by group.
        policy: the candidate's; a `Policy`, a mapping, a path, or None for the default one.
        minutes: stop making mutants after this time.
        seed: of samples, stamps and refits; None derives it from model and data.
        train_images: at most so many are used to refit, spread over the classes.
        audit_images: at most so many are audited for each mutant, spread over the classes. Reliance is
            measured on up to `MEASURED_IMAGES`.
        progress: called with (`drill`, mutants done, mutants planned).

    Returns:
        Every mutant with its reliance and verdict.

    Raises:
        InputError: too few images, or an option out of range.
        ModelError: the network cannot be copied or refitted.
        PolicyError: the policy cannot be read.
    """
    if minutes <= 0 or min(train_images, audit_images) < 2:
        raise InputError("`minutes` must be above 0, `train_images` and `audit_images` at least 2.")
    start = time.monotonic()
    terms = Policy.read(policy)
    report = progress or (lambda stage, done, total: None)
    manifest = validate_manifest(manifest, classes=model.classes)
    audited, _ = audited_rows(manifest)
    digests = model.digest(), data_digest(audited)
    seed = derive_seed(*digests) if seed is None else seed
    training, audited, warnings = _two_sets(manifest, audited, seed)
    training = training.loc[even_sample(training, most=train_images, seed=seed)]
    most = max(audit_images, MEASURED_IMAGES)
    audited = audited.loc[even_sample(audited, most=most, seed=seed)].reset_index(drop=True)
    most_faults = terms.coverage.max_unreadable
    fitted, _ = _read(model, training, most_faults)
    pictures, kept = _read(model, audited, most_faults)
    bench = _Bench(model, fitted, audited[kept].reset_index(drop=True), pictures, audit_images, terms, seed)
    plan = distinct(planned(), pictures.images.shape[1:])
    mutants: list[Mutant] = []
    report("drill", 0, len(plan))
    for number, (stamp, neutral) in enumerate(plan):
        spent = time.monotonic() - start
        if mutants and spent + spent / len(mutants) > 60 * minutes:
            left = len(plan) - len(mutants)
            warnings = (*warnings, f"The time was up: {left} of {len(plan)} mutants were not made.")
            break
        mutants.append(bench.mutant(stamp, neutral=neutral, seed=(seed + number) % 2**32))
        report("drill", len(mutants), len(plan))
    return DrillResult(
        mutants=tuple(mutants),
        model_digest=digests[0],
        data_digest=digests[1],
        policy_digest=terms.digest(),
        images=min(len(audited), audit_images),
        planned=len(plan),
        seconds=time.monotonic() - start,
        budget_seconds=60 * minutes,
        seed=seed,
        warnings=warnings,
        camgate_version=__version__,
    )


def planned() -> list[tuple[Stamp, bool]]:
    """Stamps in an order of which any beginning is a mixture, and whether each is neutral."""
    kinds = ("patch", "timestamp", "frame", "tag")
    # Middle sizes first; each kind meets each size once.
    sizes = sorted(AREAS, key=lambda area: abs(np.log(area / 0.03)))
    stamps = [
        Stamp(kind, sizes[(turn + shift) % len(sizes)])
        for turn in range(len(sizes))
        for shift, kind in enumerate(kinds)
    ]
    for turn, level in enumerate(reversed(LEVELS)):
        stamps.insert(5 * turn + 4, Stamp("cast", 1.0, level))
    neutral = [stamps[turn] for turn in np.linspace(0, len(stamps) - 1, NEUTRAL).astype(int)]
    mixed: list[tuple[Stamp, bool]] = []
    for turn, stamp in enumerate(stamps):
        mixed.append((stamp, False))
        if turn % 2 and neutral:
            mixed.append((neutral.pop(0), True))
    return [*mixed, *((stamp, True) for stamp in neutral)]


def distinct(plan: list[tuple[Stamp, bool]], shape: tuple[int, ...]) -> list[tuple[Stamp, bool]]:
    """The plan without stamps that, at so small an image, look like one before them.

    Args:
        plan: of `planned`.
        shape: `(H, W, C)` of the model's images.
    """
    canvas, valid = np.full((1, *shape), 128, dtype=np.uint8), np.zeros((1, *shape[:2]), dtype=bool)
    first: dict[tuple[bytes, bool], tuple[Stamp, bool]] = {}
    for stamp, neutral in plan:
        look = apply_stamp(stamp, canvas, valid, np.zeros(1, dtype=np.intp), corner=0, seed=0)
        first.setdefault((look.tobytes(), neutral), (stamp, neutral))
    return list(first.values())


def _two_sets(
    manifest: pd.DataFrame, audited: pd.DataFrame, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Rows to refit on, rows to audit, and what the reader must know."""
    if "split" in manifest and (training := manifest[manifest["split"].eq("train")]).size:
        return training, audited, ()
    groups = audited["group"].astype(str)
    names = np.random.default_rng(seed).permutation(groups.unique())
    half = groups.isin(names[: len(names) // 2])
    if not half.any() or half.all():
        raise InputError(
            "a drill needs training images (split `train`), or audited ones in at least two groups."
        )
    note = "No row of the split `train`: mutants were refitted on half of the audited groups."
    return audited[half], audited[~half], (note,)


def _read(model: Classifier, rows: pd.DataFrame, most: float) -> tuple[Pictures, np.ndarray]:
    """All readable images in memory, at the model's size, and which rows they are.

    Raises:
        InputError: more than the share `most` cannot be read.
    """
    dataset = ImageDataset(rows, model.preprocessing, model.classes)
    samples = [dataset[row] for row in range(len(dataset))]
    kept = np.array([sample.fault is None for sample in samples])
    if (~kept).mean() > most:
        fault = next(sample.fault for sample in samples if sample.fault is not None)
        raise InputError(f"{(~kept).sum()} of {len(samples)} images of the drill cannot be read; {fault}")
    samples = [sample for sample in samples if sample.fault is None]
    pictures = Pictures(
        np.stack([np.asarray(sample.image).transpose(1, 2, 0) for sample in samples]),
        np.stack([np.asarray(sample.region, dtype=bool) for sample in samples]),
        np.array([sample.label for sample in samples]),
    )
    return pictures, kept


class _Bench:
    """What is the same for all mutants."""

    def __init__(
        self,
        candidate: Classifier,
        training: Pictures,
        rows: pd.DataFrame,
        pictures: Pictures,
        audited: int,
        policy: Policy,
        seed: int,
    ) -> None:
        self._candidate, self._training = candidate, training
        self._rows, self._pictures, self._audited = rows, pictures, audited
        self._random = np.random.default_rng(seed).integers(len(candidate.classes), size=len(rows))
        self._accuracy = accuracy(candidate, pictures.images, pictures.labels)
        # The explainer's sanity is the candidate's own audit's business, and so are champion and data.
        self._policy = policy.model_copy(
            update={
                "sanity": policy.sanity.model_copy(update={"required": False}),
                "audit": policy.audit.model_copy(update={"data_digest": None}),
                "require_drill": False,
                "checks": {name: terms for name, terms in policy.checks.items() if name != "champion"},
            }
        )

    def mutant(self, stamp: Stamp, *, neutral: bool, seed: int) -> Mutant:
        """Make one, measure what it relies on, and audit it blind where that is clear."""
        start = time.monotonic()
        corner = free_corner(self._training.regions, stamp.area)
        own, other = (
            stamped(self._pictures, stamp, variants, corner=corner, seed=seed)
            for variants in (self._pictures.labels, self._random)
        )
        area = 1.0 if stamp.kind == "cast" else float(np.mean((own != self._pictures.images).any(axis=3)))
        facts: dict[str, Any] = {"kind": stamp.kind, "area": round(area, 4), "neutral": neutral}

        def measured(model: Classifier) -> tuple[float, float]:
            aligned, random = (accuracy(model, images, self._pictures.labels) for images in (own, other))
            return aligned, random

        def enough(model: Classifier) -> bool:
            return not neutral and _role(*measured(model), self._accuracy, neutral) == "biased"

        model = refit(
            self._candidate,
            self._training,
            stamp,
            corner=corner,
            neutral=neutral,
            seed=seed,
            enough=enough,
        )
        aligned, random = measured(model)
        role = _role(aligned, random, self._accuracy, neutral)
        if role in ("biased", "clean"):
            facts |= self._judge(model, other if neutral else own)
        return Mutant(**facts, aligned=aligned, random=random, role=role, seconds=time.monotonic() - start)

    def _judge(self, model: Classifier, images: np.ndarray) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="camgate-drill-") as folder:
            most = self._audited  # the first of an even sample are one, too
            manifest = _written(Path(folder), self._rows[:most], images[:most], self._pictures.regions[:most])
            options = self._policy.audit_options()
            result = audit(model, manifest, **options, gallery_worst=0, gallery_sample=0)
        verdict = judge(result, self._policy)
        values = {check.name: check.value for check in verdict.checks}
        return {
            "status": verdict.status,
            "reason": verdict.reason,
            "blocked_by": tuple(c.name for c in verdict.checks if c.status is not Status.PASS),
            "invalid_lift": values.get("invalid_lift"),
            "background_gap": values.get("background_gap"),
        }


def _role(aligned: float, random: float, before: float, neutral: bool) -> Role:
    if (random if neutral else aligned) < before - SPOILT:
        return "spoilt"
    if neutral:
        return "clean" if aligned - random <= CLEAN else "between"
    return "biased" if aligned - random >= BIASED else "between"


def _written(folder: Path, rows: pd.DataFrame, images: np.ndarray, regions: np.ndarray) -> pd.DataFrame:
    """The stamped images as files, for an audit that knows nothing of stamps."""
    files = []
    for number, (image, region) in enumerate(zip(images, regions, strict=True)):
        mask = folder / f"{number:05d}-mask.png"
        cv2.imwrite(str(mask), region.astype(np.uint8) * 255)
        if image.shape[2] == 3:
            file = folder / f"{number:05d}.png"
            cv2.imwrite(str(file), image[..., ::-1])
        else:
            file = folder / f"{number:05d}.npy"
            np.save(file, image)
        files.append((str(file), str(mask) if region.any() else None))
    kept = rows.drop(columns=["crop", "region_rule"], errors="ignore")
    columns = {"image": [file for file, _ in files], "region": [mask for _, mask in files]}
    return kept.assign(split="test", **{name: pd.Series(values) for name, values in columns.items()})
