"""`judge`: an audit and a policy in, a verdict out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from camgate._version import __version__
from camgate.audit.result import AuditResult
from camgate.audit.runner import derive_seed
from camgate.errors import some_of
from camgate.gate.agreement import explainer_sanity, settle, without_heatmaps
from camgate.gate.drilled import DrillResult, drilled
from camgate.gate.measure import CHECKS, Context, NoRival
from camgate.gate.policy import Policy
from camgate.gate.verdict import CheckResult, Status, Verdict, gravest
from camgate.heatmaps.names import gating_names, may_gate

_OPENING = {
    Status.PASS: "Passed",
    Status.FAIL: "Blocked",
    Status.INCONCLUSIVE: "Not decided",
    Status.ERROR: "Error",
}
OPENINGS = tuple(f"{word}: " for word in _OPENING.values())
"""How the sentence of a verdict begins."""


def judge(
    result: AuditResult,
    policy: Policy | Mapping[str, Any] | str | Path | None = None,
    *,
    champion: AuditResult | NoRival | None = None,
    drill: DrillResult | None = None,
) -> Verdict:
    """Hold an audit against a policy.

    Args:
        result: the audit.
        policy: a `Policy`, a mapping, or the path of a YAML file; None takes the default policy.
        champion: audit of today's champion on the same images, for the check `champion`; or why there is
            none: without a champion the comparison is left out and the absolute limits decide.
        drill: what a drill with this model and policy found, where the policy requires one.

    Returns:
        The verdict. It is ERROR when a check raised, when no check is configured, or when the audit was
        not made as the policy's `audit:` section asks; else FAIL if any check fails; else INCONCLUSIVE
        if any is; else PASS. Heatmap checks are INCONCLUSIVE where the explainer is not sane, and where
        heatmap and intervention contradict each other the policy's `disagreement:` section decides.

    Raises:
        PolicyError: the policy cannot be read.
    """
    policy = Policy.read(policy)
    context = Context(result, policy, champion)
    checks = [_run(name, context) for name in policy.checks]
    sanity = explainer_sanity(context)
    if sanity is not None and sanity.status is not Status.PASS:
        checks = without_heatmaps(checks, context)
    shown = drilled(context, drill)
    checks = [
        _settings(context),
        _coverage(context),
        *([] if sanity is None else [sanity]),
        *settle(checks, context),
        *([] if shown is None else [shown]),
    ]
    if not policy.checks:
        checks.append(
            CheckResult(
                name="checks",
                status=Status.ERROR,
                reason="no_checks",
                message="the policy configures no check, so nothing can pass",
            )
        )
    status = gravest(check.status for check in checks)
    deciding = [check for check in checks if check.status is status]
    return Verdict(
        status=status,
        reason="ok" if status is Status.PASS else deciding[0].reason,
        sentence=_sentence(status, deciding),
        checks=tuple(checks),
        policy_digest=policy.digest(),
        model_digest=result.model_digest,
        data_digest=result.data_digest,
        settings=result.settings.model_dump(mode="json"),
        on_block=policy.on_block,
        max_evidence_days=policy.max_evidence_days,
        waivers=policy.waivers,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        camgate_version=__version__,
    )


def _sentence(status: Status, deciding: list[CheckResult]) -> str:
    measured = [check for check in deciding if check.value is not None] or deciding
    chosen = measured if status in (Status.PASS, Status.FAIL) else deciding
    return f"{_OPENING[status]}: {'; '.join(check.message for check in chosen)}."


def _run(name: str, context: Context) -> CheckResult:
    entry = CHECKS[name]
    options = entry.options.model_validate(context.policy.checks[name] or {})
    try:
        return entry.run(context, options)
    except Exception as error:  # a check that breaks must block, and the others must still be seen
        return CheckResult(
            name=name,
            status=Status.ERROR,
            reason="check_raised",
            message=f"the check {name} raised {type(error).__name__}: {error}",
        )


def _settings(context: Context) -> CheckResult:
    """The audited party does not choose its exam: the audit must have been made as the policy asks."""
    result, terms = context.result, context.policy.audit
    made = result.settings
    faults = [
        f"{name} was {actual!r}, the policy asks for {wanted!r}"
        for name, actual, wanted in (
            ("target", made.target, terms.target),
            ("tolerance", made.tolerance, terms.tolerance),
            ("fill", made.fill, terms.fill),
            ("margin", made.margin, terms.margin),
            ("match_on", made.match_on, terms.match_on),
        )
        if actual != wanted
    ]
    method = made.method_requested if terms.method == "auto" else made.method
    if method != terms.method:
        faults.append(f"method was {method!r}, the policy asks for {terms.method!r}")
    if not may_gate(made.method):
        faults.append(
            f"{made.method} is for looking: only class-specific gradient methods may gate "
            f"({', '.join(gating_names())})"
        )
    allowed = {"auto": ("auto",), "model": ("auto", "model")}.get(terms.target_layer)
    if allowed is not None and made.target_layer_rule not in allowed:
        faults.append(
            f"target layer {made.target_layer!r} was named by the {made.target_layer_rule}, the policy asks "
            f"for rule {terms.target_layer!r}"
        )
    if allowed is None and made.target_layer != terms.target_layer:
        faults.append(f"target layer was {made.target_layer!r}, the policy asks for {terms.target_layer!r}")
    if terms.interventions and not made.interventions:
        faults.append("the audit was made without interventions, the policy asks for them")
    if terms.interventions and made.draws < terms.draws:
        faults.append(f"{made.draws} draws a recipient, the policy asks for {terms.draws}")
    if terms.seed == "derived" and made.seed != derive_seed(result.model_digest, result.data_digest):
        faults.append("the seed was chosen by hand, the policy asks for the derived one")
    if terms.data_digest and terms.data_digest != result.data_digest:
        faults.append("the audited data are not those whose digest the policy names")
    if faults:
        return _error("audit_settings", "settings_differ", "; ".join(faults))
    missing = sorted(set(result.classes) - set(result.scores["label"]))
    if terms.all_classes and missing:
        return _error("audit_settings", "missing_class", f"no audited image of class {some_of(missing)}")
    named = context.policy.region_free.classes
    undeclared = sorted(set(result.region_free) - set(named)) if named is not None else []
    if undeclared:
        return _error(
            "audit_settings",
            "missing_region",
            f"class {some_of(undeclared)} has no valid region at all and the policy does not name it "
            "as region-free: give masks, or name it in region_free.classes",
        )
    bare = set(result.scores["label"]) <= set(result.region_free)
    if bare and terms.interventions and context.policy.region_free.rule != "none":
        # Another background for the whole of an image is another image, object included.
        return _error(
            "audit_settings",
            "missing_region",
            "no class has a valid region, so no background can be told from an object: give masks or boxes, "
            "or say `region_free: {rule: none}` and judge by what needs no region (fixed_place)",
        )
    _, unknown = context.policy.critical_among(result.classes)
    if unknown:
        return _error("audit_settings", "missing_class", f"unknown critical class {some_of(unknown)}")
    return CheckResult(
        name="audit_settings",
        status=Status.PASS,
        reason="ok",
        message="the audit was made as the policy asks",
    )


def _error(name: str, reason: str, message: str) -> CheckResult:
    return CheckResult(name=name, status=Status.ERROR, reason=reason, message=message)


def _coverage(context: Context) -> CheckResult:
    """Enough of the images whose class has objects must have a score."""
    result, limits = context.result, context.policy.coverage
    scores = result.scores
    with_objects = scores[~scores["label"].isin(result.region_free)]
    unreadable = scores["status"].eq("unreadable")
    scored = with_objects["status"].eq("ok")
    share = float(scored.mean()) if len(scored) else 0.0
    by_class = scored.groupby(with_objects["label"]).mean()
    low = by_class[by_class < limits.per_class]
    reason = "ok"
    if unreadable.mean() > limits.max_unreadable:
        names = ", ".join(scores.loc[unreadable, "image_id"].astype(str).head(5))
        reason = "unreadable_images"
        message = (
            f"{int(unreadable.sum())} of {len(scores)} images could not be read (first: {names}; allowed "
            f"{100 * limits.max_unreadable:.0f} %)"
        )
    elif share < limits.overall or len(low):
        lost = with_objects.loc[~scored, "status"].value_counts()
        reason = "dead_maps" if lost.index[:1].tolist() == ["dead_map"] else "low_coverage"
        where = f", in class {low.index[0]} only {100 * low.iloc[0]:.0f} %" if len(low) else ""
        why = ", ".join(f"{count} {status}" for status, count in lost.items())
        message = f"only {100 * share:.0f} % of the images whose class has objects are scored{where} ({why})"
    else:
        message = f"{100 * share:.0f} % of the images whose class has objects are scored"
    return CheckResult(
        name="coverage",
        status=Status.PASS if reason == "ok" else Status.INCONCLUSIVE,
        reason=reason,
        message=message,
        value=None,
        limit=limits.overall,
        n=len(with_objects),
        groups=int(with_objects["group"].nunique()),
        smaller_is_better=False,
    )
