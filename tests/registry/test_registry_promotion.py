from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from camgate.errors import InputError, ModelError, RegistryError
from camgate.gate.verdict import Verdict
from camgate.models.classifier import Classifier
from camgate.registry import promotion as module
from camgate.registry.flavor import LoggedClassifier, load_classifier, log_classifier
from camgate.registry.locations import locate
from camgate.registry.promotion import Promotion, register_and_promote

Judge = Callable[..., Verdict]
NAME = "underpass"


@pytest.fixture
def logged(classifier: Classifier, store: str, run_id: str) -> LoggedClassifier:
    return log_classifier(classifier, run_id=run_id, tracking_uri=store)


@pytest.fixture
def promote(store: str, run_id: str, logged: LoggedClassifier) -> Callable[..., Promotion]:
    def go(verdict: Verdict, **options: str) -> Promotion:
        options = {"model_uri": logged.model_uri, "name": NAME, "run_id": run_id} | options
        return register_and_promote(verdict, tracking_uri=store, **options)

    return go


def champion(store: str) -> str | None:
    held = MlflowClient(store).get_registered_model(NAME).aliases.get("champion")
    return None if held is None else str(held)


def test_pass_is_approved_and_becomes_champion(
    store: str, run_id: str, logged: LoggedClassifier, promote: Callable[..., Promotion], make_verdict: Judge
) -> None:
    verdict = make_verdict("PASS", logged.digest)
    done = promote(verdict)
    assert (done.name, done.version, done.status, done.alias_moved) == (NAME, 1, "approved", True)
    assert (done.reason, done.previous) == ("ok", None)
    version = MlflowClient(store).get_model_version_by_alias(NAME, "champion")
    assert version.source == logged.model_uri
    assert version.run_id == run_id
    tags = {key: value for key, value in version.tags.items() if not key.startswith("camgate.attempt.")}
    assert tags == {
        "camgate.verdict": "PASS",
        "camgate.reason": "ok",
        "camgate.audit_run_id": run_id,
        "camgate.model_digest": logged.digest,
        "camgate.audited_digest": logged.digest,
        "camgate.policy_digest": verdict.policy_digest,
        "camgate.data_digest": verdict.data_digest,
        "validation_status": "approved",
    }
    assert load_classifier(f"models:/{NAME}@champion", tracking_uri=store).digest() == logged.digest


@pytest.mark.parametrize(
    ("status", "tag"), [("FAIL", "rejected"), ("INCONCLUSIVE", "inconclusive"), ("ERROR", "error")]
)
def test_anything_else_leaves_a_record_and_no_champion(
    status: str,
    tag: str,
    store: str,
    logged: LoggedClassifier,
    promote: Callable[..., Promotion],
    make_verdict: Judge,
) -> None:
    done = promote(make_verdict(status, logged.digest))
    assert (done.status, done.alias_moved, done.reason) == (tag, False, "above_limit")
    version = MlflowClient(store).get_model_version(NAME, "1")
    assert version.tags["validation_status"] == tag
    assert version.tags["camgate.verdict"] == status
    assert champion(store) is None
    assert "there is no champion" in done.sentence


def test_a_refused_successor_leaves_the_champion(
    store: str,
    run_id: str,
    logged: LoggedClassifier,
    make_classifier: Callable[..., Classifier],
    promote: Callable[..., Promotion],
    make_verdict: Judge,
) -> None:
    promote(make_verdict("PASS", logged.digest))
    second = log_classifier(make_classifier(seed=1), run_id=run_id, tracking_uri=store)
    refused = promote(make_verdict("FAIL", second.digest), model_uri=second.model_uri)
    assert (refused.version, refused.previous, champion(store)) == (2, 1, "1")
    assert "champion stays at version 1" in refused.sentence
    third = log_classifier(make_classifier(seed=2), run_id=run_id, tracking_uri=store)
    better = promote(make_verdict("PASS", third.digest), model_uri=third.model_uri)
    assert (better.version, better.previous, champion(store)) == (3, 1, "3")
    assert "(before: version 1)" in better.sentence


