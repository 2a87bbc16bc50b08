"""Listening with bounds: how many connections, and how long one may take to say what it wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class _Full(asyncio.Protocol):
    """Answers a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and close."""
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(_FULL)
        transport.close()


class BoundedSite(web.BaseSite):
    """A TCP site.

    Args:
        runner: of the application.
        host: address to listen on.
        port: 0: any free one.
        tls: certificate and key.
        connections_max: more are answered with 503.
        patience_s: a connection that has sent no whole request head by then is closed.
        counted: what its connections' bytes go through.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        connections_max: int,
        patience_s: float,
        counted: Callable[[asyncio.Protocol], asyncio.Protocol] | None = None,
    ) -> None:
        super().__init__(runner, ssl_context=tls, backlog=1_024)
        self._host = host
        self._port = port
        self._max = connections_max
        self._patience_s = patience_s
        self._counted = counted

    @property
    def name(self) -> str:
        """The URL."""
        return f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connection, self._host, self._port, ssl=self._ssl_context, backlog=self._backlog
        )

    def _connection(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        if len(server.connections) >= self._max:
            return _Full()
        # aiohttp's keep-alive time covers every request but the first
        handler = server()

        def check() -> None:
            if handler._request_count == 0:  # noqa: SLF001  # there is no public one
                handler.force_close()

        asyncio.get_running_loop().call_later(self._patience_s, check)
        return handler if self._counted is None else self._counted(handler)
