"""What answers in a registry's place and is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from faulty_proxy import PATIENCE

ANSWERS = {
    "500": (500, b'{"error_code": "INTERNAL_ERROR", "message": "no database"}'),
    "garbage": (200, bytes(range(256))),
    "no json": (200, b"<html><body>Please log in</body></html>"),
    "other json": (200, b'[1, {"registered_model": 7}]'),
}
KINDS = (*ANSWERS, "slow", "cut", "nobody")


@contextmanager
def answering(kind: str) -> Iterator[str]:
    """Its address while it runs; `nobody` listens there not at all."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if kind == "slow":
                time.sleep(PATIENCE + 1)
            if kind in ANSWERS:
                status, content = ANSWERS[kind]
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    uri = f"http://127.0.0.1:{server.server_address[1]}"
    if kind == "nobody":
        server.server_close()
        yield uri
        return
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield uri
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
