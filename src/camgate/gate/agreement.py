"""How the two kinds of evidence bear on each other: a sane explainer, and heatmap against intervention."""

from __future__ import annotations

from camgate.errors import some_of
from camgate.gate.measure import CHECKS, Context
from camgate.gate.verdict import CheckResult, Status

SWAPS = ("background_gap", "background_flips")
"""Checks that swap the invalid pixels and watch the prediction."""
SHARES = ("invalid_lift", "invalid_activation", "peak_invalid")
"""Checks that say whether heatmaps lie on invalid pixels."""

_PERHAPS = ("straddles_limit", "critical_class")
"""Reasons of a share check that is INCONCLUSIVE because heatmaps may lie on invalid pixels, or may not."""
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
            f"limit {limit:.2f}){_elsewhere(context)}"
        ),
        value=found.similarity,
        low=found.low,
        high=found.high,
        limit=limit,
        n=found.images,
        groups=len(found.per_seed),
    )


def _elsewhere(context: Context) -> str:
    """Says so where another layer was tested than the audited one, whose maps random weights leave dead."""
    found, audited = context.result.sanity, context.result.settings.target_layer
    if found is None or not found.layer or found.layer == audited:
        return ""
    return f"; tested at layer {found.layer}, as random weights leave the maps of {audited} dead"


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
    used = [check for check in swaps if check.status is Status.FAIL]
    if swaps and all(check.status is Status.PASS for check in swaps):
        return [
            _unless_used(check, swaps, terms.seen_but_unused) if check in shares else check
            for check in checks
        ]
    if used and shares and all(check.status is Status.PASS for check in shares):
        note = "; yet the heatmaps lie on the object: used but not seen"
        return [
            _relabelled(check, "used_but_unseen", terms.used_but_unseen, note) if check in used else check
            for check in checks
        ]
    return checks


def _unless_used(share: CheckResult, swaps: list[CheckResult], outcome: str) -> CheckResult:
    """What heatmaps on invalid pixels mean where swapping these pixels changes nothing.

    Where that passes, so does what is only perhaps seen: clearer heatmaps cannot make a better verdict. It
    must hold in each class and slice in which the heatmaps fail, not merely in all together.
    """
    perhaps = outcome == "pass" and share.reason in _PERHAPS
    if share.status is not Status.FAIL and not perhaps:
        return share
    failing = {finding.part for finding in share.parts if finding.status is Status.FAIL}
    shown = [{finding.part for finding in swap.parts if finding.status is Status.PASS} for swap in swaps]
    if all(failing <= passed for passed in shown):
        note = "; yet swapping these pixels changes nothing: seen but not used"
        return _relabelled(share, "seen_but_unused", outcome, note)
    if outcome == "fail":
        return share
    open_parts = some_of(sorted(failing - set[str].intersection(*shown)), 3)
    note = f"; swapping these pixels changes nothing overall, which is not shown for {open_parts}"
    return _relabelled(share, "use_undecided", "inconclusive", note)


def _relabelled(check: CheckResult, reason: str, outcome: str, note: str) -> CheckResult:
    return check.model_copy(
        update={"status": _STATUS[outcome], "reason": reason, "message": check.message + note}
    )


def _of_heatmap(name: str, context: Context) -> bool:
    """A comparison with the champion is heatmap evidence only where heatmaps are compared."""
    if name == "champion" and (context.policy.checks[name] or {}).get("max") is None:
        return False
    return name in CHECKS and CHECKS[name].evidence == "heatmap"
