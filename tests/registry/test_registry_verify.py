"""What a verifier finds, for each way of cheating: nothing but the real thing passes."""

from __future__ import annotations

import base64
import json
import pickle
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import Result
from mlflow import MlflowClient
from typer.testing import CliRunner

from camgate.audit.result import AuditResult
from camgate.cli import app
from camgate.errors import InputError, ModelError, RegistryError
from camgate.gate.verdict import Verdict
from camgate.models.classifier import Classifier
from camgate.registry import times
from camgate.registry.attestation import attest
from camgate.registry.connection import process_tracking_uri
from camgate.registry.evidence import ATTESTATION
from camgate.registry.flavor import LoggedClassifier, log_classifier
from camgate.registry.pinning import pin_policy
from camgate.registry.promotion import Promotion, promote_copy, register_and_promote
from camgate.registry.signing import SIGNING_KEY, make_keys, signing_key, trusted_keys, unseal
from camgate.registry.verify import Verification, verify, verify_all

NAME, URI = "underpass", "models:/underpass@champion"


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    found = {}
    for who in ("mine", "other"):
        private, public, _ = make_keys(tmp_path / "keys" / who)
        found |= {who: private, f"{who}.pub": public}
    monkeypatch.setenv(SIGNING_KEY, str(found["mine"]))
    monkeypatch.delenv("CAMGATE_TRUSTED_KEYS", raising=False)
    return found


@pytest.fixture
def logged(classifier: Classifier, store: str, run_id: str) -> LoggedClassifier:
    return log_classifier(classifier, run_id=run_id, tracking_uri=store)


@pytest.fixture
def promote(
    store: str,
    run_id: str,
    logged: LoggedClassifier,
    make_verdict: Callable[..., Verdict],
    result: AuditResult,
) -> Callable[..., Promotion]:
    """Judge as told, attest, promote; the policy is pinned."""

    def go(status: str = "PASS", model: LoggedClassifier = logged) -> Promotion:
        verdict = make_verdict(status, model.digest).model_copy(update={"created": times.text(times.now())})
        pin_policy(NAME, {}, tracking_uri=store)
        MlflowClient(store).set_registered_model_tag(NAME, "camgate.pinned_policy", verdict.policy_digest)
        return register_and_promote(
            verdict,
            model_uri=model.model_uri,
            name=NAME,
            run_id=run_id,
            attestation=attest(verdict, result, runs={"audit": run_id}),
            tracking_uri=store,
        )

    return go


@pytest.fixture
def check(store: str, keys: dict[str, Path]) -> Callable[..., Verification]:
    def go(uri: str = URI, **options: object) -> Verification:
        return verify(uri, **({"keys": [keys["mine.pub"]], "tracking_uri": store} | options))  # type: ignore[arg-type]

    return go


@pytest.fixture
def another(
    store: str, run_id: str, make_classifier: Callable[..., Classifier]
) -> Callable[[], MlflowClient]:
    """Register another model as version 2, around camgate."""

    def go() -> MlflowClient:
        other = log_classifier(make_classifier(seed=1), run_id=run_id, tracking_uri=store)
        client = MlflowClient(store)
        with process_tracking_uri(store):
            client.create_model_version(NAME, other.model_uri)
        return client

    return go


def faults(found: Verification) -> dict[str, str]:
    return {proof.name: str(proof.status) for proof in found.proofs if proof.status != "PASS"}


def set_tag(store: str, key: str, value: str, version: str = "1") -> None:
    MlflowClient(store).set_model_version_tag(NAME, version, key, value)


def tag(store: str, key: str = ATTESTATION, version: str = "1") -> str:
    return str(MlflowClient(store).get_model_version(NAME, version).tags[key])


Promote, Check, Keys = Callable[..., Promotion], Callable[..., Verification], dict[str, Path]


def test_the_real_thing_holds_and_names_the_version(
    promote: Promote, check: Check, logged: LoggedClassifier
) -> None:
    assert promote().alias_moved
    found = check(max_age=timedelta(days=36500))
    assert (str(found.status), faults(found)) == ("PASS", {})
    assert (found.uri, found.digest) == (f"models:/{NAME}/1", logged.digest)
    assert {proof.name for proof in found.proofs} == {
        "signature", "digest", "verdict", "policy", "age", "tags", "attempts", "history"
    }  # fmt: skip
    assert faults(check(f"models:/{NAME}/1")) == {}


