"""A board without power says nothing: neither it nor, when the power is back, its kernel."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from scenarios.clock import Clock
from scenarios.hostlab import netns
from scenarios.hostlab.cloud import CloudProcess
from scenarios.hostlab.device import LabDevice
from scenarios.hostlab.fleets import Fleet
from scenarios.hostlab.places import PLACES
from scenarios.hostlab.preloaded import Preloaded
from scenarios.hostlab.topology import make_cloud
from scenarios.hostlab.works import Works
from scenarios.model import DeviceSpec
from tests.hostlab.lab import needs_host

if TYPE_CHECKING:
    from pathlib import Path

HOST, PORT = PLACES["vpn"].host, 9_000
DEADLINE_S = 180.0
CONNECTS = f"""
import socket, time
held = socket.create_connection(("{HOST}", {PORT}))
held.sendall(b"here")
time.sleep(1_000)
"""


async def _connection(server: socket.socket) -> socket.socket:
    """The next one that comes, and has said something."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        made, _ = await loop.sock_accept(server)
        made.setblocking(False)
        assert await loop.sock_recv(made, 100) == b"here"
        return made


async def _lives(names: netns.Names, folder: Path) -> None:
    space = make_cloud(names)
    clock = Clock.begin()
    cloud = CloudProcess(space, folder, clock, "inprocess", tls=False)
    works = Works(names, space, 1, name="board", seed=1, speed=1.0, bad=False)
    board = LabDevice(
        DeviceSpec(name="board", fleet="fleet"),
        works,
        folder / "board",
        cloud,
        Fleet(cloud, 1, "f" * 32, "key", frozenset()),
        Preloaded(),
        split=False,
        card=False,
        clock=False,
        boot_ms=0,
    )
    board.make()
    with netns.socket_in(space, socket.AF_INET, socket.SOCK_STREAM, 0) as server:
        server.bind((HOST, PORT))
        server.listen()
        first = await board.run("-c", CONNECTS)
        with await _connection(server) as before:
            await board.power_off()
            await first.wait()
            # no socket is left that would say goodbye as soon as there is a way
            there = ("ip", "netns", "exec", works.site.device, "ss", "-Htan")
            assert netns.run(*there) == ""
            works.power(on=True)
            second = await board.run("-c", CONNECTS)
            with await _connection(server):  # packets pass again
                try:
                    said = before.recv(1)
                except BlockingIOError:
                    said = None
                assert said is None, "the board's kernel has closed the connection"
                # but it knows it no more, and says so when it is asked
                end_s = time.monotonic() + DEADLINE_S
                reset = False
                while not reset:
                    assert time.monotonic() < end_s
                    try:
                        before.send(b"are you there?")
                        await asyncio.sleep(0.01)
                    except (ConnectionResetError, BrokenPipeError):
                        reset = True
        await board.stop()
        await second.wait()
    await works.close()
    await cloud.close()


def test_a_dead_boards_kernel_closes_no_connection_when_the_power_is_back(tmp_path: Path) -> None:
    needs_host()
    names = netns.Names()
    try:
        asyncio.run(_lives(names, tmp_path))
    finally:
        names.remove()


def test_whatever_becomes_of_the_cable_of_a_board_without_power_it_is_silent() -> None:
    needs_host()
    names = netns.Names()
    try:
        space = make_cloud(names)
        works = Works(names, space, 1, name="board", seed=1, speed=1.0, bad=False)
        up = ("ip", "-n", works.site.device, "-o", "link", "show", "up", "dev", "eth0")
        works.network(up=False)
        works.power(on=False)
        works.network(up=True)
        works.readdress("10.201.1.77")
        assert netns.run(*up) == ""
        works.power(on=True)
        assert netns.run(*up) != ""
        asyncio.run(works.reachable())
        assert _source(works) == "10.201.1.77"
        works.network(up=False)
        works.power(on=True)  # a board that boots without its cable
        assert netns.run(*up) == ""
    finally:
        names.remove()


def test_an_address_of_dhcp_outlives_the_power_and_may_be_the_first_again() -> None:
    needs_host()
    names = netns.Names()
    try:
        space = make_cloud(names)
        works = Works(names, space, 1, name="board", seed=1, speed=20.0, bad=False)
        for address in ("10.201.1.77", works.site.address):
            works.readdress(address)
            asyncio.run(works.reachable())
            assert _source(works) == address
            works.power(on=False)
            works.power(on=True)
            asyncio.run(works.reachable())
            assert _source(works) == address
        works.readdress("10.201.1.78")
        works.network(up=False)
        works.readdress(works.site.address)
        works.network(up=True)
        assert _source(works) == works.site.address
    finally:
        names.remove()


def _source(works: Works) -> str:
    """The address that the device speaks from to the VPN."""
    words = netns.run("ip", "-n", works.site.device, "route", "get", HOST).split()
    return words[words.index("src") + 1]
