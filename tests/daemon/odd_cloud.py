"""An API that answers whatever a test says, over real HTTP, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UUID = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Odd:
    """What to answer, and what came."""

    def __init__(self) -> None:
        self.answer: Callable[[Asked], tuple[int, dict[str, str], bytes]] = well
        self.asked: list[Asked] = []
        self.url = ""


def target() -> dict[str, Any]:
    """A device's part of a target state without apps."""
    return {UUID: {"name": "odd", "config": {}, "apps": {}}}


def well(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    """As an API should."""
    if asked.method == "GET" and asked.path.endswith("/state"):
        if "If-None-Match" in asked.headers:
            return 304, {"ETag": 'W/"1"'}, b""
        return 200, {"ETag": 'W/"1"', "Content-Type": "application/json"}, _json(target())
    return 200, {}, b"OK"


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@contextmanager
def odd_cloud() -> Iterator[Odd]:
    """Serve until the block ends."""
    odd = Odd()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.title(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, json.loads(raw) if raw else None)
            odd.asked.append(asked)
            status, more, body = odd.answer(asked)
            self.send_response(status)
            more = {"Content-Length": str(len(body)), **more}
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            if status != 304:
                self.wfile.write(body)
            if int(more["Content-Length"]) != len(body):
                self.close_connection = True

        do_GET = do_PATCH = do_POST = _any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    odd.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield odd
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
