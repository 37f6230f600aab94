"""`docs/efficacy.md` and its pictures, from the results table."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import figures
import numpy as np
import pandas as pd
from figures import auroc, auroc_interval, left_out, rate

from camgate import Policy

PARTS = ["biased models blocked", "clean models blocked", "lift, biased", "lift, clean", "gap, biased"]
CHECKS = ("invalid_lift", "background_gap", "background_flips")
LIFT, GAP, FLIPS = (Policy.default().checks[name]["max"] for name in CHECKS)


def scores(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """What each rule ranks models by; higher is more suspect."""
    numbers = {name: rows[name].to_numpy(dtype=float) for name in rows.select_dtypes("number")}
    severity = rows["verdict"].map({"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}).to_numpy(dtype=float)
    lift, gap, flips = (numbers[name] for name in CHECKS)
    return {
        "camgate, verdict (then its interventions)": 100.0 * severity + np.fmax(gap / GAP, flips / FLIPS),
        "camgate, interventions only": np.fmax(gap / GAP, flips / FLIPS),
        "camgate, background gap": gap,
        "camgate, background flips": flips,
        "camgate, heatmap only (lift)": lift,
        "invalid activation": numbers["invalid_activation"],
        "peak invalid": numbers["peak_invalid"],
        "share on object (EBPG)": -numbers["share_on_object"],
        "overlap at half (rai-check-dl)": -numbers["overlap_at_half"],
        "border mass (bnnr)": numbers["border_mass"],
        "accuracy": -numbers["accuracy"],
    }


def decisions(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which models each rule blocks at its own threshold."""

    def status(column: str, *values: str) -> np.ndarray:
        return rows[column].isin(values).to_numpy()

    return {
        "camgate, default policy: not PASS": ~status("verdict", "PASS"),
        "camgate, default policy: FAIL": status("verdict", "FAIL"),
        "camgate, interventions only: FAIL": status("background_gap_status", "FAIL")
        | status("background_flips_status", "FAIL"),
        "camgate, heatmap only: lift above its limit": (rows["invalid_lift_low"] > LIFT).to_numpy(),
        "camgate, clusters alone, all annotations hidden: a fixed place": (
            rows["fixed_hidden"] > 0
        ).to_numpy(),
        "share on object below 0.5 (EBPG)": (rows["share_on_object"] < 0.5).to_numpy(),
        "overlap at half below 0.5 (rai-check-dl)": (rows["overlap_at_half"] < 0.5).to_numpy(),
        "border mass above 0.30 (bnnr)": (rows["border_mass"] > 0.30).to_numpy(),
        "accuracy below 0.85": (rows["accuracy"] < 0.85).to_numpy(),
    }


def write_page(rows: pd.DataFrame, power: pd.DataFrame, docs: Path, *, planned: int) -> Path:
    """Write the page and its pictures."""
    pictures = docs / "images"
    photographs, rows = rows[rows["network"].eq("photos")], rows[rows["network"].ne("photos")]
    scored = rows[rows["truth"].ne("between") & ~rows["inside"]]
    biased = scored["truth"].eq("biased").to_numpy()
    ranked = scores(scored)
    figures.scatter(rows, pictures)
    chosen = {name: ranked[name] for name in ranked if name not in ("invalid activation", "accuracy")}
    figures.roc(chosen, biased, pictures)
    named = rows.assign(
        model=[f"{r.network}-{r.kind}-{round(100 * r.strength):03d}-{r.seed}" for r in rows.itertuples()]
    )
    figures.power(power.merge(named.loc[scored.index, ["model", "truth"]], on="model"), pictures)
    text = "\n".join(
        [
            _head(rows, scored, biased, planned),
            _table("rule", ["AUROC [95 %]"], _aurocs(ranked, biased)),
            "![ROC](images/efficacy-roc.png)\n",
            "## Error rates at fixed thresholds\n",
            "True and false positive rates of each rule at the threshold it comes with. An accuracy gate "
            "sees nothing by construction. `not PASS` keeps a model out of the registry's alias.\n",
            _table("rule", ["TPR", "FPR"], _rates(decisions(scored), biased)),
            "## Thresholds that never saw the kind of shortcut\n",
            "For each kind of shortcut the threshold that separates the models of all other kinds best.\n",
            _table("score", ["TPR", "FPR", "thresholds"], _left_out(ranked, biased, scored)),
            "## Each kind of shortcut\n",
            _table("kind", PARTS, _by(rows, "kind")) + _never_learnt(rows),
            "## Each network\n",
            _table("network", PARTS, _by(rows[~rows["inside"]], "network")),
            "## How much reliance, how many images\n",
            _table("reliance", ["models", "FAIL", "not PASS", "gap FAIL", "lift FAIL"], _by_reliance(rows)),
            "![Power](images/efficacy-power.png)\n",
            "Decisions of each check on the pooled images alone, donors from all 400.\n",
            _clean_set(rows),
            _sanity(rows),
            _disagreement(rows),
            _photographs(photographs),
            _wrong(scored, biased),
        ]
    )
    path = docs / "efficacy.md"
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    return path


