"""Promotion by copy, and two stores."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from camgate.gate.policy import Policy
from camgate.registry import locks, versions
from camgate.registry.history import alias_history
from camgate.registry.pinning import pin_policy
from camgate.registry.promotion import Promotion, promote_copy

Log = Callable[[str], tuple[str, str]]


def test_promotion_by_copy(store: str, log_files: Log, promote: Callable[..., Promotion]) -> None:
    client = MlflowClient(store)
    model = log_files("a")
    promote(model, name="staging", attestation='{"signed": true}')
    done = promote_copy("models:/staging@champion", name="production", tracking_uri=store)
    assert (done.name, done.version, done.alias_moved, done.reason) == ("production", 1, True, "ok")
    copy, origin = (client.get_model_version_by_alias(name, "champion") for name in ("production", "staging"))
    assert copy.source == "models:/staging/1"
    assert copy.tags == origin.tags
    assert copy.tags["camgate.attestation"] == '{"signed": true}'
    assert versions.digest_of(client, copy) == model[1]
    assert [(each.version, each.state) for each in alias_history("production", tracking_uri=store)] == [
        (1, "done")
    ]
    again = promote_copy("staging/1", name="production", tracking_uri=store)
    assert (again.version, again.alias_moved) == (1, True)


def test_what_is_not_copied(
    store: str, log_files: Log, weights_of: Callable[[str], Path], promote: Callable[..., Promotion]
) -> None:
    client = MlflowClient(store)
    good, bad = log_files("good"), log_files("bad")
    promote(good, name="staging")
    promote(bad, "FAIL", name="staging")
    promote_copy("staging/1", name="production", tracking_uri=store)

    def refused(source: str, **options: Any) -> str:
        done = promote_copy(source, name="production", tracking_uri=store, **options)
        assert (done.version, done.alias_moved, done.previous) == (0, False, 1)
        assert "production" in done.sentence
        return done.reason

    assert refused("staging/2") == "above_limit"
    assert refused("staging/1", max_age=timedelta(microseconds=1)) == "evidence_too_old"
    client.create_model_version("staging", str(weights_of(good[0]).parent))
    assert refused("staging/3") == "no_evidence"
    for key, value in client.get_model_version("staging", "1").tags.items():
        client.set_model_version_tag("staging", "2", key, value)  # stolen from the good one
    assert refused("staging/2") == "digest_mismatch"
    pin_policy("production", Policy.parse({"checks": {"accuracy": {"min": 0.99}}}), tracking_uri=store)
    assert refused("staging/1") == "policy_mismatch"
    assert len(client.search_model_versions("name='production'")) == 1


def test_a_copy_whose_files_changed_on_the_way(
    store: str,
    log_files: Log,
    weights_of: Callable[[str], Path],
    promote: Callable[..., Promotion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = log_files("a")
    promote(model, name="staging")
    original = locks.acquire

    def acquire(*args: Any, **options: Any) -> locks.Lock:
        lock = original(*args, **options)
        weights_of(model[0]).write_text("somebody else's")
        return lock

    monkeypatch.setattr(locks, "acquire", acquire)
    done = promote_copy("staging@champion", name="production", tracking_uri=store)
    assert (done.reason, done.alias_moved) == ("digest_mismatch", False)
    assert not MlflowClient(store).get_registered_model("production").aliases


def test_runs_in_one_store_and_registered_models_in_another(
    store: str, migrated: Path, tmp_path: Path, log_files: Log, promote: Callable[..., Promotion]
) -> None:
    (tmp_path / "registry.db").write_bytes(migrated.read_bytes())
    registry = f"sqlite:///{tmp_path / 'registry.db'}"
    model = log_files("a")
    pin_policy("underpass", Policy.default(), tracking_uri=store, registry_uri=registry)
    done = promote(model, registry_uri=registry)
    assert (done.version, done.alias_moved) == (1, True)
    assert [each.state for each in alias_history("underpass", tracking_uri=store, registry_uri=registry)] == [
        "done"
    ]
    copy = promote_copy(
        "underpass@champion", name="production", tracking_uri=store, registry_uri=registry, alias="live"
    )
    assert copy.alias_moved
    assert not MlflowClient(store).search_registered_models()
    client = MlflowClient(store, registry)
    assert client.get_model_version_by_alias("production", "live").tags["camgate.model_digest"] == model[1]
