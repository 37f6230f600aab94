"""A proxy on the way to the server that delays, cuts and answers 500, by a seeded schedule."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 2.0  # seconds after which the client of the tests gives up
FAULTS = ("delay", "error_before", "error_after", "cut_before", "cut_after")
"""`before`: the server never sees the request; `after`: it has done what was asked."""


class Schedule:
    """What happens to each request, in their order; the same for the same seed.

    Nothing happens to the first ones, so that faults reach every part of the sequence. Some schedules have
    one request that arrives after its sender gave up; in some the server is dead from one moment on.
    """

    def __init__(self, seed: int, requests: int) -> None:
        chance = random.Random(seed)
        self._chance = chance
        self._rate = chance.choice((0.05, 0.15, 0.4))
        self._quiet = chance.randrange(requests)
        self._dies = self._quiet + chance.randrange(requests // 2) if chance.random() < 0.35 else None
        self._late = self._quiet + chance.randrange(8) if chance.random() < 0.1 else None
        self._number = -1
        self._lock = threading.Lock()

    def next(self) -> str:
        with self._lock:
            self._number += 1
            fault = self._chance.random() < self._rate
            kind = self._chance.choice(FAULTS)
            if self._dies is not None and self._number >= self._dies:
                return "dead"
            if self._number == self._late:
                return "late"
            return kind if fault and self._number >= self._quiet else "through"


class Proxy:
    """Between client and server.

    Attributes:
        uri: to give to the client.
        schedule: None lets everything through.
        watch: called after each request that reached the server, before its answer.
        seen: how many requests met which fate.
    """

    def __init__(self, port: int, watch: Callable[[], None]) -> None:
        self.schedule: Schedule | None = None
        self.watch = watch
        self.seen: Counter[str] = Counter()
        self._upstream = port
        self._late: list[threading.Timer] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"  # a connection for each request: a cut one ends nothing else

            def handle_one_request(handler) -> None:  # noqa: N805
                handler.raw_requestline = handler.rfile.readline(65537)
                handler.close_connection = True
                if handler.raw_requestline and handler.parse_request():
                    self._handle(handler)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.quiet()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def quiet(self) -> None:
        """No more faults, and what is late has arrived."""
        self.schedule = None
        for timer in self._late:
            timer.join()
        self._late.clear()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fate = "through" if self.schedule is None else self.schedule.next()
        self.seen[fate] += 1
        if fate in {"dead", "cut_before"}:
            return
        if fate == "error_before":
            self._answer(request, 500, {}, b"{}")
            return
        if fate == "late":
            timer = threading.Timer(PATIENCE + 0.5, self._forward, (request, body))
            self._late.append(timer)
            timer.start()
            time.sleep(PATIENCE + 0.4)
            return
        if fate == "delay":
            time.sleep(0.05)
        status, headers, content = self._forward(request, body)
        if fate == "error_after":
            self._answer(request, 500, {}, b"{}")
        elif fate != "cut_after":
            self._answer(request, status, headers, content)

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=60)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in {"connection", "host", "accept-encoding"}
        }
        try:
            connection.request(request.command, request.path, body, headers | {"Connection": "close"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.watch()
        kept = {"Content-Type": answer.headers.get("Content-Type", "application/octet-stream")}
        return answer.status, kept, content

    @staticmethod
    def _answer(
        request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes
    ) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
