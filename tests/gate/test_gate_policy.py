"""Policies: YAML in and out, and errors that say what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from camgate.errors import PolicyError
from camgate.gate.policy import Policy

REPO = Path(__file__).resolve().parents[2]


def test_the_committed_policy_is_the_default_one() -> None:
    assert Policy.load(REPO / "configs" / "policy.yaml") == Policy.default()


def test_yaml_round_trip_keeps_the_digest_whatever_the_formatting(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("# comment\n" + Policy.default().to_yaml(), encoding="utf-8")
    assert Policy.load(path).digest() == Policy.default().digest()
    changed = Policy.parse({"checks": {"invalid_lift": {"max": 0.39}}})
    assert changed.digest() != Policy.default().digest()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cheks": {}}, "did you mean 'checks'"),
        ({"audit": {"tolerence": 1}}, "audit.tolerence.*did you mean 'tolerance'"),
        ({"checks": {"invalid_lft": {"max": 1}}}, "did you mean 'invalid_lift'"),
        ({"checks": {"invalid_lift": {"mx": 1}}}, "checks.invalid_lift.mx.*did you mean 'max'"),
        ({"checks": {"invalid_lift": {}}}, "checks.invalid_lift.max"),
        ({"checks": {"accuracy": {"min": 1.5}}}, "checks.accuracy.min"),
        ({"audit": {"method": "eigencam"}}, "may not gate"),
        ({"audit": {"method": "hirescm"}}, "did you mean 'hirescam'"),
        ({"on_block": "ignore"}, "on_block"),
        ({"version": 2}, "version"),
        ([1, 2], "mapping"),
        (None, "mapping"),
    ],
)
def test_a_policy_that_makes_no_sense(data: object, message: str) -> None:
    with pytest.raises(PolicyError, match=f"(?s){message}"):
        Policy.parse(data, source="p.yaml")


@pytest.mark.parametrize(
    ("entries", "critical", "unmatched"),
    [
        (["truck*", "tram"], {"truck small", "truck large", "tram"}, []),
        (["[a]"], {"[a]"}, []),  # the name of a class comes before a pattern
        (["[ab]"], {"a"}, []),
        (["Truck*", "tra?", "bus"], {"tram"}, ["Truck*", "bus"]),
        ([], set(), []),
    ],
)
def test_critical_classes_by_name_and_pattern(
    entries: list[str], critical: set[str], unmatched: list[str]
) -> None:
    classes = ("truck small", "truck large", "tram", "[a]", "a")
    policy = Policy.parse({"critical_classes": entries})
    assert policy.critical_among(classes) == (critical, unmatched)


def test_files_that_are_no_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such"):
        Policy.load(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1,\n", encoding="utf-8")
    with pytest.raises(PolicyError, match=r"bad\.yaml"):
        Policy.load(bad)
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError, match=r"bad\.yaml"):
        Policy.load(bad)
    bad.write_text("!!python/object/apply:os.system ['true']", encoding="utf-8")
    with pytest.raises(PolicyError, match=r"bad\.yaml"):
        Policy.load(bad)


def test_audit_options_follow_the_terms() -> None:
    options = Policy.parse(
        {"audit": {"method": "hirescam", "target_layer": "layer3", "draws": 5}}
    ).audit_options()
    assert (options["method"], options["target_layer"], options["draws"]) == ("hirescam", "layer3", 5)
    assert Policy.default().audit_options()["target_layer"] is None
