"""How long the VPN client tries to connect to a server that does not answer."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from agent.daemon.cloudlink import CONNECT_S
from agent.daemon.program import Options, Program
from agent.daemon.vpn_unit import Unit
from scenarios.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

SPEED = 100.0
QUEUE = 8
"""More than a listener without a queue lets wait: the next connection's SYN is dropped."""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that answers no SYN."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(QUEUE):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


@pytest.mark.parametrize("start", [Program.start, Unit.start_with], ids=["program", "unit"])
def test_a_try_lasts_as_long_as_openvpns(
    start: Callable[[Options], Awaitable[Program | Unit]], silent: int, tmp_path: Path
) -> None:
    """Not aiohttp's own 30 s: each try begins TCP's doubling of its waits anew."""
    config = {
        "apiEndpoint": "http://127.0.0.1:9",
        "vpnEndpoint": "127.0.0.1",
        "vpnPort": silent,
        "uuid": "a" * 32,
        "deviceApiKey": "k" * 32,
        "deviceType": "raspberrypi4-64",
        "applicationId": 1,
        "deviceId": 1,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    clock = Clock.begin(SPEED)
    options = Options(config=path, run=tmp_path / "run", port=0, clock_ms=clock.now_ms, speed=SPEED)

    async def failed_after_s() -> float:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        class Heard(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "cloudlink to 127.0.0.1" in record.getMessage():
                    told.set()

        heard = Heard()
        logging.getLogger("fieldbeat.agent").addHandler(heard)
        began_s = loop.time()
        running = await start(options)
        try:
            async with asyncio.timeout(180 * SPEED):
                await told.wait()
            return loop.time() - began_s
        finally:
            logging.getLogger("fieldbeat.agent").removeHandler(heard)
            await running.close()

    with asyncio.Runner(loop_factory=clock.loop) as runner:
        assert runner.run(failed_after_s()) >= CONNECT_S
