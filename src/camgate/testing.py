"""Test automation: hold a model to a policy inside a team's own tests.

```python
from camgate.testing import assert_valid_activation

def test_model_looks_at_the_object():
    assert_valid_activation("model/", "data/", "policy.yaml")
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from camgate.audit.result import AuditResult
    from camgate.gate.measure import NoRival
    from camgate.gate.policy import Policy
    from camgate.gate.verdict import Verdict
    from camgate.models.classifier import Classifier


def assert_valid_activation(
    model: Classifier | str | Path,
    manifest: pd.DataFrame | str | Path,
    policy: Policy | Mapping[str, Any] | str | Path | None = None,
    *,
    champion: AuditResult | NoRival | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> Verdict:
    """Audit a model, judge it, and raise unless it passes.

    Args:
        model: a `Classifier`, the folder of a saved one, or an MLflow URI.
        manifest: a validated manifest, or whatever `camgate.read_data` reads.
        policy: a `Policy`, a mapping, or a YAML file; None takes the default policy. It says how the audit is
            made, too.
        champion: audit of today's champion on the same images, where the policy has that check.
        out: new folder for the evidence (tables, pictures, verdict, report); None keeps none.
        **options: of `camgate.audit` that the policy leaves open: `slices`, `batch_size`, `workers`...

    Returns:
        The verdict, which is PASS.

    Raises:
        AssertionError: the verdict is FAIL, INCONCLUSIVE or ERROR: a gate that cannot decide does not pass.
            The message has the sentence, the checks that do not pass, and where the report is.
        InputError: model, manifest, policy or options cannot be used, or `out` is not empty.
    """
    from camgate.audit.runner import audit
    from camgate.data.reading import read_data
    from camgate.gate.judge import judge
    from camgate.gate.policy import Policy
    from camgate.gate.verdict import Status
    from camgate.registry.flavor import resolve_model
    from camgate.report.files import write_evidence

    terms = Policy.read(policy)
    classifier = resolve_model(str(model)) if isinstance(model, str | Path) else model
    rows = read_data(manifest) if isinstance(manifest, str | Path) else manifest
    result = audit(classifier, rows, **(terms.audit_options() | options))
    verdict = judge(result, terms, champion=champion)
    report = None if out is None else write_evidence(out, result, verdict)
    if verdict.status is not Status.PASS:
        raise AssertionError(_message(verdict, report))
    return verdict


def _message(verdict: Verdict, report: Path | None) -> str:
    from camgate.gate.verdict import Status
    from camgate.report.text import part_lines, plain

    lines = [f"{verdict.status}: {verdict.sentence}"]
    lines += [
        f"  {check.name}: {check.status} ({check.reason}) {check.message}"
        for check in verdict.checks
        if check.status is not Status.PASS
    ]
    lines += [f"  {line}" for line in part_lines(verdict)]
    if report is not None:
        lines.append(f"  report: {report}")
    return "\n".join(map(plain, lines))
