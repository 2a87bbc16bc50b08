"""A VPN service with a client that is no agent: it says what it likes."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from agent.tunnel import channel
from agent.tunnel.inprocess import InProcessDevice, InProcessServer
from agent.tunnel.plan import as_text, read_plan
from cloud_stub.server import vpn, vpn_sessions
from cloud_stub.server.vpn import VpnService
from cloud_stub.settings import VpnSettings
from scenarios.clock import Clock
from tests.ports import free_port

from .blocked import Api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SPEED = 60.0
DEADLINE_S = 180.0
"""Real ones."""
UUID = "a" * 32


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """At this speed a second of a busy machine is a minute of the service's."""
    monkeypatch.setattr(vpn, "HELLO_S", 1e9)
    monkeypatch.setattr(vpn, "TELL_S", 1e9)


class Noting(Api):
    """Lets everybody in and keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.down: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        async with self.heard:
            self.heard.notify_all()
        await self.answers.wait()
        if request.raw_path.endswith("client-disconnect"):
            self.down += (await request.json())["uuids"]
        return await super().answer(request)


class Site:
    """A service, its API, and clients."""

    def __init__(self, clock: Clock, api: Noting, url: str, web_client: Any) -> None:
        self.clock, self.api, self._url, self._web = clock, api, url, web_client
        self.service = self.made()

    def made(self) -> VpnService:
        """A service that is not started."""
        return VpnService(
            "vpn",
            InProcessServer(clock_ms=self.clock.now_ms),
            number=0,
            key="k",
            api=self._url,
            settings=VpnSettings(
                client_timeout_ms=3_600_000,
                server_timeout_ms=7_200_000,
                report_timeout_ms=1_000_000_000,
            ),
            clock_ms=self.clock.now_ms,
        )

    async def empty(self) -> None:
        """Every client is gone."""
        handlers = [session.task for session in self.service._sessions.values() if session.task]
        await asyncio.gather(*handlers)
        assert not self.service._sessions

    async def socket(self) -> aiohttp.ClientWebSocketResponse:
        """A client that has said nothing."""
        found: aiohttp.ClientWebSocketResponse = await self._web.ws_connect(
            f"http://127.0.0.1:{self.service.port}/cloudlink"
        )
        return found

    async def client(self, uuid: str = UUID, key: str = "key") -> aiohttp.ClientWebSocketResponse:
        """One that has a tunnel and has shown a key."""
        end, answered = InProcessDevice(clock_ms=self.clock.now_ms), asyncio.Event()
        ws = await self.socket()
        await ws.send_json({"uuid": uuid, "public_key": as_text(end.public)})
        await end.open(read_plan(await ws.receive_json()), "127.0.0.1", lambda _: answered.set())
        while not answered.is_set():
            end.say(channel.write(channel.Message(channel.PING, 1, None))[0])
            await asyncio.wait([asyncio.ensure_future(answered.wait())], timeout=1)
        await ws.send_json({"uuid": uuid, "key": key})
        await end.close()
        return ws


@asynccontextmanager
async def _site(clock: Clock) -> AsyncIterator[Site]:
    api, application = Noting(), web.Application()
    application.router.add_route("*", "/{tail:.*}", api.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as client:
        site = Site(clock, api, f"http://127.0.0.1:{runner.addresses[0][1]}", client)
        await site.service.start("127.0.0.1", 0)
        try:
            yield site
        finally:
            await site.service.kill()
            await runner.cleanup()


def _play(scene: Callable[[Site], Awaitable[None]]) -> None:
    clock = Clock.begin(SPEED)

    async def play() -> None:
        async with asyncio.timeout(DEADLINE_S * SPEED), _site(clock) as site:
            await scene(site)

    with asyncio.Runner(loop_factory=clock.loop) as runner:
        runner.run(play())


@pytest.mark.parametrize(
    ("uuid", "key"),
    [
        ("../../../ping", "key"),
        (UUID + "?x=1", "key"),
        (UUID + "#x", "key"),
        ("..", "key"),
        (UUID, "a key\nwith: a header"),
        (UUID, "\ud800"),
    ],
)
def test_a_name_or_a_key_that_cannot_be_asked_for_is_refused_and_forgotten(
    uuid: str, key: str
) -> None:
    async def scene(site: Site) -> None:
        ws = await site.client(uuid, key)
        assert await ws.receive_json() == {"accepted": False}
        await ws.receive()
        assert site.api.asked == ["/v7/service_instance"]
        await site.empty()

    _play(scene)


@pytest.mark.parametrize("key_is_shown", [False, True])
def test_a_client_that_hangs_up_while_it_waits_is_gone_at_once(key_is_shown: bool) -> None:
    """For an answer through the tunnel, or for the API's: its place is another's."""

    async def scene(site: Site) -> None:
        if key_is_shown:
            site.api.answers.clear()
            ws = await site.client()
            async with site.api.heard:
                await site.api.heard.wait_for(
                    lambda: f"/services/vpn/auth/{UUID}" in site.api.asked
                )
        else:
            ws = await site.socket()
            public = InProcessDevice().public
            await ws.send_json({"uuid": UUID, "public_key": as_text(public)})
            await ws.receive()
        await ws.close()
        await site.empty()
        site.api.answers.set()

    _play(scene)


def test_a_key_is_not_taken_before_the_tunnel_answers() -> None:
    async def scene(site: Site) -> None:
        ws = await site.socket()
        public = InProcessDevice().public
        await ws.send_json({"uuid": UUID, "public_key": as_text(public)})
        await ws.receive()
        await ws.send_json({"uuid": UUID, "key": "key"})
        assert (await ws.receive()).data == 1008

    _play(scene)


def test_a_network_without_a_free_address_says_so_until_one_comes_back() -> None:
    async def scene(site: Site) -> None:
        first = await site.client()
        assert await first.receive_json() == {"accepted": True}
        site.service._addresses._free = iter(())
        refused = await site.socket()
        assert (await refused.receive()).data == 1013
        await first.close()
        await site.empty()
        again = await site.client()
        assert await again.receive_json() == {"accepted": True}

    _play(scene)


def test_an_orderly_stop_tells_of_each_of_many_clients() -> None:
    async def scene(site: Site) -> None:
        uuids, readers = [f"{number:032x}" for number in range(60)], []
        for uuid in uuids:
            ws = await site.client(uuid)
            assert await ws.receive_json() == {"accepted": True}
            readers.append(asyncio.create_task(ws.receive()))
        async with site.api.heard:
            await site.api.heard.wait_for(lambda: site.api.told)
        await site.service.close()
        assert sorted(site.api.down) == uuids
        await asyncio.gather(*readers)

    _play(scene)


def test_what_a_client_sends_unasked_takes_no_room() -> None:
    """Whoever reaches the port gets a tunnel; a key is asked for inside it."""

    async def scene(site: Site) -> None:
        await site.client()
        (session,) = site.service._sessions.values()
        for number in range(20):
            for kind in (channel.PING, channel.CALL, channel.REPLY):
                part = channel.write(channel.Message(kind, number, "x" * 200_000))[0]
                site.service._heard(session.address, part)
        assert not session.reader._open

    _play(scene)


def test_clients_that_wait_for_ever_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site that lets no UDP out: its devices get a tunnel each, and nothing through it."""
    monkeypatch.setattr(vpn_sessions, "WAITING_MAX", 3)
    monkeypatch.setattr(vpn, "HELLO_S", 36_000.0)

    async def scene(site: Site) -> None:
        crowd = []
        for number in range(3):
            ws = await site.socket()
            await ws.send_json(
                {"uuid": f"{number:032x}", "public_key": as_text(bytes([number + 1] * 32))}
            )
            await ws.receive_json()  # what its tunnel is
            crowd.append(ws)
        others = [await site.client(f"{number:032x}") for number in (10, 11)]
        assert [await ws.receive_json() for ws in others] == 2 * [{"accepted": True}]
        gone = await crowd[0].receive()
        assert (gone.type, gone.data) == (aiohttp.WSMsgType.CLOSE, 1013)
        # who has shown a key waits no more: nobody else had to go
        waiting = {session.public for session in site.service._sessions.values()}
        assert {bytes([2] * 32), bytes([3] * 32)} <= waiting

    _play(scene)


def test_a_service_that_was_killed_wants_nothing_any_more() -> None:
    async def scene(site: Site) -> None:
        ws = await site.client()
        assert await ws.receive_json() == {"accepted": True}
        async with site.api.heard:
            await site.api.heard.wait_for(lambda: site.api.told)
        service = site.service
        await service.kill()
        assert service._timer is None or service._timer.cancelled()
        assert not service._tasks
        assert site.api.down == []

    _play(scene)


def test_a_service_that_cannot_have_its_udp_port_leaves_the_tcp_port_free() -> None:
    async def scene(site: Site) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", free_port()))
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match="in use"):
                await site.made().start("127.0.0.1", port)
        second = site.made()
        await second.start("127.0.0.1", port)
        await second.kill()

    _play(scene)
