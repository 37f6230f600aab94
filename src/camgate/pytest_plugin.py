"""The pytest plugin: the fixture `valid_activation`. It imports next to nothing until it is used."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from camgate.gate.verdict import Verdict


@pytest.fixture
def valid_activation(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> Callable[..., Verdict]:
    """`camgate.testing.assert_valid_activation`, its evidence kept in the test's folder.

    Verdict, digests and the path of the report become properties of the test case, which JUnit XML shows.
    """
    numbers = count()

    def check(model: Any, manifest: Any, policy: Any = None, **options: Any) -> Verdict:
        from camgate.gate.verdict import Verdict
        from camgate.testing import assert_valid_activation

        out = Path(options.pop("out", None) or tmp_path / f"audit-{next(numbers)}")
        try:
            return assert_valid_activation(model, manifest, policy, out=out, **options)
        finally:
            if (out / "verdict.json").is_file():
                verdict = Verdict.model_validate_json((out / "verdict.json").read_text(encoding="utf-8"))
                for name in ("status", "reason", "model_digest", "data_digest", "policy_digest"):
                    record_property(f"camgate.{name}", str(getattr(verdict, name)))
                record_property("camgate.report", str(out / "report.html"))

    return check