def test_the_same_model_is_one_version(
    store: str, logged: LoggedClassifier, promote: Callable[..., Promotion], make_verdict: Judge, run_id: str
) -> None:
    first = promote(make_verdict("INCONCLUSIVE", logged.digest))
    again = promote(make_verdict("PASS", logged.digest), model_uri=f"runs:/{run_id}/model")
    assert first.version == again.version == 1
    assert len(MlflowClient(store).search_model_versions(f"name='{NAME}'")) == 1
    assert champion(store) == "1"


def test_files_that_were_not_audited_are_never_promoted(
    store: str, logged: LoggedClassifier, promote: Callable[..., Promotion], make_verdict: Judge
) -> None:
    folder = Path(locate(MlflowClient(store), logged.model_uri).artifact_uri.removeprefix("file://"))
    spec = Path(str(folder).replace("%20", " ")) / "artifacts" / "classifier.json"
    spec.write_text(spec.read_text().replace("red", "RED"))
    done = promote(make_verdict("PASS", logged.digest))
    assert (done.status, done.alias_moved, done.reason) == ("error", False, "digest_mismatch")
    assert "is not what was audited" in done.sentence
    version = MlflowClient(store).get_model_version(NAME, "1")
    assert version.tags["validation_status"] == "error"
    assert version.tags["camgate.audited_digest"] == logged.digest
    assert version.tags["camgate.model_digest"] != logged.digest
    assert champion(store) is None


def test_evidence_of_another_model_is_an_error_whatever_it_says(
    store: str, promote: Callable[..., Promotion], make_verdict: Judge
) -> None:
    done = promote(make_verdict("FAIL", "f" * 64))
    assert (done.status, done.reason) == ("error", "digest_mismatch")
    assert champion(store) is None


def test_when_tagging_fails_the_alias_stays(
    store: str,
    logged: LoggedClassifier,
    promote: Callable[..., Promotion],
    make_verdict: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Evidence first, alias last: whatever carries the alias has its tags."""

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "_tag", broken)
    with pytest.raises(RegistryError, match="disk full"):
        promote(make_verdict("PASS", logged.digest))
    assert champion(store) is None
    assert MlflowClient(store).get_model_version(NAME, "1").tags == {"validation_status": "pending"}


def test_an_alias_that_reads_back_wrong_is_reported(
    logged: LoggedClassifier,
    promote: Callable[..., Promotion],
    make_verdict: Judge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", lambda *_: None)
    with pytest.raises(RegistryError, match="reads back as None"):
        promote(make_verdict("PASS", logged.digest))


@pytest.mark.parametrize("alias", ["latest", "v1", "V22", "", "a b", "a@b"])
def test_reserved_aliases(
    alias: str, store: str, promote: Callable[..., Promotion], make_verdict: Judge
) -> None:
    with pytest.raises(InputError, match="cannot be an alias"):
        promote(make_verdict("PASS", "f" * 64), alias=alias)
    assert not MlflowClient(store).search_registered_models()


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b"])
def test_names_that_cannot_be(name: str, promote: Callable[..., Promotion], make_verdict: Judge) -> None:
    with pytest.raises(InputError, match="cannot be called"):
        promote(make_verdict("PASS", "f" * 64), name=name)


def test_odd_but_allowed_names(
    store: str, logged: LoggedClassifier, promote: Callable[..., Promotion], make_verdict: Judge
) -> None:
    for name in ("it's mine", 'a "b"', "Unterführung 1%"):
        verdict = make_verdict("PASS", logged.digest)
        assert [promote(verdict, name=name).version for _ in range(2)] == [1, 1]
        uri = MlflowClient(store).get_model_version_by_alias(name, "champion").source
        assert uri == logged.model_uri


def test_a_path_is_no_model_uri(promote: Callable[..., Promotion], make_verdict: Judge) -> None:
    with pytest.raises(ModelError, match="no model URI"):
        promote(make_verdict("PASS", "f" * 64), model_uri="/some/folder")
