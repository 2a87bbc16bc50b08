"""How long cloudlink takes to notice a wire that carries nothing, and to come back after it.

``python -m tests.tunnel.blocked server|device KIND FOLDER HOST SPEED``: the VPN service of
``cloud_stub`` with an API that lets everybody in, and the VPN client of ``agent``; they meet as the
ends of ``contract`` do.  The server's end prints what its API heard, by a clock that runs ``SPEED``
times as fast.  For a kind that no host lab of this machine can have (``.ci/kernel``).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from agent.daemon.cloudlink import NO_OTHER_TIMEOUT, Cloudlink
from agent.tunnel.kinds import device_end, server_end
from cloud_stub.server.vpn import VpnService
from cloud_stub.settings import VpnSettings
from scenarios.clock import Clock

from .contract import BrokenError, blocked, hear, say

CALM_S, BLOCK_S, AFTER_S = 25.0, 150.0, 200.0
"""Before the block, of it, and the most that a tunnel may need after it."""


class Api:
    """What a VPN service asks, and when it told of a device."""

    def __init__(self) -> None:
        self.told: list[tuple[float, bool]] = []
        self.heard = asyncio.Condition()

    async def answer(self, request: web.Request) -> web.Response:
        """Any request: let in, taken note of."""
        if request.path.startswith("/services/vpn/client-"):
            now_s = asyncio.get_running_loop().time()
            async with self.heard:
                self.told.append((now_s, request.path.endswith("-connect")))
                self.heard.notify_all()
        if request.path == "/v7/service_instance":
            return web.json_response({"id": 1}, status=201)
        return web.json_response({})

    def after(self, at_s: float, *, connected: bool) -> float | None:
        """How long after a moment it was told."""
        return next((t - at_s for t, up in self.told if t >= at_s and up is connected), None)


async def serve(kind: str, folder: Path, host: str, clock: Clock) -> None:
    """The cloud's end."""
    api, application = Api(), web.Application()
    application.router.add_route("*", "/{tail:.*}", api.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    end = server_end(kind, clock_ms=clock.now_ms)
    service = VpnService(
        "vpn",
        end,
        number=0,
        key="k",
        api=f"http://127.0.0.1:{runner.addresses[0][1]}",
        settings=VpnSettings(),
        clock_ms=clock.now_ms,
    )
    await service.start(host, 0)
    try:
        say(folder, "server", service.port)
        for name in ("blocked", "open", "done"):
            await hear(folder, name)
        down = api.after(await hear(folder, "blocked"), connected=False)
        back = api.after(await hear(folder, "open"), connected=True)
        if down is None or back is None:
            raise BrokenError(f"the API heard {api.told}")
        print(f"seen after {down:.1f} s, back after {back:.1f} s")
    finally:
        await service.close()
        await runner.cleanup()


async def connect(kind: str, folder: Path, host: str, clock: Clock) -> None:
    """The device's end."""
    loop, changed = asyncio.get_running_loop(), asyncio.Condition()
    tasks: set[asyncio.Task[Any]] = set()

    async def wake() -> None:
        async with changed:
            changed.notify_all()

    def told(_: bool) -> None:
        task = loop.create_task(wake())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def call(*_: Any) -> tuple[int, Any]:
        return 404, None

    port = await hear(folder, "server")
    async with aiohttp.ClientSession(timeout=NO_OTHER_TIMEOUT) as session:
        link = Cloudlink(
            f"http://{host}:{port}",
            session=session,
            who=lambda: ("a" * 32, "key"),
            end=lambda: device_end(kind, clock_ms=clock.now_ms),
            call=call,
            changed=told,
            clock_ms=clock.now_ms,
            speed=clock.speed,
        )

        async def until(*, up: bool, limit_s: float) -> None:
            async with asyncio.timeout(limit_s), changed:
                await changed.wait_for(lambda: link.machine.up is up)

        link.start()
        try:
            await until(up=True, limit_s=AFTER_S)
            await asyncio.sleep(CALM_S)
            with blocked(host):
                say(folder, "blocked", loop.time())
                await asyncio.sleep(BLOCK_S)
            say(folder, "open", loop.time())
            await until(up=True, limit_s=AFTER_S)
            await asyncio.sleep(2 * CALM_S)  # the service's report, and that it stays
            say(folder, "done", link.machine.up)
        finally:
            await link.close()


if __name__ == "__main__":
    role, kind, folder, host, speed = sys.argv[1:]
    work, running = (serve if role == "server" else connect), Clock.begin(float(speed))
    with asyncio.Runner(loop_factory=running.loop) as runner:
        try:
            runner.run(work(kind, Path(folder), host, running))
        except (BrokenError, OSError) as error:
            sys.exit(f"{role} by {kind}: {error or type(error).__name__}")
    print("kept")
