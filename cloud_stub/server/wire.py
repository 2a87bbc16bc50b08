"""Between aiohttp and the core: bodies in, answers out, and errors as the real API words them."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web

from ..answers import compact, etag_of, is_fresh

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..messages import Response

BODY_MAX = 512 * 1024
"""Of a body, bytes, also after decompression."""
PATIENCE_S = web.AppKey("patience", float)
"""How long a body may take."""
DEPTH_MAX = 64
LARGEST = 2**63 - 1
_LONG_NUMBER = re.compile(rb"\d{16}")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Error</title>
</head>
<body>
<pre>{}</pre>
</body>
</html>
"""
OURS = ("/fieldbeat/", "/healthz", "/metrics", "/v2/")
"""Paths of routes that the real API has not, or not like this: a registry's."""
_PAGE_MARK = "Content-Security-Policy"
_PAGE_HEADERS = {
    _PAGE_MARK: "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Answer(Exception):  # noqa: N818  # it ends a handler with an answer
    """Ends the handling of a request."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


def page(status: int, text: str) -> web.Response:
    """What the real API sends for a request it cannot even read."""
    body = _PAGE.format(text)
    return web.Response(status=status, text=body, content_type="text/html", headers=_PAGE_HEADERS)


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer."""
    return web.Response(
        status=status,
        body=dumps(value),
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return compact(value).encode()


def empty(status: int, **headers: str) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status, headers=headers)


def refused(status: int, text: str) -> web.Response:
    """An error as a JSON string."""
    return json_response(text, status)


def to_web(response: Response) -> web.Response:
    """The core's answer."""
    headers = dict(response.headers)
    body = response.body
    if body is None:
        return web.Response(status=response.status, headers=headers)
    if isinstance(body, str):
        return web.Response(status=response.status, body=body.encode(), headers=headers)
    headers.setdefault("content-type", "application/json; charset=utf-8")
    return web.Response(status=response.status, body=dumps(body), headers=headers)


def as_the_api(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """What the real API's web framework adds: an ETag to a body, 304 to who knows it already.

    Pages of errors have none.  (Its empty answers are chunked, ours have a length of 0: the same
    to a client.)
    """
    if type(response) is not web.Response:
        return response
    body, headers = response.body, response.headers
    if not isinstance(body, bytes | bytearray) or _PAGE_MARK in headers:
        return response
    etag = headers.get("ETag")
    if etag is None:
        headers["ETag"] = etag = etag_of(bytes(body))
    if request.method in ("GET", "HEAD") and response.status == 200:
        known = request.headers.get("If-None-Match")
        if is_fresh(known, etag) and "no-cache" not in request.headers.get("Cache-Control", ""):
            kept = {name: headers[name] for name in ("ETag", "Cache-Control") if name in headers}
            return web.Response(status=304, headers=kept)
    return response


def query_of(request: web.Request) -> dict[str, str]:
    """The query string; of a name that is there twice, the first."""
    found: dict[str, str] = {}
    if "?" not in request.raw_path:
        return found
    for name, value in request.query.items():
        found.setdefault(name, value)
    return found


async def raw_body(request: web.Request) -> bytes:
    """The bytes of a body, decompressed.

    Raises:
        Answer: it is too long, is not what its encoding says, or does not arrive.
    """
    try:
        if request.content.is_eof():
            return await request.read()
        async with asyncio.timeout(request.app[PATIENCE_S]):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Answer(page(413, "Payload Too Large")) from None
    except (web.RequestPayloadError, ValueError, EOFError):
        raise Answer(page(400, "Bad Request")) from None
    except TimeoutError:
        raise Answer(_closing(page(408, "Request Timeout"))) from None


def _closing(response: web.Response) -> web.Response:
    """The rest of the request is not waited for."""
    response.force_close()
    return response


async def body_of(request: web.Request) -> Any:
    """The body: JSON, a form, or ``{}`` where it is neither (``WIRE.md``).

    Raises:
        Answer: it is too long, cannot be parsed, or holds what no column takes.
    """
    raw = await raw_body(request)
    if not raw:
        return {}
    kind = request.content_type
    if kind == "application/json":
        return parse_json(raw)
    if kind == "application/x-www-form-urlencoded":
        return _form(raw)
    return {}


def _form(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=100)
    except (UnicodeDecodeError, ValueError):
        raise Answer(page(400, "Bad Request")) from None
    return dict(pairs)


def parse_json(raw: bytes) -> Any:
    """A JSON object or array.

    Raises:
        Answer: it is none, is nested deeper than 64, or holds NUL, half a character or a number
            that no database takes.
    """
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Answer(page(400, "Bad Request")) from None
    if not isinstance(value, dict | list):
        raise Answer(page(400, "Bad Request"))
    if b"\\u" in raw or _LONG_NUMBER.search(raw) or raw.count(b"[") + raw.count(b"{") > DEPTH_MAX:
        _check(value, 0)
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(text)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
"""Made once: ``json.loads`` with an option makes one for each body."""


def _check(value: Any, depth: int) -> None:
    """Nothing a store could choke on."""
    bad = depth > DEPTH_MAX
    if isinstance(value, str):
        bad = "\0" in value or any("\ud800" <= char <= "\udfff" for char in value)
    elif isinstance(value, int | float):
        bad = abs(value) > LARGEST
    if bad:
        raise Answer(page(400, "Bad Request"))
    if isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth + 1)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)


def lower_headers(request: web.Request) -> Mapping[str, str]:
    """Headers by lower-case name."""
    return {name.lower(): value for name, value in request.headers.items()}
