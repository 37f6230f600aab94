"""One writer: what holds at every point where it may die, and when another comes in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from camgate.errors import InputError, RegistryError
from camgate.gate.policy import Policy
from camgate.gate.verdict import Verdict
from camgate.registry import history, locks
from camgate.registry import promotion as module
from camgate.registry.history import alias_history
from camgate.registry.pinning import pin_policy, pinned_policy
from camgate.registry.promotion import Promotion

NAME = "underpass"
Judge = Callable[..., Verdict]
Log = Callable[[str], tuple[str, str]]


class Died(BaseException):
    """The process ends here; nothing that would run in a dead process runs (see `die_at`)."""


def champion(store: str) -> int | None:
    held = MlflowClient(store).get_registered_model(NAME).aliases.get("champion")
    return None if held is None else int(held)


def states(store: str) -> list[tuple[int, int | None, str]]:
    return [(each.version, each.previous, each.state) for each in alias_history(NAME, tracking_uri=store)]


def die_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool = False) -> None:
    original = getattr(owner, name)

    def dying(*args: Any, **options: Any) -> None:
        if after:
            original(*args, **options)
        raise Died

    monkeypatch.setattr(owner, name, dying)
    monkeypatch.setattr(locks, "release", lambda *_: None)


def test_the_history_names_who_was_champion(
    store: str, log_files: Log, promote: Callable[..., Promotion]
) -> None:
    models = [log_files(each) for each in "ab"]
    for model in (*models, models[0]):
        assert promote(model).alias_moved
    assert states(store) == [(1, None, "done"), (2, 1, "done"), (1, 2, "done")]
    assert {each.name for each in MlflowClient(store).search_registered_models()} == {NAME}  # no lock is left


POINTS = [
    (module, "_tag", False),
    (history, "intend", False),
    (history, "intend", True),
    (locks, "acquire", True),
    (locks, "holds", True),
    (MlflowClient, "set_registered_model_alias", False),
]


@pytest.mark.parametrize(("owner", "name", "after"), POINTS, ids=lambda each: getattr(each, "__name__", each))
def test_a_death_before_the_alias_leaves_the_old_champion(
    owner: Any,
    name: str,
    after: bool,
    store: str,
    log_files: Log,
    promote: Callable[..., Promotion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = log_files("old"), log_files("new")
    promote(old)
    with monkeypatch.context() as patch:
        die_at(patch, owner, name, after=after)
        with pytest.raises(Died):
            promote(new, lock_seconds=0.2)
    assert champion(store) == 1
    done = promote(new)
    while done.reason == "lock_held":
        done = promote(new)
    assert (done.alias_moved, champion(store)) == (True, 2)
    kinds = [state for version, _, state in states(store) if version == 2]
    assert kinds[-1] == "done"
    assert set(kinds[:-1]) <= {"abandoned"}
    assert len(MlflowClient(store).search_model_versions(f"name='{NAME}'")) == 2


@pytest.mark.parametrize("after", [True, False])
def test_a_death_after_the_alias_leaves_a_champion_with_evidence_and_the_next_run_completes(
    after: bool,
    store: str,
    log_files: Log,
    promote: Callable[..., Promotion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = log_files("old"), log_files("new")
    promote(old)
    with monkeypatch.context() as patch:
        if after:
            die_at(patch, MlflowClient, "set_registered_model_alias", after=True)
        else:
            die_at(patch, history, "close")
        with pytest.raises(Died):
            promote(new)
    assert states(store)[-1] == (2, 1, "intent")
    version = MlflowClient(store).get_model_version_by_alias(NAME, "champion")
    assert (int(version.version), version.tags["camgate.verdict"]) == (2, "PASS")
    assert version.tags["camgate.model_digest"] == version.tags["camgate.audited_digest"] == new[1]
    promote(log_files("third"), "FAIL")  # any run of the gate will do
    assert states(store) == [(1, None, "done"), (2, 1, "done")]


def test_the_lock_stays_while_a_write_may_still_arrive(
    store: str, log_files: Log, promote: Callable[..., Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the alias is lost: nobody else moves it before the lock has ended."""

    model = log_files("a")

    def fails(error: MlflowException) -> None:
        def fail(*_: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "set_registered_model_alias", fail)
            with pytest.raises(RegistryError):
                promote(model)

    fails(MlflowException("no", error_code=PERMISSION_DENIED))
    assert locks.current(MlflowClient(store), NAME, "champion") is None  # a clear no
    fails(MlflowException("no answer"))
    held = promote(model)
    assert (held.reason, held.alias_moved, held.status) == ("lock_held", False, "approved")
    assert "another promotion is at work (it ends by 20" in held.sentence
    assert champion(store) is None


