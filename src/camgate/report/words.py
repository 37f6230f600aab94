"""Checks, reason codes and statuses in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from camgate.gate.verdict import Status

Unit = Literal["percent", "points", "ratio", "number"]

MEANING = {
    Status.PASS: "As far as this audit can see, the model decides on valid pixels.",
    Status.FAIL: "The evidence is strong enough to say that the model breaks a limit of the policy.",
    Status.INCONCLUSIVE: "The evidence does not decide. A gate that cannot decide does not pass.",
    Status.ERROR: "The audit or the policy is not in order, so nothing can be concluded.",
}

ON_BLOCK = {
    "fail": "By the policy, the pipeline run ends as failed.",
    "warn": "By the policy, the pipeline run goes on with a warning; the model is not promoted.",
}

REASONS = {
    "ok": "within the limit",
    "above_limit": "the whole interval lies above the limit",
    "below_limit": "the whole interval lies below the limit",
    "straddles_limit": "the interval spans the limit: more images would decide",
    "too_small": "too few images or groups to judge it alone: only the pooled value decides",
    "critical_class": "not shown for a class that the policy calls critical",
    "too_few_images": "fewer images than the policy asks for",
    "too_few_groups": "fewer independent groups than the policy asks for",
    "low_coverage": "too few images could be scored",
    "unreadable_images": "too many images could not be read",
    "dead_maps": "too many heatmaps are all zero",
    "composite_damage": "compositing itself breaks the model",
    "strongly_negative_gap": "accuracy is higher on backgrounds of another class",
    "settings_differ": "the audit was not made as the policy asks",
    "missing_class": "a class has no audited image",
    "missing_region": "a class has no valid region and is not declared region-free",
    "check_raised": "the check itself broke",
    "no_interventions": "no background was swapped",
    "not_measured": "nothing was measured",
    "no_checks": "the policy configures no check",
    "seen_but_unused": "heatmaps light up outside the object, but the decision does not depend on it",
    "use_undecided": "heatmaps of a class light up outside the object; too few swaps show whether it matters",
    "explainer_not_sane": "heatmaps of the untrained network look alike, so heatmaps decide nothing here",
    "gate_blind": "too few planted shortcuts were blocked for a PASS to mean much",
    "too_few_mutants": "too few mutants relied on what was planted in them",
    "fixed_place": "heatmaps of many images stay in one place, as overlays do and objects do not",
    "used_but_unseen": "the decision depends on the background, but the heatmaps do not show it",
}

PART_REASONS = {
    "above_limit": "the whole interval of a class or slice lies above the limit",
    "below_limit": "the whole interval of a class or slice lies below the limit",
}


@dataclass(frozen=True)
class CheckWords:
    """How a check is spoken of.

    Attributes:
        title: its name for people.
        asks: the question it answers.
        unit: of its value.
    """

    title: str
    asks: str
    unit: Unit


_CHECKS = {
    "audit_settings": CheckWords("Audit settings", "Was the audit made as the policy asks?", "number"),
    "coverage": CheckWords("Coverage", "Could enough images be scored?", "percent"),
    "accuracy": CheckWords("Accuracy", "Is the model good enough to be worth judging?", "percent"),
    "invalid_activation": CheckWords(
        "Invalid activation", "How much of the heat for the label lies outside the object?", "percent"
    ),
    "invalid_lift": CheckWords(
        "Invalid lift", "Invalid activation over that of a map that ignores the object (1 is blind).", "ratio"
    ),
    "peak_invalid": CheckWords("Peak invalid", "How many maps peak outside the object?", "percent"),
    "background_gap": CheckWords(
        "Background gap", "What does accuracy lose when the background is another class's?", "points"
    ),
    "background_flips": CheckWords(
        "Background flips", "How often does another background change the prediction?", "percent"
    ),
    "fixed_place": CheckWords("Fixed place", "Do heatmaps of many images never move?", "number"),
    "explainer_sanity": CheckWords(
        "Explainer sanity", "Do heatmaps change when all weights are random? (rank correlation)", "ratio"
    ),
    "drill": CheckWords("Drill", "How many shortcuts planted in copies of the model are blocked?", "percent"),
    "champion": CheckWords("Against the champion", "Is it more biased than the model in use?", "points"),
}

BASELINES = {
    "uniform": ("uniform map", "a map that is the same everywhere"),
    "centre": ("centre map", "a Gaussian in the middle of the frame"),
    "shuffled": ("shuffled region", "the model's own maps against another image's region"),
}

ARMS = {
    "original": "untouched image",
    "same_class": "background of the same class",
    "other_class": "background of another class",
}

IMAGE_STATES = {
    "ok": ("scored", "the heatmap was held against the valid region"),
    "unreadable": ("unreadable", "the file could not be decoded"),
    "no_region": ("no valid region", "no object, so no share is computed"),
    "below_resolution": ("too small", "the valid region is smaller than one cell of the map"),
    "dead_map": ("dead map", "the heatmap is all zero or not a number"),
}

BLIND_SPOTS = (
    ("Inside the object", "Bias on the object itself, or in its halo within the tolerance of the map."),
    ("Evidence against a class", "The ReLU of the heatmap drops what speaks against a class."),
    ("Absent shortcuts", "A shortcut that does not occur in the audited images."),
)


def check_words(name: str) -> CheckWords:
    """Words of a check; an unknown one goes by its own name."""
    return _CHECKS.get(name, CheckWords(name.replace("_", " "), "", "number"))


def reason_in_words(code: str) -> str:
    """A reason code in plain words; an unknown one as it is."""
    return REASONS.get(code, code)