def _head(rows: pd.DataFrame, scored: pd.DataFrame, biased: np.ndarray, planned: int) -> str:
    between = int(rows["truth"].eq("between").sum())
    networks = ", ".join(f"{n} {name}" for name, n in rows["network"].value_counts().items())
    return f"""# How often the gate is right

<!-- written by benchmarks/efficacy/run.py (make bench-efficacy); do not edit -->

Models are trained on rendered scenes of an underpass in which a shortcut goes with the class in 0, 60, 90 or
100 % of the images, and audited blind by the default policy on 400 new images from the same source. Whether
a model is biased is decided by its behaviour alone: *reliance*, the accuracy where every image carries the
shortcut of its class minus that with shortcuts at random, on 2,000 pairs of scenes that differ in nothing
else. Biased: 10 points and more. Clean: 2 points and less. The {between} models in between are in the table
of results and are not scored.

Measured so far: {len(rows)} of {planned} planned models ({networks}). Shortcuts outside the object:
{int(biased.sum())} biased and {int((~biased).sum())} clean models. Intervals of rates are Clopper-Pearson's,
of AUROC a bootstrap over models. Many models share a network and a kind of shortcut, so they are less
independent than these intervals take them to be. Results: [results.csv](../benchmarks/efficacy/results.csv).

Reliance and background gap are relatives: both change the background and watch the accuracy. The gap needs no
second rendering of the same scene and knows nothing of the shortcut, but that it agrees with reliance is less
of a surprise than that heatmaps do. The row *heatmap only* is the claim under test.

![Scores against reliance](images/efficacy-reliance.png)

## Ranking
"""


