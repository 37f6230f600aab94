"""Real servers, shared by the tests of this folder, and what is promoted on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_server import Logged, Server, mlflow_server

from camgate.gate.policy import Policy
from camgate.gate.verdict import CheckResult, Status, Verdict
from camgate.registry.digest import folder_digest

POLICY = Policy.parse({"waivers": {"allowed": True}})


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def log_model(tmp_path: Path) -> Callable[..., Logged]:
    """Logs a model of two files: promotion reads all of them twice, and a classifier has a hundred."""

    def log(uri: str, run_id: str, content: str) -> Logged:
        folder = tmp_path / f"model-{content}"
        folder.mkdir()
        (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: somebodys}}\n")
        (folder / "weights.bin").write_text(content)
        client = MlflowClient(uri)
        experiment = client.get_run(run_id).info.experiment_id
        model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        return Logged(f"models:/{model.model_id}", folder_digest(folder))

    return log


@pytest.fixture(scope="session")
def make_verdict() -> Callable[..., Verdict]:
    def make(status: str, model_digest: str, *, policy: str | None = None) -> Verdict:
        value = Status(status)
        return Verdict(
            status=value,
            reason="ok" if value is Status.PASS else "above_limit",
            sentence=f"{status}, said the test.",
            checks=(CheckResult(name="invalid_lift", status=value, reason="ok", message="A check."),),
            policy_digest=policy or POLICY.digest(),
            model_digest=model_digest,
            data_digest="d" * 64,
            settings={"seed": 7, "method": "gradcam"},
            waivers=POLICY.waivers,
        )

    return make


@pytest.fixture(scope="session")
def policy() -> Policy:
    """By which the verdicts are; it allows waivers."""
    return POLICY


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own default is an empty folder."""
    monkeypatch.chdir(tmp_path)
