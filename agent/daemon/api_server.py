"""The supervisor API of a device over HTTP (``SUPERVISOR.md §10``): who may call, and how."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from . import journal

if TYPE_CHECKING:
    from .device import Device

OPEN = ("/ping", "/v1/healthy")
"""Without a key."""
TIMEOUT_S = 900.0
CHECK_S = 10.0
"""Between two looks whether the API can be reached, and the time one may take."""
BODY_MAX = 1024 * 1024
CHANNEL_MAX = 16 * 1024


class SupervisorApi:
    """Serves one device."""

    def __init__(self, device: Device, *, endpoint: str, host: str, port: int) -> None:
        """Nothing is served before ``start``.

        Args:
            device: whose API it is.
            endpoint: of the cloud's API: health includes that its port takes connections.
            host: address to listen on.
            port: 0: any free one.
        """
        self._device = device
        self._host = host
        self.port = port
        parts = urlsplit(endpoint)
        self._cloud = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self.reachable = True
        self._runner: web.AppRunner | None = None
        self._check: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had.
        """
        application = web.Application(client_max_size=BODY_MAX)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]
        self._check = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Stop listening."""
        if self._check is not None:
            self._check.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._check
        if self._runner is not None:
            await self._runner.cleanup()

    async def _look(self) -> None:
        """The connectivity check; a VPN that is up makes it good, a variable turns it off."""
        while True:
            try:
                async with asyncio.timeout(CHECK_S):
                    _, writer = await asyncio.open_connection(*self._cloud)
                writer.close()
                self.reachable = True
            except (OSError, TimeoutError):
                self.reachable = False
            await asyncio.sleep(CHECK_S)

    # --- requests --------------------------------------------------------------------------------

    def _may(self, request: web.Request) -> bool:
        given = request.query.get("apikey", "")
        kind, _, key = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() in ("bearer", "apikey"):
            given = key.strip()
        return self._device.knows(given)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if path not in OPEN and not self._may(request):
            return web.Response(status=401)
        if path == "/v1/healthy" and not self._healthy():
            return web.Response(status=500, text="Unhealthy")
        try:
            body = json.loads(await request.read() or b"{}")
        except ValueError:
            return web.Response(status=400, text="Bad Request")
        if not isinstance(body, dict):
            body = {}
        for name, value in request.query.items():
            body.setdefault(name, {"true": True, "false": False}.get(value, value))
        if (request.method, path) == ("POST", "/v2/journal-logs"):
            return await _journal(request, body)
        return _response(*await _patiently(self._device, request.method, path, body))

    def _healthy(self) -> bool:
        agent = self._device.agent
        if agent is None:
            return False
        checked = agent.ctx.applied.get("SUPERVISOR_CONNECTIVITY_CHECK", "true") != "false"
        return self.reachable or not checked


async def _journal(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """The board's journal, for as long as the caller listens."""
    response = web.StreamResponse()
    try:
        async for part in journal.lines(body):
            if not response.prepared:
                await response.prepare(request)
            await response.write(part)
    except journal.NoJournal as error:
        return _response(503, {"status": "failed", "message": str(error)})
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response


async def _journal_text(body: dict[str, Any]) -> tuple[int, Any]:
    """The same at once and cut, for the channel: it carries one short answer."""
    text = b""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for part in journal.lines({**body, "follow": False}):
                text = (text + part)[-CHANNEL_MAX:]
    except journal.NoJournal as error:
        return 503, {"status": "failed", "message": str(error)}
    return 200, text.decode("utf-8", "replace")


async def call_through_tunnel(
    device: Device, method: str, path: str, body: dict[str, Any]
) -> tuple[int, Any]:
    """A call that came over the channel; ``apikey`` is in its body."""
    path = path.rstrip("/") or "/"
    secret = body.pop("apikey", None)
    if path not in OPEN and not (isinstance(secret, str) and device.knows(secret)):
        return 401, None
    if (method, path) == ("POST", "/v2/journal-logs"):
        return await _journal_text(body)
    return await _patiently(device, method, path, body)


async def _patiently(
    device: Device, method: str, path: str, body: dict[str, Any]
) -> tuple[int, Any]:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await device.call(method, path, body)
    except TimeoutError:
        return 503, "timed out"


def _response(status: int, answer: Any) -> web.Response:
    if answer is None:
        return web.Response(status=status)
    if isinstance(answer, str):
        return web.Response(status=status, text=answer)
    return web.json_response(answer, status=status, dumps=lambda v: json.dumps(v, default=dict))
