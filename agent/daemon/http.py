"""The way to the cloud: a request of the core becomes one of aiohttp, every failure an event.

Time-outs as the supervisor's (``SUPERVISOR.md §1``): a poll has one for each phase (connecting,
each wait for bytes), everything else one for the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp

from ..events import RequestFailed, ResponseReceived

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from ..effects import SendRequest
    from ..events import FailureReason

_log = logging.getLogger("fieldbeat.agent")
BODY_MAX = 16 * 1024 * 1024
ENCODINGS = "gzip, deflate"
CONNECT_S = 59.0
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


class Cloud:
    """Requests to one API endpoint."""

    def __init__(
        self,
        endpoint: str,
        *,
        context: ssl.SSLContext | bool,
        proxy: str | None = None,
        keep_alive: bool = False,
        connections: int = 0,
    ) -> None:
        """Must be called in a running loop.

        Args:
            endpoint: ``https://host``; paths are put behind it.
            context: whom to trust.
            proxy: URL of an HTTP proxy; ``None``: as ``HTTPS_PROXY`` and the like say.
            keep_alive: keep connections; a supervisor opens one for each request.
            connections: at most so many at a time; 0: no bound.
        """
        self.endpoint = endpoint
        self._proxy = proxy
        self._told = ""
        """What went wrong last, so that it is said once."""
        connector = aiohttp.TCPConnector(
            limit=connections,
            ssl=context,
            force_close=not keep_alive,
            # a supervisor asks its resolver for each connection
            use_dns_cache=keep_alive,
            ttl_dns_cache=10,
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            trust_env=proxy is None,
            auto_decompress=True,
            # the core says who it is
            skip_auto_headers=("User-Agent",),
            read_bufsize=BODY_MAX,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self.session.close()

    async def send(self, request: SendRequest) -> ResponseReceived | RequestFailed:
        """One request; whatever goes wrong is an event."""
        try:
            with whatever_fails():
                answer = await self._send(request)
        except NoAnswer as failure:
            if failure.words != self._told:
                self._told = failure.words
                _log.warning("%s %s: %s", request.method, self.endpoint, failure.words)
            return RequestFailed(id=request.id, reason=failure.reason)
        self._told = ""
        return answer

    async def _send(self, request: SendRequest) -> ResponseReceived:
        limit_s = request.timeout_ms / 1_000
        if request.method == "GET":
            timeout = aiohttp.ClientTimeout(
                total=None, connect=limit_s, sock_connect=limit_s, sock_read=limit_s
            )
        else:
            timeout = aiohttp.ClientTimeout(total=limit_s)
        data = None if request.body is None else _dumps(request.body)
        async with self.session.request(
            request.method,
            self.endpoint + request.path,
            data=data,
            # as a supervisor says, though it makes a new connection for each request; and what
            # this program can decode, whichever codecs happen to be installed
            headers={"accept-encoding": ENCODINGS, "connection": "keep-alive", **request.headers},
            timeout=timeout,
            proxy=self._proxy,
        ) as answer:
            raw = await whole(answer, BODY_MAX)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return ResponseReceived(
                id=request.id, status=answer.status, headers=headers, body=_body(raw)
            )

    async def stream(
        self, path: str, headers: Mapping[str, str], parts: AsyncIterator[bytes]
    ) -> str:
        """A request whose body does not end; why it did.

        Args:
            path: put behind the endpoint.
            headers: of the request.
            parts: of the body, each sent at once.
        """
        try:
            with whatever_fails():
                async with self.session.post(
                    self.endpoint + path,
                    data=parts,
                    headers=headers,
                    skip_auto_headers=("Accept", "Accept-Encoding"),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                    proxy=self._proxy,
                ) as answer:
                    return f"HTTP {answer.status}"
        except NoAnswer as failure:
            return failure.words


class DryCloud:
    """Shows what would be sent, without keys, and never answers."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show

    async def send(self, request: SendRequest) -> ResponseReceived | RequestFailed:
        """Show a request."""
        headers = dict(request.headers)
        if "authorization" in headers:
            headers["authorization"] = "Bearer …"
        shown = {"method": request.method, "path": request.path, "headers": headers}
        self._show(json.dumps({**shown, "body": request.body}, ensure_ascii=False, default=dict))
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")

    async def close(self) -> None:
        """Nothing is open."""


async def whole(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """All of a body.

    Raises:
        aiohttp.ClientPayloadError: it is longer than ``most`` bytes, or ends too soon.
    """
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > most:
            raise aiohttp.ClientPayloadError(f"the body is longer than {most} bytes")
        parts.append(part)
    return b"".join(parts)


class NoAnswer(Exception):  # noqa: N818  # it is the name of what happened
    """A request got no answer."""

    def __init__(self, reason: FailureReason, cause: BaseException) -> None:
        super().__init__(reason)
        self.reason: FailureReason = reason
        self.words = str(cause) or {"timeout": "timed out"}.get(reason, type(cause).__name__)


@contextlib.contextmanager
def whatever_fails() -> Iterator[None]:
    """Turns what aiohttp and the system raise into ``NoAnswer``.

    Raises:
        NoAnswer: with the reason in the core's words.
    """
    try:
        yield
    except TimeoutError as error:
        raise NoAnswer("timeout", error) from None
    except (aiohttp.ClientConnectorDNSError, aiohttp.InvalidURL) as error:
        raise NoAnswer("dns", error) from None
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise NoAnswer("tls", error) from None
    except aiohttp.TooManyRedirects as error:
        raise NoAnswer("reset", ValueError("it redirects in a circle")) from error
    except OSError as error:
        raise NoAnswer(_reason(error), error) from None
    except (aiohttp.ClientError, ValueError) as error:
        raise NoAnswer("reset", error) from None


def _reason(error: OSError) -> FailureReason:
    number = error.errno
    if number is None and isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
    if number == errno.ECONNREFUSED:
        return "refused"
    return "unreachable" if number in _UNREACHABLE else "reset"


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=dict).encode()


def _body(raw: bytes) -> Any:
    """JSON; text where it is none; ``None`` where there is nothing."""
    if not raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")