def test_unsigned_is_not_known_unless_allowed(
    promote: Promote, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SIGNING_KEY)
    promote()
    assert (str(check().status), faults(check())) == ("INCONCLUSIVE", {"signature": "INCONCLUSIVE"})
    assert str(check(allow_unsigned=True).status) == "PASS"


def test_a_key_that_is_not_trusted_fails_and_none_at_all_is_not_known(
    promote: Promote, check: Check, keys: Keys
) -> None:
    promote()
    assert faults(check(keys=[keys["other.pub"]])) == {"signature": "FAIL"}
    assert faults(check(keys=[])) == {"signature": "INCONCLUSIVE"}
    assert faults(check(keys=[keys["other.pub"]], allow_unsigned=True)) == {"signature": "FAIL"}
    assert faults(check(keys=[keys["other.pub"], keys["mine.pub"]])) == {}


@pytest.mark.parametrize("member", ["status", "dataDigest", "policyDigest", "scoresDigest"])
def test_a_changed_statement_has_no_signature(
    store: str, promote: Promote, check: Check, member: str
) -> None:
    promote("FAIL" if member == "status" else "PASS")
    envelope = json.loads(tag(store))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    inside = statement["predicate"]["verdict"] if member == "status" else statement["predicate"]
    inside[member] = "PASS" if member == "status" else "0" * 64
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    set_tag(store, ATTESTATION, json.dumps(envelope))
    assert faults(check(f"models:/{NAME}/1"))["signature"] == "FAIL"


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "no json", '{"payload":"e30=","payloadType":"x","signatures":[]}']
)
def test_a_broken_envelope_fails(store: str, promote: Promote, check: Check, text: str) -> None:
    promote()
    set_tag(store, ATTESTATION, text)
    assert faults(check())["attestation"] == "FAIL"


def test_an_alias_set_around_camgate_is_found(
    store: str, promote: Promote, check: Check, another: Callable[[], MlflowClient]
) -> None:
    promote()
    client = another()
    client.set_registered_model_alias(NAME, "champion", "2")
    assert faults(check()) == {"attestation": "FAIL", "history": "FAIL"}


def test_a_stolen_verdict_of_another_model_is_found(
    store: str, promote: Promote, check: Check, another: Callable[[], MlflowClient]
) -> None:
    promote()
    client = another()
    for key, value in client.get_model_version(NAME, "1").tags.items():
        set_tag(store, key, value, "2")
    assert faults(check(f"models:/{NAME}/2")) == {"digest": "FAIL"}


@pytest.mark.parametrize("name", ["model.safetensors", "MLmodel"])
def test_changed_files_are_found(
    store: str, promote: Promote, check: Check, logged: LoggedClassifier, name: str
) -> None:
    promote()
    place = MlflowClient(store).get_logged_model(logged.model_uri.removeprefix("models:/")).artifact_location
    (path,) = Path(unquote(place.removeprefix("file://"))).rglob(name)
    text = path.read_bytes()
    path.write_bytes(text[:-1] + bytes([text[-1] ^ 1]) if name != "MLmodel" else b"flavors: {}\n")
    assert faults(check()) == {"digest": "FAIL"}
    path.unlink()
    assert faults(check())["digest"] == "FAIL"


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_nothing_of_the_model_is_run_or_unpickled(
    store: str, promote: Promote, check: Check, logged: LoggedClassifier, tmp_path: Path
) -> None:
    promote()
    place = MlflowClient(store).get_logged_model(logged.model_uri.removeprefix("models:/")).artifact_location
    folder, marker = Path(unquote(place.removeprefix("file://"))), tmp_path / "went off"
    for name in ("python_model.pkl", "data/model.pth"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(Bomb(marker)))
    for code in folder.rglob("*.py"):
        code.write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    assert faults(check()) == {"digest": "FAIL"}
    assert not marker.exists()
    pickle.loads((folder / "python_model.pkl").read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    "key", ["camgate.verdict", "camgate.policy_digest", "camgate.data_digest", "camgate.audit_run_id"]
)
def test_tags_set_by_hand_are_found(store: str, promote: Promote, check: Check, key: str) -> None:
    promote()
    set_tag(store, key, "FAIL" if key == "camgate.verdict" else "0" * 64)
    assert faults(check()) == {"tags": "FAIL"}


