"""A VPN client and a server that hangs up in the middle, or whose words make no sense."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from agent.daemon import cloudlink
from agent.daemon.cloudlink import NO_OTHER_TIMEOUT
from agent.tunnel.inprocess import InProcessDevice
from agent.tunnel.plan import Plan, as_text
from scenarios.clock import Clock
from tests.tunnel.vpn_client import client

if TYPE_CHECKING:
    from collections.abc import Callable

SPEED = 60.0
DEADLINE_S = 180.0
"""Real ones."""
PLAN = Plan(
    public=InProcessDevice().public,
    psk=bytes(32),
    port=9,
    address="10.64.0.2",
    server="10.64.0.1",
    ping_ms=10_000,
    ping_exit_ms=60_000,
).words()


def _tried_again(after_the_plan: Callable[[web.Request], None], words: str) -> None:
    """A client comes back for a second try, whatever happened to its first."""
    clock = Clock.begin(SPEED)

    async def play() -> None:
        tries: asyncio.Queue[None] = asyncio.Queue()

        async def serve(request: web.Request) -> web.WebSocketResponse:
            ws = web.WebSocketResponse()
            await ws.prepare(request)
            await ws.receive()
            tries.put_nowait(None)
            await ws.send_str(words)
            after_the_plan(request)
            await ws.receive()
            return ws

        application = web.Application()
        application.router.add_get("/cloudlink", serve)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(timeout=NO_OTHER_TIMEOUT) as session:
            link = client(session, runner.addresses[0][1], clock.now_ms, SPEED)
            link.start()
            try:
                async with asyncio.timeout(DEADLINE_S * SPEED):
                    await tries.get()
                    await tries.get()
            finally:
                await link.close()
                await runner.cleanup()

    with asyncio.Runner(loop_factory=clock.loop) as runner:
        runner.run(play())


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that is not ended by what happens is not ended at all."""
    monkeypatch.setattr(cloudlink, "CONNECT_S", 1e9)


def _abort(request: web.Request) -> None:
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.abort()


def _close(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.close()


@pytest.mark.parametrize("end", [_abort, _close])
def test_a_server_that_ends_before_the_tunnel_answers_ends_the_try(
    end: Callable[[web.Request], None],
) -> None:
    """As a reset of OpenVPN's one connection does, in the middle of its handshake."""
    _tried_again(end, json.dumps(PLAN))


@pytest.mark.parametrize(
    "words",
    [
        "[" * 30_000,
        "no JSON",
        "[]",
        json.dumps({**PLAN, "port": 70_000}),
        json.dumps({**PLAN, "port": True}),
        json.dumps({**PLAN, "ping_ms": 0}),
        json.dumps({**PLAN, "address": 5}),
        json.dumps({**PLAN, "public_key": as_text(bytes(32))}),
        json.dumps({**PLAN, "preshared_key": "\ud800"}),
    ],
    ids=["deep", "text", "list", "port", "truth", "zero", "address", "weak key", "surrogate"],
)
def test_words_that_make_no_sense_end_the_try(words: str) -> None:
    _tried_again(lambda _: None, words)


def test_a_server_that_lets_in_before_it_was_asked_ends_the_try() -> None:
    words = json.dumps(PLAN)

    def also(request: web.Request) -> None:
        assert isinstance(request.transport, asyncio.Transport)
        text = b'{"accepted": true}'
        request.transport.write(bytes([0x81, len(text)]) + text)

    _tried_again(also, words)
