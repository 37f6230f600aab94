"""The whole way through a real `mlflow server` process, whose files only the server can reach."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from camgate.audit.result import AuditResult
from camgate.gate.policy import Policy
from camgate.gate.verdict import Verdict
from camgate.models.classifier import Classifier
from camgate.registry.flavor import load_classifier, log_classifier, logged_model_digest
from camgate.registry.promotion import register_and_promote
from camgate.registry.tracking import finish_run, log_audit, log_verdict, open_run


@pytest.fixture
def server(migrated: Path, tmp_path: Path) -> Iterator[str]:
    shutil.copy(migrated, tmp_path / "server.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}", "--workers", "1"),
            *("--artifacts-destination", str(tmp_path / "artifacts")),
        ],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        cwd=tmp_path,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{uri}/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, 15)  # the server's own group: its workers end with it
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(15)
        log.close()


def test_from_run_to_champion(
    server: str,
    classifier: Classifier,
    result: AuditResult,
    make_verdict: Callable[..., Verdict],
    capfd: pytest.CaptureFixture[str],
) -> None:
    run_id = open_run(experiment="underpass", key="pipeline 1", tracking_uri=server)
    assert open_run(experiment="underpass", key="pipeline 1", tracking_uri=server) == run_id
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=server)
    verdict = make_verdict("PASS", logged.digest)
    log_audit(run_id, result, verdict, pictures=2, tracking_uri=server)
    log_verdict(run_id, verdict, Policy.default(), tracking_uri=server)
    refused = register_and_promote(
        make_verdict("FAIL", logged.digest),
        model_uri=logged.model_uri,
        name="underpass",
        run_id=run_id,
        tracking_uri=server,
    )
    assert (refused.status, refused.alias_moved) == ("rejected", False)
    done = register_and_promote(
        verdict, model_uri=logged.model_uri, name="underpass", run_id=run_id, tracking_uri=server
    )
    finish_run(run_id, tracking_uri=server)
    assert (done.version, done.status, done.alias_moved) == (1, "approved", True)
    for uri in (
        logged.model_uri,
        "models:/underpass/1",
        "models:/underpass@champion",
        f"runs:/{run_id}/model",
    ):
        assert logged_model_digest(uri, tracking_uri=server) == logged.digest
    champion = load_classifier("models:/underpass@champion", tracking_uri=server)
    assert (champion.model_uri, champion.digest()) == (logged.model_uri, logged.digest)
    client = MlflowClient(server)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert {entry.path for entry in client.list_artifacts(run_id)} == {"audit", "gate", "images"}
    assert capfd.readouterr().out == ""