def test_a_refused_version_that_was_made_to_look_good_fails(
    store: str, promote: Promote, check: Check
) -> None:
    assert not promote("FAIL").alias_moved
    client = MlflowClient(store)
    set_tag(store, "camgate.verdict", "PASS")
    set_tag(store, "validation_status", "approved")
    client.set_registered_model_alias(NAME, "champion", "1")
    assert faults(check()) == {"verdict": "FAIL", "tags": "FAIL", "history": "FAIL"}


def test_a_replayed_old_verdict_is_found_by_the_attempts(store: str, promote: Promote, check: Check) -> None:
    promote()
    old = tag(store)
    promote("FAIL")
    set_tag(store, ATTESTATION, old)
    assert faults(check())["attempts"] == "FAIL"


def test_the_policys_own_age_holds_without_being_asked_for(
    store: str,
    run_id: str,
    check: Check,
    logged: LoggedClassifier,
    make_verdict: Callable[..., Verdict],
    result: AuditResult,
) -> None:
    judged = times.text(times.now() - timedelta(days=2))
    verdict = make_verdict("PASS", logged.digest)
    for days, expected in ((3.0, {}), (1.0, {"age": "FAIL"})):
        verdict = verdict.model_copy(update={"created": judged, "max_evidence_days": days})
        register_and_promote(
            verdict.model_copy(
                update={"max_evidence_days": None}
            ),  # it was young enough when it was promoted
            model_uri=logged.model_uri,
            name=NAME,
            run_id=run_id,
            attestation=attest(verdict, result, runs={"audit": run_id}),
            tracking_uri=store,
        )
        assert faults(check(policy_digest=verdict.policy_digest)) == expected
        assert faults(check(policy_digest=verdict.policy_digest, max_age=timedelta(days=1))) == {
            "age": "FAIL"
        }


def test_an_empty_policy_digest_expects_something(promote: Promote, check: Check) -> None:
    promote()
    assert faults(check(policy_digest="")) == {"policy": "FAIL"}


def test_files_that_are_gone_fail(
    store: str, promote: Promote, check: Check, logged: LoggedClassifier
) -> None:
    promote()
    place = MlflowClient(store).get_logged_model(logged.model_uri.removeprefix("models:/")).artifact_location
    shutil.rmtree(unquote(place.removeprefix("file://")))
    assert faults(check()) == {"readable": "FAIL", "digest": "FAIL"}


