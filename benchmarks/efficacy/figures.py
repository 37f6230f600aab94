"""Error rates with their intervals, and the pictures of them."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy.stats import rankdata

from camgate.gate.drilled import exact

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"clean": "#2a7", "between": "#999", "biased": "#c33"}


def auroc(score: np.ndarray, biased: np.ndarray) -> float:
    """Probability that a biased model scores above a clean one, ties half; NaN with one kind only."""
    score, biased = np.asarray(score, dtype=float), np.asarray(biased, dtype=bool)
    known = np.isfinite(score)
    score, biased = score[known], biased[known]
    if biased.all() or not biased.any():
        return float("nan")
    ranks = rankdata(score)
    positives, negatives = biased.sum(), (~biased).sum()
    return float((ranks[biased].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auroc_interval(score: np.ndarray, biased: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap over models, biased and clean ones apart."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(biased), np.flatnonzero(~biased)]
    draws = [np.concatenate([rng.choice(rows, len(rows)) for rows in groups]) for _ in range(2000)]
    values = [auroc(score[draw], biased[draw]) for draw in draws]
    return float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5))


def rate(hits: np.ndarray) -> str:
    """`0.97 [0.90, 1.00] (60 of 62)`, interval of Clopper and Pearson."""
    n, count = len(hits), int(np.sum(hits))
    if not n:
        return "none"
    low, high = exact(count, n)
    return f"{count / n:.2f} [{low:.2f}, {high:.2f}] ({count} of {n})"


def left_out(score: np.ndarray, biased: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Decisions at thresholds that never saw the model's own kind of shortcut.

    For each kind the threshold that best separates the other kinds (highest TPR minus FPR, the middle of
    the best stretch).

    Returns:
        bool `(n,)`, flagged; and the thresholds.
    """
    flagged, limits = np.zeros(len(score), dtype=bool), []
    for kind in np.unique(kinds):
        others = (kinds != kind) & np.isfinite(score)
        candidates = np.unique(score[others])
        middles = (candidates[1:] + candidates[:-1]) / 2
        gain = [
            np.mean(score[others & biased] > limit) - np.mean(score[others & ~biased] > limit)
            for limit in middles
        ]
        best = middles[np.isclose(gain, np.max(gain))]
        limits.append(float(np.median(best)))
        flagged[kinds == kind] = score[kinds == kind] > limits[-1]
    return flagged, limits


def scatter(rows: pd.DataFrame, folder: Path) -> None:
    """Lift and gap against what the model really relies on."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    markers = {"small": "o", "vit": "^", "shufflenet": "s", "lite0": "D"}
    for axis, column, limit, title in (
        (axes[0], "invalid_lift", 0.40, "invalid lift"),
        (axes[1], "background_gap", 0.10, "background gap"),
    ):
        for network, inside in rows.groupby("network"):
            for truth, part in inside.groupby("truth"):
                hidden = part["inside"]
                for chosen, face in ((part[~hidden], COLOURS[truth]), (part[hidden], "none")):
                    axis.scatter(
                        chosen["reliance"],
                        chosen[column],
                        marker=markers.get(network, "v"),
                        facecolors=face,
                        edgecolors=COLOURS[truth],
                        s=26,
                        linewidths=1,
                    )
        axis.axhline(limit, color="#444", linewidth=1, linestyle="--")
        axis.set(xlabel="reliance on the shortcut (accuracy)", ylabel=title)
    for network, marker in markers.items():
        if network in set(rows["network"]):
            axes[0].scatter([], [], marker=marker, color="#444", label=network)
    axes[0].scatter([], [], marker="o", facecolors="none", edgecolors="#444", label="inside the object")
    axes[0].legend(fontsize=8, frameon=False)
    _save(figure, folder / "efficacy-reliance.png")


def roc(curves: dict[str, np.ndarray], biased: np.ndarray, folder: Path) -> None:
    """ROC of each score."""
    figure, axis = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
    for name, score in curves.items():
        known = np.isfinite(score)
        limits = np.concatenate([[np.inf], np.sort(score[known])[::-1]])
        tpr = [np.mean(score[known & biased] >= limit) for limit in limits]
        fpr = [np.mean(score[known & ~biased] >= limit) for limit in limits]
        axis.plot(fpr, tpr, label=f"{name} ({auroc(score, biased):.2f})", linewidth=1.5)
    axis.plot([0, 1], [0, 1], color="#bbb", linewidth=1)
    axis.set(xlabel="false positive rate", ylabel="true positive rate")
    axis.legend(fontsize=7, frameon=False, loc="lower right")
    _save(figure, folder / "efficacy-roc.png")


def power(table: pd.DataFrame, folder: Path) -> None:
    """Share of models that fail or do not pass, against the number of audited images."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    for axis, (check, part) in zip(axes, table.groupby("check"), strict=False):
        for truth in ("biased", "clean"):
            chosen = part[part["truth"].eq(truth)]
            for status, style in ((("FAIL",), "-"), (("FAIL", "INCONCLUSIVE"), ":")):
                share = chosen["status"].isin(status).groupby(chosen["images"]).mean()
                what = "fail" if len(status) == 1 else "do not pass"
                axis.plot(
                    share.index, share, style, color=COLOURS[truth], label=f"{truth} models that {what}"
                )
        axis.set(xlabel="audited images", title=str(check).replace("_", " "), xscale="log")
        axis.minorticks_off()
        axis.set_xticks([25, 50, 100, 200, 400], labels=["25", "50", "100", "200", "400"])
    axes[0].set_ylabel("share of models")
    axes[0].legend(fontsize=7, frameon=False)
    _save(figure, folder / "efficacy-power.png")


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
