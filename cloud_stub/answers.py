"""The answers the API gives again and again (``WIRE.md``), and refusing as control flow."""

from __future__ import annotations

import base64
import hashlib
import json
from types import MappingProxyType
from typing import Any

from .messages import Response

_JSON = MappingProxyType({"content-type": "application/json; charset=utf-8"})
_TEXT = MappingProxyType({"content-type": "text/plain; charset=utf-8"})
_HTML = MappingProxyType({"content-type": "text/html; charset=utf-8"})

_ETAG_DIGITS = 27
"""Of the 28 that a SHA-1 has in base 64: without the padding."""


def compact(value: Any) -> str:
    """JSON as it is sent: no blanks, no escapes that UTF-8 does not need."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=dict)


def etag_of(body: bytes) -> str:
    """The weak ETag of a body, as recorded: its length in hexadecimal digits and its SHA-1."""
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    return f'W/"{len(body):x}-{base64.b64encode(digest).decode()[:_ETAG_DIGITS]}"'


def is_fresh(known: str | None, etag: str) -> bool:
    """Whether ``If-None-Match`` names this ETag: one of a list, weak or not, or ``*``."""
    if known is None:
        return False
    if known in (etag, "*"):
        return True
    bare = etag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") == bare for part in known.split(","))


OK = Response(status=200)
NO_CONTENT = Response(status=204)
NOT_MODIFIED = Response(status=304)
"""Without an ETag: the device keeps the target it has."""
BAD_REQUEST = Response(status=400)
UNAUTHORIZED = Response(status=401)
NOT_FOUND = Response(status=404)
API_KEY_REQUIRED = Response(status=401, body={"error": "API key required"}, headers=_JSON)
"""Shared, like every body the core gives: nobody may change it."""


class Refusal(Exception):  # noqa: N818  # it is an answer, not an error of ours
    """Ends the handling of a request or command with an answer; nothing was stored."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def json_answer(status: int, body: Any) -> Response:
    """A JSON object or array."""
    return Response(status=status, body=body, headers=_JSON)


def json_string(status: int, text: str) -> Response:
    """A JSON string, already serialised: a plain ``str`` body goes out as it is."""
    return Response(status=status, body=json.dumps(text), headers=_JSON)


def plain(status: int, text: str) -> Response:
    """Plain text."""
    return Response(status=status, body=text, headers=_TEXT)


def html(status: int, text: str) -> Response:
    """What the real API sends as HTML without saying much."""
    return Response(status=status, body=text, headers=_HTML)
