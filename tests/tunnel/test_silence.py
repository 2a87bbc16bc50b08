"""What a VPN service takes for silence, with a client and a server in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from agent.daemon.cloudlink import NO_OTHER_TIMEOUT
from agent.tunnel.inprocess import InProcessServer
from cloud_stub.server.vpn import VpnService
from cloud_stub.settings import VpnSettings
from scenarios.clock import Clock
from tests.tunnel.vpn_client import client

from .blocked import Api

if TYPE_CHECKING:
    from collections.abc import Mapping

SPEED = 60.0
DEADLINE_S = 180.0
"""Real ones."""


class Unsure(InProcessServer):
    """An interface that does not answer every time it is asked what it counted."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.asked = 0
        self.last: Mapping[bytes, int] | None = None
        """Nothing has come since."""

    async def received(self) -> Mapping[bytes, int]:
        self.asked += 1
        if self.asked % 2:
            return {}
        return await super().received() if self.last is None else self.last


def test_an_interface_that_gives_no_count_is_no_sign_of_life() -> None:
    clock = Clock.begin(SPEED)

    async def told(api: Api, *, connected: bool) -> None:
        async with asyncio.timeout(DEADLINE_S * SPEED), api.heard:
            await api.heard.wait_for(lambda: api.after(0.0, connected=connected) is not None)

    async def play() -> None:
        api, application = Api(), web.Application()
        application.router.add_route("*", "/{tail:.*}", api.answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        end = Unsure(clock_ms=clock.now_ms)
        service = VpnService(
            "vpn",
            end,
            number=0,
            key="k",
            api=f"http://127.0.0.1:{runner.addresses[0][1]}",
            settings=VpnSettings(client_timeout_ms=3_600_000),
            clock_ms=clock.now_ms,
        )
        await service.start("127.0.0.1", 0)
        async with aiohttp.ClientSession(timeout=NO_OTHER_TIMEOUT) as session:
            link = client(session, service.port, clock.now_ms, SPEED)
            link.start()
            try:
                await told(api, connected=True)
                end.last = await InProcessServer.received(end)
                await told(api, connected=False)
            finally:
                await link.close()
                await service.close()
                await runner.cleanup()

    with asyncio.Runner(loop_factory=clock.loop) as runner:
        runner.run(play())
