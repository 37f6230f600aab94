"""Messages, carried to a real HTTP receiver on loopback that is now and then unwell."""

from __future__ import annotations

import email.utils
import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from camgate.operate.delivery import NotifyOptions, deliver, post
from camgate.operate.messages import TITLES, Message

SECRET = "/services/T000/B000/very-hidden"


class Receiver:
    """Answers as it is told, the last answer again and again; keeps what it got."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]] | float] = [(200, {})]
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.times.append(time.monotonic())
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.bodies.append(json.loads(body))
                answers = receiver.answers
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, float):  # no answer for so long, then none at all
                    time.sleep(answer)
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                for name, value in answer[1].items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{SECRET}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join(5)


MESSAGE = Message(
    "blocked",
    "cam <1>",
    "Blocked: the model looks at the wall & not at the dog.",
    notes=("The data have drifted.",),
    links=(("report", "https://mlflow.example/#/runs/1"), ("worst picture", "/srv/mlruns/worst.png")),
    picture=b"\x89PNG",
)
QUICK = NotifyOptions(pause=0.02, timeout=0.5)


def test_it_arrives_with_what_slack_shows(receiver: Receiver) -> None:
    done = post(MESSAGE, QUICK, receiver.url)
    assert (done.delivered, done.attempts) == (True, 1)
    (body,) = receiver.bodies
    assert body["text"].startswith("Blocked: cam &lt;1&gt;. Blocked: the model looks at the wall &amp; not")
    kinds = [block["type"] for block in body["blocks"]]
    assert kinds == ["header", "section", "context"]
    links = body["blocks"][2]["elements"][0]["text"].split("\n")
    assert links == ["<https://mlflow.example/#/runs/1|report>", "worst picture: /srv/mlruns/worst.png"]


def test_it_arrives_as_a_card_for_teams(receiver: Receiver) -> None:
    assert post(MESSAGE, QUICK.model_copy(update={"format": "teams"}), receiver.url).delivered
    (attachment,) = receiver.bodies[0]["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    texts = [block["text"] for block in card["body"]]
    assert texts[:3] == ["Blocked: cam <1>", MESSAGE.sentence, "The data have drifted."]
    assert texts[3] == "worst picture: /srv/mlruns/worst.png"
    assert card["actions"] == [
        {"type": "Action.OpenUrl", "title": "report", "url": "https://mlflow.example/#/runs/1"}
    ]


def test_it_tries_again_while_the_receiver_is_unwell(receiver: Receiver) -> None:
    receiver.answers = [(503, {}), 0.0, (500, {}), (200, {})]
    done = post(MESSAGE, QUICK, receiver.url)
    assert (done.delivered, done.attempts, done.detail) == (True, 4, "HTTP 200")
    pauses = [after - before for before, after in zip(receiver.times, receiver.times[1:], strict=False)]
    assert pauses[0] >= 0.02
    assert pauses[2] >= 0.08, "each pause is twice the one before"


@pytest.mark.parametrize("as_date", [False, True])
def test_it_waits_as_long_as_it_is_asked_to(receiver: Receiver, as_date: bool) -> None:
    later = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    receiver.answers = [(429, {"Retry-After": later if as_date else "1"}), (200, {})]
    assert post(MESSAGE, QUICK, receiver.url).attempts == 2
    assert receiver.times[1] - receiver.times[0] >= 1.0


def test_but_no_longer_than_it_may(receiver: Receiver) -> None:
    receiver.answers = [(429, {"Retry-After": "86400"}), (200, {})]
    started = time.monotonic()
    assert post(MESSAGE, QUICK.model_copy(update={"longest_pause": 0.1}), receiver.url).delivered
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "attempts", "detail"),
    [
        ((404, {}), 1, "HTTP 404"),
        ((302, {"Location": "http://127.0.0.1:1/elsewhere"}), 1, "HTTP 302"),
        ((500, {"Retry-After": "nonsense"}), 2, "HTTP 500"),
        (1.5, 2, "no answer: ReadTimeout"),
    ],
)
def test_what_fails_is_told_once_with_the_whole_message_and_never_with_the_url(
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    answer: tuple[int, dict[str, str]] | float,
    attempts: int,
    detail: str,
) -> None:
    receiver.answers = [answer]
    caplog.set_level(logging.DEBUG)
    options = QUICK.model_copy(update={"attempts": 2})
    (done,) = deliver(MESSAGE, options, environment={"CAMGATE_WEBHOOK_URL": receiver.url})
    assert (done.where, done.delivered, done.attempts, done.detail) == ("webhook", False, attempts, detail)
    assert "NOT DELIVERED" in caplog.text
    assert MESSAGE.sentence in caplog.text
    assert "very-hidden" not in caplog.text + str(done)


def test_a_url_that_is_none_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    (done,) = deliver(MESSAGE, QUICK, url="very-hidden")
    assert (done.delivered, done.attempts) == (False, 1)
    assert "very-hidden" not in caplog.text


def test_the_folder_gets_message_and_picture(tmp_path: Path) -> None:
    (done,) = deliver(MESSAGE, NotifyOptions(folder=str(tmp_path / "told")), environment={})
    assert done.delivered
    content = json.loads(Path(done.detail).read_text(encoding="utf-8"))
    assert (content["kind"], content["title"]) == ("blocked", "Blocked: cam <1>")
    assert (tmp_path / "told" / content["picture"]).read_bytes() == MESSAGE.picture


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (done,) = deliver(MESSAGE, NotifyOptions(folder=str(tmp_path / "file")), environment={})
    assert not done.delivered


def test_only_the_kinds_that_are_wanted(receiver: Receiver) -> None:
    environment = {"CAMGATE_WEBHOOK_URL": receiver.url}
    calm = Message("in_control", "cam", "All is well.")
    assert deliver(calm, QUICK, environment=environment) == ()
    assert deliver(calm, QUICK.model_copy(update={"kinds": ("in_control",)}), environment=environment)
    assert deliver(MESSAGE, QUICK.model_copy(update={"kinds": ("error",)}), environment=environment) == ()
    assert len(receiver.bodies) == 1


def test_each_kind_has_a_title_of_its_own() -> None:
    assert len(set(TITLES.values())) == len(TITLES)
    kinds = ("blocked", "inconclusive", "error", "unverified")
    assert len({Message(kind, "cam", "It is so.").title for kind in kinds}) == 4
