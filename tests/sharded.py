"""What tests of audits in shards have in common."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from camgate.audit.result import AuditResult
from camgate.data.preprocessing import Preprocessing
from camgate.gate.judge import judge
from camgate.models.builders import resnet_small
from camgate.models.classifier import Classifier
from camgate.scenes.dataset import CLASSES

CHEAP: dict[str, Any] = {
    "draws": 1,
    "max_interventions": 12,
    "gallery_worst": 3,
    "gallery_sample": 3,
    "sanity": False,  # most of the time of a small audit
}


def small_net() -> Classifier:
    return Classifier(
        resnet_small(4),
        CLASSES,
        Preprocessing(size=(64, 64)),
        target_layer="stage3",
        builder="resnet_small",
    )


def same(left: AuditResult, right: AuditResult) -> None:
    pd.testing.assert_frame_equal(left.scores, right.scores, check_dtype=False, atol=1e-5, rtol=0)
    assert left.data_digest == right.data_digest
    assert left.settings == right.settings
    assert (left.warnings, left.region_free) == (right.warnings, right.region_free)
    assert left.baselines == pytest.approx(right.baselines, abs=1e-6)
    assert (left.interventions is None) == (right.interventions is None)
    if left.interventions is not None and right.interventions is not None:
        pd.testing.assert_frame_equal(left.interventions, right.interventions, atol=1e-5, rtol=0)
    assert [item.image_id for item in left.gallery] == [item.image_id for item in right.gallery]
    a, b = judge(left), judge(right)
    assert a.status == b.status
    assert [check.reason for check in a.checks] == [check.reason for check in b.checks]
