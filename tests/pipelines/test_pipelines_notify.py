"""Whom the steps tell: the stack's alerter before the webhook, and a webhook from ZenML's secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from zenml.alerter.base_alerter import BaseAlerter
from zenml.client import Client
from zenml.stack import Stack

from camgate.operate.delivery import NotifyOptions
from camgate.operate.messages import Message
from camgate.steps.notify import send, tell

MESSAGE = Message("unverified", "cam", "models:/cam/3 does not verify.")


@pytest.fixture
def received() -> Iterator[tuple[str, list[Any]]]:
    bodies: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", bodies
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("stores")
def test_the_url_comes_from_a_zenml_secret(
    received: tuple[str, list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    url, bodies = received
    Client().create_secret("camgate-webhook", values={"url": url})
    (done,) = send(MESSAGE, NotifyOptions(secret="camgate-webhook"))
    assert (done.where, done.delivered, len(bodies)) == ("webhook", True, 1)
    failed = send(MESSAGE, NotifyOptions(secret="no-such-secret", folder="told"))
    assert [(each.where, each.delivered) for each in failed] == [("webhook", False), ("folder", True)]
    assert MESSAGE.sentence in caplog.text
    assert url not in caplog.text


class Chat(BaseAlerter):
    """An alerter of ZenML's own kind, whose chat is a list."""

    said: list[str] = []  # noqa: RUF012
    broken = False

    def __init__(self) -> None:
        """Without the stack component's configuration."""

    def post(self, message: str, params: Any = None) -> bool:
        if self.broken:
            raise ConnectionError("the chat is away")
        self.said.append(message)
        return True


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("broken", [False, True])
def test_the_stack_s_alerter_comes_first(
    received: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    url, bodies = received
    chat = Chat()
    chat.broken = broken
    monkeypatch.setattr(Chat, "said", [])
    monkeypatch.setattr(Stack, "alerter", property(lambda stack: chat))
    monkeypatch.setenv("CAMGATE_WEBHOOK_URL", url)
    done = send(MESSAGE, NotifyOptions(folder="told"))
    assert [(each.where, each.delivered) for each in done] == [("alerter", not broken), ("folder", True)]
    assert bodies == []
    assert chat.said == ([] if broken else [MESSAGE.text()])
    assert MESSAGE.text().startswith("The champion no longer verifies: cam\nmodels:/cam/3 does not verify.")


@pytest.mark.usefixtures("stores")
def test_a_wrong_option_does_not_swallow_an_error(caplog: pytest.LogCaptureFixture) -> None:
    tell("error", "cam", "The retraining broke: no disk.", {"folders": "told"})
    assert "did you mean 'folder'" in caplog.text
    assert "The retraining broke: no disk." in caplog.text
    assert not Path("told").exists()