def _table(head: str, columns: list[str], lines: list[tuple[str, ...]]) -> str:
    rows = [f"| {' | '.join([head, *columns])} |", f"|{'---|' * (len(columns) + 1)}"]
    return "\n".join([*rows, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def _aurocs(ranked: dict[str, np.ndarray], biased: np.ndarray) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for name, score in ranked.items():
        low, high = auroc_interval(score, biased)
        lines.append((name, f"{auroc(score, biased):.3f} [{low:.3f}, {high:.3f}]"))
    return lines


def _rates(flags: dict[str, np.ndarray], biased: np.ndarray) -> list[tuple[str, ...]]:
    return [(name, rate(flag[biased]), rate(flag[~biased])) for name, flag in flags.items()]


def _left_out(
    ranked: dict[str, np.ndarray], biased: np.ndarray, scored: pd.DataFrame
) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for name, score in ranked.items():
        flagged, limits = left_out(score, biased, scored["kind"].to_numpy())
        span = f"{min(abs(x) for x in limits):.2f} to {max(abs(x) for x in limits):.2f}"
        lines.append((name, rate(flagged[biased]), rate(flagged[~biased]), span))
    return lines


def _by(rows: pd.DataFrame, column: str) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for name, part in rows.groupby(column):
        truth = part["truth"]
        blocked = part["verdict"].ne("PASS").to_numpy()
        inside = " (inside the object)" if part["inside"].all() else ""
        lines.append(
            (
                f"{name}{inside}",
                rate(blocked[truth.eq("biased")]),
                rate(blocked[truth.eq("clean")]),
                _span(part.loc[truth.eq("biased"), "invalid_lift"]),
                _span(part.loc[truth.eq("clean"), "invalid_lift"]),
                _span(part.loc[truth.eq("biased"), "background_gap"]),
            )
        )
    return lines


def _span(values: pd.Series) -> str:
    values = values.dropna()
    return f"{values.median():.2f} ({values.min():.2f} to {values.max():.2f})" if len(values) else ""


def _by_reliance(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    outside = rows[~rows["inside"]]
    lines: list[tuple[str, ...]] = []
    edges = (-1.0, 0.02, 0.05, 0.10, 0.20, 0.40, 1.0)
    for low, high in pairwise(edges):
        part = outside[(outside["reliance"] > low) & (outside["reliance"] <= high)]
        name = f"up to {high:.2f}" if low < 0 else f"{low:.2f} to {high:.2f}"
        lines.append(
            (
                name,
                str(len(part)),
                rate(part["verdict"].eq("FAIL").to_numpy()),
                rate(part["verdict"].ne("PASS").to_numpy()),
                rate(part["background_gap_status"].eq("FAIL").to_numpy()),
                rate((part["invalid_lift_low"] > LIFT).to_numpy()),
            )
        )
    return lines


def _never_learnt(rows: pd.DataFrame) -> str:
    """Kinds that no network learnt: their rows speak of clean models alone."""
    said = []
    for kind, part in rows[rows["strength"].gt(0)].groupby("kind"):
        if not part["truth"].eq("biased").any():
            said.append(
                f"\nNo network learnt `{kind}` (reliance at most {part['reliance'].max():.3f}, planted in "
                f"{len(part)} models): that row says nothing about how well it would be caught.\n"
            )
    return "".join(said)


def _clean_set(rows: pd.DataFrame) -> str:
    """Biased models, audited where the shortcut goes with no class."""
    if "clean_set_verdict" not in rows:
        return ""
    part = rows[rows["clean_set_verdict"].notna() & ~rows["inside"]]
    lines: list[tuple[str, ...]] = []
    for truth, group in part.groupby("truth"):
        lines.append(
            (
                f"{truth} ({len(group)})",
                *(
                    _span(group[f"clean_set_{name}"])
                    for name in ("background_gap", "background_flips", "invalid_lift", "accuracy")
                ),
                rate(group["clean_set_verdict"].ne("PASS").to_numpy()),
            )
        )
    head = ["gap", "flips", "lift", "accuracy", "not PASS"]
    return (
        "## Audited on a clean set\n\n"
        "Models of 90 %, audited on 200 scenes in which the shortcut falls at random. No background speaks "
        "for a class there, so the gap is blind; the flips are not.\n\n" + _table("models", head, lines)
    )


def _sanity(rows: pd.DataFrame) -> str:
    values = rows["explainer_sanity"].dropna()
    upper = rows["explainer_sanity_high"].dropna()
    limit = Policy.default().sanity.max_similarity
    return (
        "## Explainer sanity\n\n"
        "Mean rank correlation of each model's maps with those of the same network with random weights: "
        f"median {values.median():.2f}, {values.min():.2f} to {values.max():.2f} over {len(values)} models; "
        f"the highest upper bound is {upper.max():.2f}, and {int((upper > limit).sum())} lie above the limit "
        f"of {limit:.2f}; {len(rows) - len(values)} could not be evaluated. An explainer that never looks at "
        "the model scores 1. Measured when an audit took 64 images, and BatchNorm's statistics from all at "
        "once; it takes 50 now, 25 at a time.\n"
    )


def _disagreement(rows: pd.DataFrame) -> str:
    """Which models the two kinds of evidence disagree on, and what these models are."""
    outside = rows[~rows["inside"]]
    lines = []
    for name, part in (
        ("seen_but_unused", outside[outside["invalid_lift_reason"].eq("seen_but_unused")]),
        (
            "used_but_unseen",
            outside[
                outside["background_gap_reason"].eq("used_but_unseen")
                | outside["background_flips_reason"].eq("used_but_unseen")
            ],
        ),
    ):
        counts = part["truth"].value_counts()
        lines.append(
            (f"`{name}`", *(str(int(counts.get(truth, 0))) for truth in ("biased", "between", "clean")))
        )
    return (
        "## Where heatmap and intervention disagree\n\n"
        + _table("reason", ["biased", "between", "clean"], lines)
        + "\nThe defaults of the policy's `disagreement:` section rest on this table; see "
        "[policy.md](policy.md).\n"
    )


def _photographs(rows: pd.DataFrame) -> str:
    """Small sets of real photographs: a line for each shortcut, nothing scored."""
    if rows.empty:
        return ""
    lines: list[tuple[str, ...]] = []
    for (kind, strength), part in rows.groupby(["kind", "strength"]):
        verdicts = part["verdict"].value_counts()
        lines.append(
            (
                f"{kind}, {100 * strength:.0f} %",
                _span(part["reliance"]),
                ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()),
                *(_span(part[name]) for name in ("invalid_lift", "background_gap", "background_flips")),
            )
        )
    return (
        "## Real photographs\n\n"
        "The small net on 840 windows of a fixed camera's video (a campus walkway; empty or pedestrian), "
        "audited on 280 later ones; masks by background subtraction. A timestamp, a patch or a cast is "
        "planted; `place`: nothing is planted, but the empty windows are cut where nobody ever walks. "
        "Reliance is measured on the same 280 windows, for `place` against empty windows from where people "
        "walk. Small sets: listed, not scored.\n\n"
        + _table("shortcut", ["reliance", "verdicts", "lift", "gap", "flips"], lines)
    )


def _wrong(scored: pd.DataFrame, biased: np.ndarray) -> str:
    """The single models on which the default policy is wrong."""
    blocked = scored["verdict"].ne("PASS").to_numpy()
    wrong = scored[blocked != biased].sort_values(["truth", "network", "kind"])
    lines = [
        (
            f"{r.network}, {r.kind} {100 * r.strength:.0f} %, seed {r.seed}",
            r.truth,
            f"{r.reliance:+.3f}",
            f"{r.verdict}: {r.reason}",
            f"{r.invalid_lift:.2f}",
            f"{r.background_gap:.2f} [{r.background_gap_low:.2f}, {r.background_gap_high:.2f}]",
        )
        for r in wrong.itertuples()
    ]
    head = ["truth", "reliance", "verdict", "lift", "gap"]
    return "## Models on which it is wrong\n\n" + (_table("model", head, lines) if lines else "None.\n")