def test_files_that_cannot_be_reached_prove_nothing_and_tell_no_password(
    promote: Promote, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote()

    def refuse(*_: object) -> str:
        raise OSError("no answer from https://user:hunter2@store.example/files")

    monkeypatch.setattr("camgate.registry.versions.digest_of", refuse)
    found = check()
    assert faults(found) == {"readable": "INCONCLUSIVE"}
    assert "hunter2" not in str(found)


def test_age_and_policy(store: str, promote: Promote, check: Check) -> None:
    promote()
    assert faults(check(max_age=timedelta(0))) == {"age": "FAIL"}
    assert faults(check(policy_digest="0" * 64)) == {"policy": "FAIL"}
    MlflowClient(store).delete_registered_model_tag(NAME, "camgate.pinned_policy")
    assert faults(check()) == {"policy": "INCONCLUSIVE"}


def test_a_copy_carries_its_proof(store: str, promote: Promote, check: Check) -> None:
    promote()
    pinned = str(MlflowClient(store).get_registered_model(NAME).tags["camgate.pinned_policy"])
    assert promote_copy(f"models:/{NAME}/1", name="production", tracking_uri=store).alias_moved
    found = check("models:/production@champion", policy_digest=pinned)
    assert (found.uri, faults(found)) == ("models:/production/1", {})


def test_a_whole_registry(store: str, promote: Promote, keys: Keys) -> None:
    promote()
    client = MlflowClient(store)
    client.create_registered_model("unaudited")
    client.create_registered_model("without a champion")
    client.create_registered_model("camgate-lock--x--champion")
    source = client.get_model_version(NAME, "1").source
    with process_tracking_uri(store):
        client.create_model_version("unaudited", source)
    client.set_registered_model_alias("unaudited", "champion", "1")
    found = verify_all(keys=[keys["mine.pub"]], tracking_uri=store)
    assert [(each.name, str(each.status)) for each in found] == [("unaudited", "FAIL"), (NAME, "PASS")]


def test_the_command_line(store: str, promote: Promote, keys: Keys, logged: LoggedClassifier) -> None:
    promote()

    def run(*arguments: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", store)
            return CliRunner().invoke(app, ["verify", *arguments])

    trust = ["--key", str(keys["mine.pub"])]
    good = run(URI, *trust)
    assert good.exit_code == 0, good.output
    assert good.output.startswith(f"PASS  models:/{NAME}/1\ndigest {logged.digest}\n")
    assert run(URI).exit_code == 3
    bad = run("--all", "--json", "--key", str(keys["other.pub"]))
    assert bad.exit_code == 1
    (told,) = json.loads(bad.output)["models"]
    nothing = run("--all", "--alias", "nobody", *trust)
    assert nothing.exit_code == 3
    assert nothing.output.startswith("INCONCLUSIVE  no registered model has the alias nobody")
    assert (told["uri"], told["status"]) == (f"models:/{NAME}/1", "FAIL")
    statement = json.loads(base64.b64decode(json.loads(tag(store))["payload"]))
    policy = statement["predicate"]["policyDigest"]
    later = {"policy": policy, "verdict": "FAIL", "reason": "\x1b[2J\nPASS"}
    set_tag(store, "camgate.attempt.99999999T000000000000-00000000", json.dumps(later))
    hostile = run(URI, *trust)
    assert hostile.exit_code == 1
    assert "\x1b" not in hostile.output
    assert "\nPASS" not in hostile.output


def test_keys_are_never_overwritten_nor_shown(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["keygen", "--out", str(tmp_path / "key")])
    assert made.exit_code == 0
    secret = (tmp_path / "key").read_text()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert secret.splitlines()[1] not in made.output
    for again in (tmp_path / "key",):
        with pytest.raises(InputError, match="never overwritten"):
            make_keys(again)
    (tmp_path / "key.pub").unlink()
    with pytest.raises(InputError, match="never overwritten"):
        make_keys(tmp_path / "key")
    assert (tmp_path / "key").read_text() == secret


def test_files_that_are_no_keys_are_named(tmp_path: Path, keys: Keys) -> None:
    broken = tmp_path / "broken"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----\n")
    for path in (broken, keys["mine.pub"], tmp_path / "absent"):
        with pytest.raises(InputError, match=path.name) as raised:
            signing_key(path)
        assert "MC4CAQ" not in str(raised.value)
    for path in (broken, keys["mine"], tmp_path / "absent"):
        with pytest.raises(InputError, match=path.name):
            trusted_keys([path])


def test_sealed_twice_is_the_same(
    result: AuditResult, make_verdict: Callable[..., Verdict], keys: Keys, tmp_path: Path
) -> None:
    verdict = make_verdict("PASS", "a" * 64)
    text = attest(verdict, result, runs={"audit": "r"})
    assert attest(verdict, result, runs={"audit": "r"}) == text
    statement, signer, signed = unseal(text, trusted_keys([keys["mine.pub"]]))
    assert signed
    assert signer is not None
    assert statement["subject"][0]["digest"]["sha256"] == "a" * 64
    again = AuditResult.load(result.save(tmp_path / "saved"))
    assert statement["predicate"]["scoresDigest"] == again.scores_digest()
    again.scores.loc[0, "invalid_activation"] = 0.5
    assert statement["predicate"]["scoresDigest"] != again.scores_digest()


def test_what_cannot_be_verified_is_an_error(store: str, keys: Keys) -> None:
    with pytest.raises(RegistryError):
        verify("models:/nobody@champion", tracking_uri=store)
    with pytest.raises(ModelError, match="alias"):
        verify("models:/underpass/latest", tracking_uri=store)
