"""A real `mlflow server` process on loopback: sqlite, and artifacts that only the server can reach."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Server:
    """Where a server is, and the folder of its database and artifacts."""

    uri: str
    folder: Path

    @property
    def port(self) -> int:
        return int(self.uri.rsplit(":", 1)[1])

    @property
    def database(self) -> Path:
        return self.folder / "server.db"

    def files(self, location: str) -> Path:
        """The folder behind a `mlflow-artifacts:` URI."""
        return self.folder / "artifacts" / location.removeprefix("mlflow-artifacts:").strip("/")


@dataclass(frozen=True)
class Logged:
    """A logged model and the digest of its files."""

    model_uri: str
    digest: str


@contextmanager
def mlflow_server(folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", folder)
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
                *("--backend-store-uri", f"sqlite:///{server.database}", "--workers", "1"),
                *("--artifacts-destination", str(folder / "artifacts"), *options),
            ],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | dict(env or {}),
            cwd=folder,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{server.uri}/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)  # the server's own group: its workers end with it
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait(15)
