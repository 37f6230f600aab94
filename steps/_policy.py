"""A step's `policy` parameter."""

from __future__ import annotations

from typing import Any

from camgate.gate.policy import Policy


def read_policy(policy: str | dict[str, Any] | None) -> Policy:
    """The policy: a path is read, a mapping validated, None is the default policy.

    Raises:
        PolicyError: it cannot be read, or does not make sense.
    """
    if policy is None:
        return Policy.default()
    return Policy.load(policy) if isinstance(policy, str) else Policy.parse(policy)


def audit_options(policy: Policy) -> dict[str, Any]:
    """How the policy's `audit:` section wants the audit made, as arguments of `camgate.audit`."""
    terms = policy.audit
    return {
        "method": terms.method,
        "target_layer": None if terms.target_layer in ("auto", "model") else terms.target_layer,
        "target": terms.target,
        "tolerance": terms.tolerance,
        "interventions": terms.interventions,
        "draws": terms.draws,
        "fill": terms.fill,
        "margin": terms.margin,
        "match_on": terms.match_on,
    }
