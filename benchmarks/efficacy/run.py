"""The shortcut zoo: train models with planted shortcuts, audit them blind, say how often the gate is right.

    python benchmarks/efficacy/run.py [train] [audit] [report] [--subset] [--out build/efficacy] [--jobs 2]
        [--video vtest.avi]

Every model has a folder of its own below `--out`; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2
import torch
from audits import audit_clean_set, audit_one
from collect import collect
from networks import ViT  # noqa: F401  (registers it)
from page import write_page
from photos import cut_photos
from zoo import Entry, measure, plan, train

from camgate.scenes.walkway import DEBIAN, find_video


def train_group(entries: list[Entry], out: Path) -> None:
    """Train and measure models that share their scenes, unless that is done."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for entry in entries:
        if not (out / entry.name / "truth.json").is_file():
            train_one(entry, out)


def train_one(entry: Entry, out: Path) -> None:
    """Train and measure one model."""
    folder = out / entry.name
    start = time.monotonic()
    classifier = train(entry, out=out)
    truth = measure(classifier, entry, out=out)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model").exists():
        classifier.save(folder / "model")
    facts = {**asdict(entry), **asdict(truth), "seconds": round(time.monotonic() - start, 1)}
    scratch = folder / "truth.json.part"
    scratch.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    scratch.rename(folder / "truth.json")
    print(
        f"{entry.name}: accuracy {truth.aligned:.3f}, reliance {truth.reliance:+.3f}, {facts['seconds']} s",
        flush=True,
    )


def audit_next(entry: Entry, out: Path) -> None:
    """Audit a trained model, unless that is done."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    folder = out / entry.name
    if (folder / "truth.json").is_file() and not (folder / "peers.json").is_file():
        shutil.rmtree(folder / "audit", ignore_errors=True)
        audit_one(entry, out)
        print(f"{entry.name}: audited", flush=True)
    kept = (entry.network, entry.strength) == ("small", 0.9) and entry.seed < 2
    if kept and (folder / "truth.json").is_file() and not (folder / "clean_set.json").is_file():
        audit_clean_set(entry, out)
        print(f"{entry.name}: audited on a clean set", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stages", nargs="*", default=["train", "audit", "report"])
    parser.add_argument("--subset", action="store_true", help="a few small models")
    parser.add_argument("--out", type=Path, default=Path("build/efficacy"))
    parser.add_argument("--jobs", type=int, default=max(1, os.cpu_count() or 1))
    parser.add_argument("--video", type=Path, help="OpenCV's vtest.avi, for the real photographs")
    options = parser.parse_args()
    entries = plan(subset=options.subset)
    photographs = find_video(options.video) if options.video or DEBIAN.is_file() else None
    if photographs is None:
        entries = [entry for entry in entries if not entry.photos]
    elif not options.subset:
        cut_photos(photographs, options.out)
    if "train" in options.stages:
        groups: dict[tuple[str, str, int], list[Entry]] = defaultdict(list)
        for entry in entries:
            groups[entry.network, entry.kind, entry.seed].append(entry)
        with ProcessPoolExecutor(options.jobs) as pool:
            for future in [pool.submit(train_group, group, options.out) for group in groups.values()]:
                future.result()
    if "audit" in options.stages:
        with ProcessPoolExecutor(options.jobs) as pool:
            for future in [pool.submit(audit_next, entry, options.out) for entry in entries]:
                future.result()
    if "report" in options.stages:
        rows, power = collect(entries, options.out)
        if options.subset:
            print(rows[["kind", "strength", "reliance", "truth", "verdict", "reason"]].to_string(index=False))
            return
        here = Path(__file__).parent
        rows.to_csv(here / "results.csv", index=False)
        power.to_csv(here / "power.csv", index=False)
        print(write_page(rows, power, here.parents[1] / "docs", planned=len(entries)))


if __name__ == "__main__":
    main()
