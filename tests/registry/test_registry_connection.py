from __future__ import annotations

import http.server
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from camgate.errors import InputError, RegistryError
from camgate.registry import connection
from camgate.registry.connection import (
    connected,
    defaults,
    prepare_local_store,
    process_tracking_uri,
    without_credentials,
)
from camgate.registry.flavor import resolve_model
from camgate.registry.runs import open_run

RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def broken_server() -> Iterator[str]:
    """Answers everything with 503."""

    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def check(message: str, uri: str, seconds: float) -> None:
    assert seconds < 15
    assert uri in message
    assert "could not open a run in experiment 'e'" in message
    assert "\n" not in message
    assert len(message) < 900


def test_nobody_listens() -> None:
    uri, start = f"http://127.0.0.1:{free_port()}", time.monotonic()
    with pytest.raises(RegistryError) as caught:
        open_run(experiment="e", key="k", tracking_uri=uri)
    check(str(caught.value), uri, time.monotonic() - start)
    with pytest.raises(RegistryError):
        resolve_model("models:/a@champion", tracking_uri=uri)


def test_a_server_that_fails(broken_server: str) -> None:
    start = time.monotonic()
    with pytest.raises(RegistryError) as caught:
        open_run(experiment="e", key="k", tracking_uri=broken_server)
    check(str(caught.value), broken_server, time.monotonic() - start)


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    first = connection._FIRST_CONTACT
    assert float(first[TIMEOUT]) * (1 + int(first[RETRIES])) < 12
    monkeypatch.setitem(first, TIMEOUT, "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri, start = f"http://127.0.0.1:{silent.getsockname()[1]}", time.monotonic()
        with pytest.raises(RegistryError) as caught:
            open_run(experiment="e", key="k", tracking_uri=uri)
    check(str(caught.value), uri, time.monotonic() - start)


def test_no_password_in_a_message() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RegistryError) as caught:
        open_run(experiment="e", key="k", tracking_uri=f"http://anna:s3cret@{address}")
    assert "s3cret" not in str(caught.value)
    assert "anna" not in str(caught.value)
    assert address in str(caught.value)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("at postgresql://u:p@ss@host:5432/db now", "at postgresql://***@host:5432/db now"),
        ("https://token@host/x?a=1&password=abc&b=2", "https://***@host/x?a=1&password=***&b=2"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("models:/name@champion", "models:/name@champion"),
    ],
)
def test_credentials_are_taken_out(text: str, clean: str) -> None:
    assert without_credentials(text) == clean


def test_a_database_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)  # else it tries for minutes
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(RegistryError, match=r"mlflow\.db refused"):
        open_run(experiment="e", key="k", tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_an_unknown_scheme() -> None:
    with pytest.raises(RegistryError, match="nonsense://x"):
        open_run(experiment="e", key="k", tracking_uri="nonsense://x")


def test_own_errors_pass(store: str) -> None:
    with pytest.raises(InputError, match="mine"), connected(store, doing="try"):
        raise InputError("mine")


def test_settings_are_for_the_while_and_the_users_win(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RETRIES, raising=False)
    with connected(store, doing="try"):
        assert os.environ[RETRIES] == "2"
        with connected(store, doing="try"):
            assert os.environ[RETRIES] == "2"
        assert os.environ[RETRIES] == "2"
    assert RETRIES not in os.environ
    monkeypatch.setenv(RETRIES, "9")
    with connected(store, doing="try"), defaults({RETRIES: "1"}):
        assert os.environ[RETRIES] == "9"
    assert os.environ[RETRIES] == "9"


def test_settings_survive_threads_that_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMGATE_TEST", raising=False)
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with defaults({"CAMGATE_TEST": "1"}):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with defaults({"CAMGATE_TEST": "2"}):
        leave.set()
        thread.join()
        assert "CAMGATE_TEST" in os.environ
    assert "CAMGATE_TEST" not in os.environ


def test_the_process_uri_comes_back(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///users.db")
    with process_tracking_uri(store):
        assert mlflow.get_tracking_uri() == store
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///users.db"
    assert mlflow.get_tracking_uri() == "sqlite:///users.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_a_local_store_lies_in_one_folder(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(store.removeprefix("sqlite:///")).parent
    assert prepare_local_store(folder, "demo") == store == prepare_local_store(folder, "demo")
    run_id = open_run(experiment="demo", key="k", tracking_uri=store)
    with connected(store, doing="try") as client:
        assert client.get_run(run_id).info.artifact_uri.startswith((folder / "mlruns").as_uri())
    assert capfd.readouterr() == ("", "")