def test_an_alias_that_was_set_though_the_answer_was_lost(
    store: str, log_files: Log, promote: Callable[..., Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MlflowClient.set_registered_model_alias

    def lost(*args: Any) -> None:
        original(*args)
        raise MlflowException("no answer")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", lost)
    assert promote(log_files("a")).alias_moved
    assert states(store) == [(1, None, "done")]


def test_the_alias_moved_is_what_the_caller_hears_though_the_history_failed(
    store: str,
    log_files: Log,
    promote: Callable[..., Promotion],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise MlflowException("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(history, "close", broken)
        assert promote(log_files("a")).alias_moved
    assert "completed by its next run" in caplog.text
    promote(log_files("b"), "FAIL")
    assert states(store) == [(1, None, "done")]


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Something happens right after the lock was taken."""
    original = locks.acquire

    def acquire(*args: Any, **options: Any) -> locks.Lock:
        lock = original(*args, **options)
        act()
        return lock

    monkeypatch.setattr(locks, "acquire", acquire)


def test_what_changes_before_the_alias_is_seen(
    store: str,
    log_files: Log,
    weights_of: Callable[[str], Path],
    promote: Callable[..., Promotion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = MlflowClient(store)
    promote(log_files("old"))
    promote(log_files("other"), "FAIL")
    new = log_files("new")

    def tamper() -> None:
        path = weights_of(new[0])
        path.write_text("NEW" if path.read_text() == "new" else "new")

    def expect(reason: str, act: Callable[[], object], undo: Callable[[], object]) -> Promotion:
        with monkeypatch.context() as patch:
            between(patch, act)
            done = promote(new)
        assert (done.reason, done.alias_moved) == (reason, False)
        undo()
        assert states(store)[-1][2] == "abandoned"
        assert locks.current(client, NAME, "champion") is None
        return done

    def set_alias(version: str) -> Callable[[], object]:
        return lambda: client.set_registered_model_alias(NAME, "champion", version)

    done = expect("champion_changed", set_alias("2"), set_alias("1"))
    assert "champion was version 1 when that was decided and now is version 2" in done.sentence
    assert done.previous == 2
    expect("digest_mismatch", tamper, tamper)
    expect(
        "policy_mismatch",
        lambda: client.set_registered_model_tag(NAME, "camgate.pinned_policy", "0" * 64),
        lambda: client.delete_registered_model_tag(NAME, "camgate.pinned_policy"),
    )
    expect(
        "evidence_changed",
        lambda: client.set_model_version_tag(NAME, "3", "camgate.verdict", "FAIL"),
        lambda: None,
    )
    lock = locks.lock_name(NAME, "champion")
    expect("lock_lost", lambda: client.delete_registered_model(lock), lambda: None)
    assert champion(store) == 1
    assert promote(new).alias_moved


def test_an_intent_that_was_given_up_for_dead_is_written_again(
    store: str, log_files: Log, promote: Callable[..., Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(store)
    seen = []

    def settle() -> None:
        """Another run looks after the intent and sees the lock of nobody it knows."""
        (intent,) = history.decisions(client.get_registered_model(NAME), "champion")
        history.close(client, NAME, intent, "abandoned")

    original = MlflowClient.set_registered_model_alias

    def set_alias(*args: Any) -> None:
        seen.extend(states(store))
        original(*args)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", set_alias)
    between(monkeypatch, settle)
    assert promote(log_files("a")).alias_moved
    assert (seen, states(store)) == ([(1, None, "intent")], [(1, None, "done")])


def test_of_two_at_once_one_wins_and_the_other_says_so(
    store: str, log_files: Log, promote: Callable[..., Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have written their intent before either asks for the lock."""
    first, second = log_files("a"), log_files("b")
    barrier, results = threading.Barrier(2, timeout=60), []
    original = locks.acquire

    def acquire(*args: Any, **options: Any) -> locks.Lock:
        barrier.wait()
        return original(*args, **options)

    threads = [
        threading.Thread(target=lambda model=model: results.append(promote(model)))
        for model in (first, second)
    ]
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)  # so that no thread changes the process-wide one
        patch.setattr(locks, "acquire", acquire)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (winner,) = (each for each in results if each.alias_moved)
    (loser,) = (each for each in results if not each.alias_moved)
    assert loser.reason in {"lock_held", "champion_changed"}
    assert champion(store) == winner.version
    assert sorted(state for _, _, state in states(store)) == ["abandoned", "done"]


def test_the_champion_that_was_compared_with_must_still_be_it(
    store: str, log_files: Log, promote: Callable[..., Promotion]
) -> None:
    promote(log_files("a"))
    promote(log_files("b"))
    third = log_files("c")
    assert promote(third, champion=1).reason == "champion_changed"
    assert promote(third, champion=2).alias_moved


def test_only_the_pinned_policy_promotes(
    store: str, tmp_path: Path, log_files: Log, promote: Callable[..., Promotion]
) -> None:
    model = log_files("a")
    strict = Policy.parse({"checks": {"accuracy": {"min": 0.99}}})
    path = tmp_path / "strict.yaml"
    path.write_text(strict.to_yaml())
    assert pin_policy(NAME, path, tracking_uri=store) == strict.digest()  # before there is any version
    assert pinned_policy(NAME, tracking_uri=store) == strict.digest()
    refused = promote(model)
    assert (refused.reason, refused.status, refused.alias_moved) == ("policy_mismatch", "error", False)
    assert f"pinned to {strict.digest()[:12]}" in refused.sentence
    assert promote(model, verdict={"policy_digest": strict.digest()}).alias_moved
    pin_policy(NAME, Policy.default(), tracking_uri=store)
    tags = MlflowClient(store).get_model_version(NAME, "1").tags
    assert promote(model, verdict={"policy_digest": strict.digest()}).reason == "policy_mismatch"
    assert promote(model).alias_moved
    verdicts = [key for key in tags if key.startswith("camgate.attempt.")]
    assert len(verdicts) == 2  # the refused one too


def test_evidence_that_is_too_old(store: str, log_files: Log, promote: Callable[..., Promotion]) -> None:
    model, old = log_files("a"), {"created": "2026-01-01T00:00:00+00:00"}
    refused = promote(model, max_age=timedelta(days=1), verdict=old)
    assert (refused.reason, refused.alias_moved) == ("evidence_too_old", False)
    assert "given 2026-01-01T00:00:00.000000Z, more than 1 day" in refused.sentence
    assert promote(model, verdict=old | {"max_evidence_days": 2}).reason == "evidence_too_old"
    assert promote(model, verdict=old).alias_moved


def test_a_champion_keeps_the_evidence_that_made_it_one(
    store: str, log_files: Log, promote: Callable[..., Promotion]
) -> None:
    """A later refusal is recorded and shows, but takes the PASS away from no champion."""
    model = log_files("a")
    promote(model, attestation='{"is": "first"}')
    client = MlflowClient(store)
    before = client.get_model_version(NAME, "1").tags
    assert before["camgate.attestation"] == '{"is": "first"}'
    promote(model, "FAIL", attestation='{"is": "second"}', run_id="later")
    after = client.get_model_version(NAME, "1").tags
    assert after["validation_status"] == "rejected"
    new = {key: value for key, value in after.items() if before.get(key) != value}
    assert {key.split("-")[0].rsplit(".", 1)[0] for key in new} == {"validation_status", "camgate.attempt"}
    pin_policy(NAME, Policy.default(), tracking_uri=store)
    promote(model)
    promote(model, verdict={"policy_digest": "0" * 64}, run_id="by another policy")
    assert client.get_model_version(NAME, "1").tags["validation_status"] == "approved"
    assert champion(store) == 1


def test_an_alias_that_went_around_camgate_keeps_no_evidence(
    store: str, log_files: Log, promote: Callable[..., Promotion]
) -> None:
    model = log_files("a")
    client = MlflowClient(store)
    promote(model, "INCONCLUSIVE")
    client.set_registered_model_alias(NAME, "champion", "1")
    promote(model, "FAIL")
    assert client.get_model_version(NAME, "1").tags["camgate.verdict"] == "FAIL"


def test_a_name_that_leaves_no_room_for_its_lock(promote: Callable[..., Promotion]) -> None:
    with pytest.raises(InputError, match="at most 200"):
        promote(("models:/m-1", "f" * 64), name="n" * 190, alias="a" * 11)
    with pytest.raises(InputError, match="names of locks"):
        promote(("models:/m-1", "f" * 64), name=f"{locks.PREFIX}x")
