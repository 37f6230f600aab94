from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from camgate.errors import InputError
from camgate.gate.verdict import Verdict
from camgate.registry import times
from camgate.registry.evidence import Evidence, attempts

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MODEL, OTHER = "a" * 64, "b" * 64
Judge = Callable[..., Verdict]


def evidence(verdict: Verdict, **options: object) -> Evidence:
    return Evidence.of_verdict(verdict, "run", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("PASS", None), ("FAIL", "above_limit"), ("INCONCLUSIVE", "above_limit"), ("ERROR", "above_limit")],
)
def test_only_pass_promotes(status: str, expected: str | None, make_verdict: Judge) -> None:
    held = evidence(make_verdict(status, MODEL))
    assert held.refusal(MODEL, pinned=None, now=NOW) == expected
    assert held.refusal(OTHER, pinned=None, now=NOW) == "digest_mismatch"


def test_the_pinned_policy_must_have_judged(make_verdict: Judge) -> None:
    held = evidence(make_verdict("PASS", MODEL))
    assert held.refusal(MODEL, pinned=held.policy_digest, now=NOW) is None
    assert held.refusal(MODEL, pinned="0" * 64, now=NOW) == "policy_mismatch"
    assert held.validation("policy_mismatch") == "error"


@pytest.mark.parametrize(
    ("by_policy", "by_argument", "age", "refused"),
    [
        (None, None, timedelta(days=4000), False),
        (2.0, None, timedelta(days=2), False),
        (2.0, None, timedelta(days=2, seconds=1), True),
        (2.0, timedelta(days=1), timedelta(days=1, seconds=1), True),
        (1.0, timedelta(days=9), timedelta(days=1, seconds=1), True),
        (None, timedelta(hours=1), timedelta(minutes=59), False),
    ],
)
def test_the_shorter_maximum_age_holds(
    by_policy: float | None,
    by_argument: timedelta | None,
    age: timedelta,
    refused: bool,
    make_verdict: Judge,
) -> None:
    verdict = make_verdict("PASS", MODEL).model_copy(
        update={"max_evidence_days": by_policy, "created": (NOW - age).isoformat()}
    )
    found = evidence(verdict, max_age=by_argument).refusal(MODEL, pinned=None, now=NOW)
    assert found == ("evidence_too_old" if refused else None)


def test_a_verdict_without_time_is_too_old_for_any_maximum(make_verdict: Judge) -> None:
    held = evidence(make_verdict("PASS", MODEL), max_age=timedelta(days=9999))
    assert held.refusal(MODEL, pinned=None, now=NOW) == "evidence_too_old"


def test_every_attempt_is_kept_and_none_twice(make_verdict: Judge) -> None:
    tags: dict[str, str] = {}
    tries = [("FAIL", 1), ("FAIL", 2), ("PASS", 3), ("PASS", 3)]
    for number, (status, seed) in enumerate(tries):
        verdict = make_verdict(status, MODEL).model_copy(
            update={
                "settings": {"seed": seed, "method": "gradcam"},
                "created": (NOW + timedelta(hours=number)).isoformat(),
            }
        )
        tags |= evidence(verdict).attempt(tags, None, now=NOW)
    assert [(each["verdict"], each["seed"], each["method"]) for each in attempts(tags)] == [
        ("FAIL", 1, "gradcam"),
        ("FAIL", 2, "gradcam"),
        ("PASS", 3, "gradcam"),
    ]
    key = min(tags)
    assert key.startswith("camgate.attempt.20260504T120000000000-")
    assert json.loads(tags[key]) == {
        "data": "d" * 64,
        "method": "gradcam",
        "policy": evidence(make_verdict("FAIL", MODEL)).policy_digest,
        "reason": "above_limit",
        "run": "run",
        "seed": 1,
        "time": "2026-05-04T12:00:00.000000Z",
        "verdict": "FAIL",
    }


def test_evidence_is_read_back_from_the_tags(make_verdict: Judge) -> None:
    verdict = make_verdict("PASS", MODEL).model_copy(update={"created": NOW.isoformat()})
    held = evidence(verdict, attestation="{}")
    tags = held.attempt({}, None, now=NOW) | held.tags(MODEL, None)
    again = Evidence.of_tags(tags)
    assert again is not None
    assert (again.status, again.model_digest, again.policy_digest) == (
        held.status,
        held.model_digest,
        held.policy_digest,
    )
    assert (again.created, again.run_id) == (NOW, "run")
    assert list(tags)[-2:] == ["camgate.verdict", "validation_status"]  # what promotes comes last
    for odd in ({}, {"camgate.verdict": "PERHAPS"}):
        assert Evidence.of_tags(odd) is None


def test_an_attestation_that_no_tag_can_hold(make_verdict: Judge) -> None:
    evidence(make_verdict("PASS", MODEL), attestation="x" * 100_000)
    with pytest.raises(InputError, match="100001 characters"):
        evidence(make_verdict("PASS", MODEL), attestation="x" * 100_001)


def test_unreadable_records_are_left_out() -> None:
    good = {"camgate.attempt.2": '{"verdict":"PASS"}'}
    assert attempts(good | {"camgate.attempt.1": "{", "camgate.attempt.3": "[]", "other": "{}"}) == [
        {"verdict": "PASS", "key": "camgate.attempt.2"}
    ]


def test_times_sort_and_come_back() -> None:
    assert times.text(NOW) == "2026-05-04T12:00:00.000000Z"
    assert times.parse(times.text(NOW)) == times.parse("2026-05-04T12:00:00") == NOW
    assert times.parse("yesterday") is times.parse(None) is times.parse("") is None
    assert times.stamp(NOW) < times.stamp(NOW + timedelta(microseconds=1))
