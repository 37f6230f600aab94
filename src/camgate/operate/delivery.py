"""Carrying a message to a webhook or into a folder. What fails here is told, and changes no verdict.

The webhook's URL is a secret: whoever has it can post. Neither a log line nor an error holds it.
"""

from __future__ import annotations

import email.utils
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import requests
from pydantic import BaseModel, ConfigDict, Field

from camgate.errors import CamgateError
from camgate.files import write_text
from camgate.operate.messages import Kind, Message

WEBHOOK = "CAMGATE_WEBHOOK_URL"
"""Environment variable that holds the webhook's URL."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""

_log = logging.getLogger(__name__)


class NotifyOptions(BaseModel):
    """To whom, and how stubbornly.

    Attributes:
        kinds: of messages to send; all where None. A champion in control is told only where it is named.
        format: of the webhook's body.
        folder: that receives each message as JSON, and its picture beside it.
        secret: ZenML secret whose value `url` is the webhook's; else `CAMGATE_WEBHOOK_URL` is read.
        attempts: requests at most.
        timeout: seconds for each.
        pause: seconds before the second attempt; doubled before each further one.
        longest_pause: seconds at most, also where the receiver asks for more (`Retry-After`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: tuple[Kind, ...] | None = None
    format: Literal["slack", "teams"] = "slack"
    folder: str | None = None
    secret: str | None = None
    attempts: int = Field(default=4, ge=1, le=10)
    timeout: float = Field(default=10.0, gt=0)
    pause: float = Field(default=1.0, ge=0)
    longest_pause: float = Field(default=60.0, ge=0)

    def wanted(self, kind: Kind) -> bool:
        """Whether such a message is to be sent."""
        return kind != "in_control" if self.kinds is None else kind in self.kinds


class Delivery(BaseModel):
    """What became of a message in one place.

    Attributes:
        where: `webhook`, `folder` or `alerter`.
        delivered: whether it arrived, as far as can be known.
        attempts: that were made.
        detail: the last answer in words; never the webhook's URL.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Literal["webhook", "folder", "alerter"]
    delivered: bool
    attempts: int = 1
    detail: str = ""


def deliver(
    message: Message,
    options: NotifyOptions,
    *,
    url: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Delivery, ...]:
    """Send a message to the webhook and into the folder, where there are such.

    Args:
        message: to send.
        options: see `NotifyOptions`.
        url: of the webhook; None takes `CAMGATE_WEBHOOK_URL`.
        environment: to read that from; None is the process's own.

    Returns:
        One entry for each place. A failure is logged, and is a result; nothing is raised.
    """
    if not options.wanted(message.kind):
        return ()
    done = []
    address = url or (os.environ if environment is None else environment).get(WEBHOOK)
    if address:
        done.append(post(message, options, address))
    if options.folder is not None:
        done.append(put(message, Path(options.folder)))
    tell_failures(message, done)
    return tuple(done)


def tell_failures(message: Message, done: list[Delivery]) -> None:
    """Say loudly what did not arrive, with the message itself: the log may be all that anybody sees."""
    for delivery in done:
        if not delivery.delivered:
            _log.error(
                "NOT DELIVERED to the %s (%s, %d attempts): %s",
                delivery.where,
                delivery.detail,
                delivery.attempts,
                message.text(),
            )


def post(message: Message, options: NotifyOptions, url: str) -> Delivery:
    """Post to a webhook, again where it may help: no answer, 429, 5xx; `Retry-After` is honoured.

    Redirects are not followed: the message would go to somebody else.
    """
    body = message.teams() if options.format == "teams" else message.slack()
    pause, detail = options.pause, ""
    for attempt in range(1, options.attempts + 1):
        wait = pause
        try:
            with _discreet():
                answer = requests.post(url, json=body, timeout=options.timeout, allow_redirects=False)
        except requests.RequestException as error:
            # Its text has the URL in it.
            detail, again = f"no answer: {type(error).__name__}", _may_help(error)
        else:
            detail = f"HTTP {answer.status_code}"
            if answer.ok and not answer.is_redirect:
                return Delivery(where="webhook", delivered=True, attempts=attempt, detail=detail)
            again = answer.status_code in AGAIN
            wait = _asked_for(answer.headers.get("Retry-After")) or pause
        if not again or attempt == options.attempts:
            return Delivery(where="webhook", delivered=False, attempts=attempt, detail=detail)
        time.sleep(min(wait, options.longest_pause))
        pause *= 2
    raise AssertionError("unreachable: the last attempt returns")


def put(message: Message, folder: Path) -> Delivery:
    """Write the message as JSON into a folder, its picture as PNG beside it."""
    stamp = datetime.now(UTC)
    stem = f"{stamp.strftime('%Y%m%dT%H%M%S%f')}-{message.kind}"
    content: dict[str, Any] = {"time": stamp.isoformat(timespec="seconds"), **message.record()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if message.picture is not None:
            (folder / f"{stem}.png").write_bytes(message.picture)
            content["picture"] = f"{stem}.png"
        write_text(folder / f"{stem}.json", json.dumps(content, indent=2) + "\n")
    except (OSError, CamgateError) as error:
        return Delivery(where="folder", delivered=False, detail=str(error))
    return Delivery(where="folder", delivered=True, detail=str(folder / f"{stem}.json"))


def _may_help(error: requests.RequestException) -> bool:
    """Whether another attempt may succeed; a URL that is none stays one."""
    return isinstance(
        error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError
    )


def _asked_for(header: str | None) -> float | None:
    """Seconds that `Retry-After` asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        when = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)


@contextmanager
def _discreet() -> Iterator[None]:
    """Without urllib3's log lines, which name the path of each request."""
    logger = logging.getLogger("urllib3.connectionpool")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
