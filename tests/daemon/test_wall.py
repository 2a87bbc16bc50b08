"""A board whose clock is wrong: certificates are held against it, and it may be put right."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from agent.daemon.http import Cloud
from agent.daemon.sensors import host_os
from agent.daemon.wall import WallClock, trust, wall_ms
from agent.effects import SendRequest
from agent.events import RequestFailed, ResponseReceived
from cloud_stub.server.tls import development_authority, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY_S = 86_400
ASK = SendRequest(id=1, method="GET", path="/", headers={}, body=None, timeout_ms=10_000)


@asynccontextmanager
async def _device(folder: Path, clock: WallClock) -> AsyncIterator[Cloud]:
    """A device in front of a server whose certificate is valid for 60 days each way."""
    pair = development_authority(folder / "tls", ["localhost"], days_before=60, days=60)
    application = web.Application()
    application.router.add_get("/", _well)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=server_context(*pair)).start()
    endpoint = f"https://localhost:{runner.addresses[0][1]}"
    authority = (folder / "tls" / "ca.pem").read_text()
    cloud = Cloud(endpoint, context=trust(endpoint, authority, clock.now_ms))
    try:
        yield cloud
    finally:
        await cloud.close()
        await runner.cleanup()


async def _well(_: web.Request) -> web.Response:
    return web.Response(text="well")


@pytest.mark.parametrize(
    ("off_days", "words"), [(-365, "is not yet valid"), (61, "has expired"), (-59, ""), (59, "")]
)
def test_certificates_are_held_against_the_boards_own_clock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, off_days: int, words: str
) -> None:
    (tmp_path / "clock").write_text(f"{off_days * DAY_S}\n")

    async def ask() -> ResponseReceived | RequestFailed:
        async with _device(tmp_path, WallClock(wall_ms, tmp_path / "clock")) as cloud:
            return await cloud.send(ASK)

    answer = asyncio.run(ask())
    if words:
        assert answer == RequestFailed(id=1, reason="tls")
        assert words in caplog.text
    else:
        assert isinstance(answer, ResponseReceived)


def test_a_clock_put_right_is_believed_at_the_next_connection(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_text("-1700000000")

    async def ask_twice() -> None:
        async with _device(tmp_path, WallClock(wall_ms, file)) as cloud:
            assert isinstance(await cloud.send(ASK), RequestFailed)
            file.write_text("0.0")
            assert isinstance(await cloud.send(ASK), ResponseReceived)

    asyncio.run(ask_twice())


def test_an_authority_nobody_knows_is_refused_whatever_the_clock_shows(tmp_path: Path) -> None:
    async def ask() -> ResponseReceived | RequestFailed:
        async with _device(tmp_path, WallClock(wall_ms)) as known:
            stranger = Cloud(known.endpoint, context=trust(known.endpoint, None, wall_ms))
            try:
                return await stranger.send(ASK)
            finally:
                await stranger.close()

    assert asyncio.run(ask()) == RequestFailed(id=1, reason="tls")


@pytest.mark.parametrize("text", ["", "soon", "inf", "nan"])
def test_a_file_that_holds_no_number_leaves_the_clock_right(tmp_path: Path, text: str) -> None:
    (tmp_path / "clock").write_text(text)
    assert WallClock(lambda: 1_000, tmp_path / "clock").now_ms() == 1_000
    assert WallClock(lambda: 1_000, tmp_path / "none").now_ms() == 1_000


def test_without_tls_no_authority_is_read() -> None:
    assert trust("http://localhost", None, wall_ms) is True
    assert isinstance(trust("https://localhost", None), ssl.SSLContext)


def test_the_version_of_balena_os_is_read_and_that_of_another_system_is_not(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    assert host_os(file) == {}
    file.write_text('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\nVARIANT_ID=x\n')
    assert host_os(file) == {}
    file.write_text('ID="balena-os"\nPRETTY_NAME="balenaOS 6.3.0"\nVARIANT_ID=prod\nbroken "\n')
    assert host_os(file) == {"os_version": "balenaOS 6.3.0", "os_variant": "prod"}
