"""One row a model: what it really relies on, what the audit measured, what each rule says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from zoo import Entry

from camgate import AuditResult, Policy, judge
from camgate.audit.clusters import clusters_of
from camgate.audit.summary import Composites, Measures, background_gap, summarise
from camgate.gate.measure import decide

BIASED, CLEAN = 0.10, 0.02
SIZES = (25, 50, 100, 200, 400)


def collect(entries: Iterable[Entry], out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of all audited models, and what the two checks say on fewer images."""
    rows, power = [], []
    for entry in entries:
        folder = out / entry.name
        if (folder / "peers.json").is_file():
            result = AuditResult.load(folder / "audit")
            truth, peers = (json.loads((folder / f"{name}.json").read_text()) for name in ("truth", "peers"))
            rows.append(_row(entry, result, truth, peers) | _hidden(folder, result) | _clean_set(folder))
            power += _on_fewer_images(entry, result)
            print(f"{entry.name}: {rows[-1]['verdict']}, reliance {rows[-1]['reliance']:+.3f}", flush=True)
    return pd.DataFrame(rows), pd.DataFrame(power)


def _row(entry: Entry, result: AuditResult, truth: dict[str, Any], peers: dict[str, Any]) -> dict[str, Any]:
    verdict = judge(result, Policy.default())
    numbers = summarise(result)
    gap = background_gap(result)
    reliance = truth["aligned"] - truth["random"]
    row: dict[str, Any] = {
        "network": entry.network,
        "kind": entry.kind,
        "inside": entry.inside,
        "strength": entry.strength,
        "seed": entry.seed,
        "aligned": truth["aligned"],
        "random": truth["random"],
        "reliance": reliance,
        "truth": "biased" if reliance >= BIASED else "clean" if reliance <= CLEAN else "between",
        "verdict": verdict.status.value,
        "reason": verdict.reason,
        "layer": result.settings.target_layer,
        "cells": result.settings.map_size[0],
        "scored": numbers["n_scored"] / numbers["n"],
    }
    for name in ("accuracy", "invalid_lift", "background_gap", "background_flips", "explainer_sanity"):
        check = verdict.check(name)
        if check is not None:
            row |= {name: check.value, f"{name}_low": check.low, f"{name}_high": check.high}
            row[f"{name}_status"] = check.status.value
            row[f"{name}_reason"] = check.reason
    row |= {
        "invalid_activation": numbers.get("invalid_activation_label_mean"),
        "peak_invalid": numbers.get("peak_invalid_rate"),
        "gap_probability": None if gap is None else gap.probability.value,
        "donor_flips": None if gap is None else gap.donor_flips.value,
        "composite_damage": None if gap is None else gap.damage,
        **{name: peers[name] for name in ("share_on_object", "overlap_at_half", "border_mass")},
        "audit_seconds": peers["seconds"],
    }
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def _clean_set(folder: Path) -> dict[str, Any]:
    """What an audit on scenes with shortcuts at random said, where one was made."""
    file = folder / "clean_set.json"
    facts = json.loads(file.read_text()) if file.is_file() else {}
    return {f"clean_set_{name}": value for name, value in facts.items()}


def _hidden(folder: Path, result: AuditResult) -> dict[str, Any]:
    """Fixed places that the clusters of the same heatmaps show without a single annotation."""
    with np.load(folder / "maps.npz") as held:
        found = clusters_of(result.scores, held["maps"], None, tolerance=1, seed=result.settings.seed)
    return {"fixed_hidden": len(found.findings)}


def _on_fewer_images(entry: Entry, result: AuditResult) -> list[dict[str, Any]]:
    """Pooled decisions of the two checks on an even sample of the recipients; donors from all images."""
    limits = Policy.default().checks
    measures, composites = Measures(result), Composites(result)
    order = np.random.default_rng(entry.seed).permutation(len(result.scores))
    found = []
    for size in SIZES:
        rows = np.sort(order[:size])
        gap = composites.sample(rows)
        for check, sample in (("invalid_lift", measures.lift(rows)), ("background_gap", gap)):
            if sample is not None:
                status, _ = decide(sample.at(0.95), limits[check]["max"], smaller=True)
                found.append({"model": entry.name, "images": size, "check": check, "status": status.value})
    return found
