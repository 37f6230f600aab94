"""How the two kinds of evidence bear on each other: a sane explainer, and heatmap against intervention."""

from __future__ import annotations

from camgate.gate.measure import CHECKS, Context
from camgate.gate.verdict import CheckResult, Status

SWAPS = ("background_gap", "background_flips")
"""Checks that swap the invalid pixels and watch the prediction."""
SHARES = ("invalid_lift", "invalid_activation", "peak_invalid")
"""Checks that say whether heatmaps lie on invalid pixels."""

_STATUS = {"fail": Status.FAIL, "inconclusive": Status.INCONCLUSIVE, "pass": Status.PASS}
_WHY = {
    "too_few_images": "fewer than 50 images have a map",
    "dead_maps": "the randomised network's maps are dead",
    "not_possible": "the network could not be copied or explained with random weights",
}


def explainer_sanity(context: Context) -> CheckResult | None:
    """Whether heatmap checks may decide; None where the policy does not ask, or has no such check."""
    terms = context.policy.sanity
    if not terms.required or not any(_of_heatmap(name, context) for name in context.policy.checks):
        return None
    found, limit = context.result.sanity, terms.max_similarity
    name = "explainer_sanity"
    if found is None:
        return CheckResult(
            name=name,
            status=Status.ERROR,
            reason="settings_differ",
            message="the audit was made without the explainer's sanity check, the policy asks for it",
            limit=limit,
        )
    if found.similarity is None or found.high is None:
        return CheckResult(
            name=name,
            status=Status.INCONCLUSIVE,
            reason="not_measured",
            message=f"the explainer's sanity could not be tested: {_WHY.get(found.reason, found.reason)}",
            limit=limit,
            n=found.images,
        )
    sane = found.high <= limit
    return CheckResult(
        name=name,
        status=Status.PASS if sane else Status.INCONCLUSIVE,
        reason="ok" if sane else "explainer_not_sane",
        message=(
            f"heatmaps of the network with random weights {'do not ' if sane else ''}resemble the model's "
            f"(rank correlation {found.similarity:.2f}, 95 % interval {found.low:.2f} to {found.high:.2f}, "
            f"limit {limit:.2f})"
        ),
        value=found.similarity,
        low=found.low,
        high=found.high,
        limit=limit,
        n=found.images,
        groups=len(found.per_seed),
    )


def without_heatmaps(checks: list[CheckResult], context: Context) -> list[CheckResult]:
    """Heatmap checks that answered become INCONCLUSIVE: the explainer is not known to be sane."""
    return [
        check.model_copy(
            update={
                "status": Status.INCONCLUSIVE,
                "reason": "explainer_not_sane",
                "message": f"{check.message}; the explainer is not known to be sane, so this decides nothing",
            }
        )
        if _of_heatmap(check.name, context) and check.status is not Status.ERROR
        else check
        for check in checks
    ]


def settle(checks: list[CheckResult], context: Context) -> list[CheckResult]:
    """Where heatmap and intervention contradict each other, say so, and let the policy decide."""
    terms = context.policy.disagreement
    shares, swaps = ([check for check in checks if check.name in names] for names in (SHARES, SWAPS))
    seen = [check for check in shares if check.status is Status.FAIL]
    used = [check.name for check in swaps if check.status is Status.FAIL]
    if seen and swaps and all(check.status is Status.PASS for check in swaps):
        names = [check.name for check in seen if all(_unused(check, swap) for swap in swaps)]
        note = "; yet swapping these pixels changes nothing: seen but not used"
        return _relabelled(checks, names, "seen_but_unused", terms.seen_but_unused, note)
    if used and shares and all(check.status is Status.PASS for check in shares):
        note = "; yet the heatmaps lie on the object: used but not seen"
        return _relabelled(checks, used, "used_but_unseen", terms.used_but_unseen, note)
    return checks


def _unused(seen: CheckResult, swap: CheckResult) -> bool:
    """Whether each part in which heatmaps lie on invalid pixels passes the swap, not merely the whole."""
    passed = {finding.part for finding in swap.parts if finding.status is Status.PASS}
    return {finding.part for finding in seen.parts if finding.status is Status.FAIL} <= passed


def _relabelled(
    checks: list[CheckResult], names: list[str], reason: str, outcome: str, note: str
) -> list[CheckResult]:
    return [
        check.model_copy(
            update={"status": _STATUS[outcome], "reason": reason, "message": check.message + note}
        )
        if check.name in names
        else check
        for check in checks
    ]


def _of_heatmap(name: str, context: Context) -> bool:
    """A comparison with the champion is heatmap evidence only where heatmaps are compared."""
    if name == "champion" and (context.policy.checks[name] or {}).get("max") is None:
        return False
    return name in CHECKS and CHECKS[name].evidence == "heatmap"
