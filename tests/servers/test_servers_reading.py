"""Verification over a connection that fails: the right answer, or that nobody knows; never a wrong one."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_proxy import PATIENCE, Proxy, Schedule
from mlflow import MlflowClient
from mlflow_server import Logged, Server
from no_registry import KINDS, answering
from typer.testing import CliRunner

from camgate.cli import app
from camgate.errors import RegistryError
from camgate.gate.policy import Policy
from camgate.gate.verdict import Verdict
from camgate.registry import times
from camgate.registry.attestation import PREDICATE, STATEMENT
from camgate.registry.pinning import pin_policy
from camgate.registry.promotion import register_and_promote
from camgate.registry.runs import open_run
from camgate.registry.signing import TRUSTED_KEYS, make_keys, seal, signing_key

SECRET = "s3cret-of-the-reader"


def attested(verdict: Verdict, run_id: str, key: Path) -> str:
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": "model", "digest": {"sha256": verdict.model_digest}}],
        "predicateType": PREDICATE,
        "predicate": {
            "verdict": {"status": str(verdict.status), "reason": verdict.reason, "checks": []},
            "dataDigest": verdict.data_digest,
            "policyDigest": verdict.policy_digest,
            "time": verdict.created,
            "maxEvidenceDays": None,
            "waivers": {},
            "runs": {"audit": run_id},
        },
    }
    return seal(statement, signing_key(key))


@pytest.fixture
def names(
    server: Server,
    log_model: Callable[..., Logged],
    make_verdict: Callable[..., Verdict],
    policy: Policy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: None,
) -> dict[str, str]:
    """Two registered models: one whose champion is proven, one whose weights were changed since."""
    private, public, _ = make_keys(tmp_path / "key")
    monkeypatch.setenv(TRUSTED_KEYS, str(public))
    run_id = open_run(experiment="reading", key=str(tmp_path), tracking_uri=server.uri)
    expected = {}
    for kind, answer in (("honest", "PASS"), ("forged", "FAIL")):
        model = log_model(server.uri, run_id, kind)
        verdict = make_verdict("PASS", model.digest).model_copy(update={"created": times.text(times.now())})
        name = f"{kind}-{tmp_path.name}"
        pin_policy(name, policy, tracking_uri=server.uri)
        done = register_and_promote(
            verdict,
            model_uri=model.model_uri,
            name=name,
            run_id=run_id,
            attestation=attested(verdict, run_id, private),
            tracking_uri=server.uri,
        )
        assert done.alias_moved
        if kind == "forged":
            place = MlflowClient(server.uri).get_logged_model(model.model_uri.removeprefix("models:/"))
            (server.files(place.artifact_location) / "weights.bin").write_text("changed", encoding="utf-8")
        expected[name] = answer
    return expected


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(PATIENCE)),
    }.items():
        monkeypatch.setenv(key, value)


def answer(monkeypatch: pytest.MonkeyPatch, uri: str, *words: str) -> tuple[str, str]:
    """Status of `camgate verify`, `error` where it says that MLflow cannot be asked; and all it told."""
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        run = CliRunner().invoke(app, ["verify", "--json", *words])
    if run.exception is not None and not isinstance(run.exception, SystemExit):
        assert isinstance(run.exception, RegistryError), repr(run.exception)
        return "error", str(run.exception)
    found = json.loads(run.output)
    assert run.exit_code == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[found["status"]]
    return found["status"], run.output


@pytest.mark.usefixtures("impatient")
def test_over_a_bad_connection_the_answer_is_right_or_missing(
    server: Server, names: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: Counter[tuple[str, str]] = Counter()
    with Proxy(server.port, lambda: None).running() as proxy:
        for seed in range(40):
            for name, truth in names.items():
                proxy.schedule = Schedule(seed, 8)
                said, told = answer(monkeypatch, proxy.uri, f"models:/{name}@champion")
                proxy.quiet()
                assert said in {truth, "INCONCLUSIVE", "error"}, (seed, name, told)
                outcomes[truth, said] += 1
        for name, truth in names.items():
            assert answer(monkeypatch, proxy.uri, f"models:/{name}@champion")[0] == truth
    assert min(outcomes["PASS", "PASS"], outcomes["FAIL", "FAIL"]) > 0
    assert outcomes["PASS", "error"] > 0
    with capsys.disabled():
        print(f"\nverified over 40 schedules of faults: {dict(sorted(outcomes.items()))}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("impatient", "elsewhere")
def test_a_registry_that_is_none_is_one_sentence(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(kind) as uri:
        started = time.monotonic()
        address = uri.replace("http://", f"http://reader:{SECRET}@")
        for words in (["models:/underpass@champion"], ["--all"]):
            said, told = answer(monkeypatch, address, *words)
            assert said == "error"
            assert SECRET not in told
            assert len(told.splitlines()) == 1
            assert len(told) < 1000
        assert time.monotonic() - started < 8 * PATIENCE
