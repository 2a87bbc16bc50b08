"""The cable between a device and its router: well, bad, out, and what a booting board says."""

from __future__ import annotations

import asyncio
import shutil
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, socket
from typing import TYPE_CHECKING

import pytest

from scenarios.errors import LabError
from scenarios.hostlab import booting
from scenarios.hostlab.cable import Cable
from scenarios.hostlab.netns import Names, run, socket_in
from scenarios.hostlab.places import PLACES, Site
from scenarios.hostlab.quality import CLEAR, Quality
from scenarios.hostlab.topology import make_cloud, make_site, readdress, unplug
from scenarios.hostlab.topology import plug as plug_in
from scenarios.hostlab.wire import can_have_wires
from tests.hostlab.lab import needs_host

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

REGISTRY = PLACES["registry"].host, PLACES["registry"].port
DEADLINE_S = 120.0
DEAD = Quality(loss=1.0)


class Place:
    """A cloud, a site, and the cable where it can be bad."""

    def __init__(self, names: Names, *, bad: bool) -> None:
        self.cloud = make_cloud(names)
        self.made: Cable | None = None

        def lay(site: Site) -> None:
            self.made = Cable(names, site, seed=1, name="device-1", speed=1, remembers=False)

        self.site = make_site(names, self.cloud, 1, lay if bad else None)

    @property
    def cable(self) -> Cable:
        assert self.made is not None
        return self.made


@pytest.fixture
def names() -> Iterator[Names]:
    needs_host()
    made = Names()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def bad(names: Names) -> Place:
    """Where the cable can be bad."""
    if can_have_wires():
        pytest.skip(can_have_wires())
    return Place(names, bad=True)


def _run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(work, DEADLINE_S))


async def _connected(place: Place) -> tuple[socket, socket]:
    """Both ends of a connection from the device to the registry."""
    loop = asyncio.get_running_loop()
    with socket_in(place.cloud, AF_INET, SOCK_STREAM, 0) as listening:
        listening.bind(REGISTRY)
        listening.listen()
        device = socket_in(place.site.device, AF_INET, SOCK_STREAM, 0)
        _, (cloud, _) = await asyncio.gather(
            loop.sock_connect(device, REGISTRY), loop.sock_accept(listening)
        )
    cloud.setblocking(False)
    return device, cloud


async def _comes(true: Callable[[], bool]) -> None:
    """Wait until it is true; whoever runs this has a deadline."""
    while not true():  # noqa: ASYNC110  # the kernel has no event for it
        await asyncio.sleep(0.01)


async def _crosses(one: socket, other: socket) -> None:
    """What is sent each way arrives."""
    loop = asyncio.get_running_loop()
    for source, to in ((one, other), (other, one)):
        await loop.sock_sendall(source, b"word")
        assert await loop.sock_recv(to, 4) == b"word"


def test_a_connection_outlives_a_link_that_goes_bad_and_is_well_again(bad: Place) -> None:
    async def lives() -> None:
        bad.cable.start()
        ends = await _connected(bad)
        assert not bad.cable.carries
        await _crosses(*ends)
        bad.cable.change(Quality(latency_ms=5, loss=0.01))
        assert bad.cable.carries
        await _crosses(*ends)
        bad.cable.change(CLEAR)
        assert not bad.cable.carries
        await _crosses(*ends)
        for end in ends:
            end.close()
        bad.cable.close()

    _run(lives())


def test_what_a_dead_link_lost_is_sent_again_once_the_link_is_well(bad: Place) -> None:
    async def lives() -> None:
        bad.cable.start()
        device, cloud = await _connected(bad)
        bad.cable.change(DEAD)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(device, b"word")
        await _comes(lambda: bad.cable.wire.lost > 0)
        bad.cable.change(CLEAR)
        assert await loop.sock_recv(cloud, 4) == b"word"
        for end in (device, cloud):
            end.close()
        bad.cable.close()

    _run(lives())


@pytest.mark.parametrize("quality", [CLEAR, Quality(latency_ms=1)])
def test_a_device_with_another_address_is_found(bad: Place, quality: Quality) -> None:
    async def found() -> None:
        bad.cable.start()
        bad.cable.change(quality)
        readdress(bad.site, bad.cloud, "10.77.0.9")
        device, cloud = await _connected(bad)
        assert cloud.getpeername()[0] == "10.77.0.9"
        await _crosses(device, cloud)
        for end in (device, cloud):
            end.close()
        bad.cable.close()

    _run(found())


def test_a_site_is_made_of_the_programs_the_lab_says_it_needs(
    names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("ip", "nft"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(tmp_path))
    Place(names, bad=not can_have_wires())


@pytest.mark.parametrize("quality", [CLEAR, Quality(latency_ms=1)])
def test_without_its_cable_a_device_finds_no_way(bad: Place, quality: Quality) -> None:
    async def lost() -> None:
        bad.cable.start()
        bad.cable.change(quality)
        unplug(bad.site)
        with (
            socket_in(bad.site.device, AF_INET, SOCK_STREAM, 0) as device,
            pytest.raises(OSError, match="unreachable"),
        ):
            await asyncio.get_running_loop().sock_connect(device, REGISTRY)
        bad.cable.close()

    _run(lost())


@pytest.mark.parametrize("can_be_bad", [True, False])
def test_nothing_waits_at_the_router_for_a_cable_to_go_in(names: Names, can_be_bad: bool) -> None:
    if can_be_bad and can_have_wires():
        pytest.skip(can_have_wires())
    place = Place(names, bad=can_be_bad)
    there = (place.site.address, 5_353)

    async def waits() -> None:
        if can_be_bad:
            place.cable.start()
        loop = asyncio.get_running_loop()
        with (
            socket_in(place.site.device, AF_INET, SOCK_DGRAM, 0) as device,
            socket_in(place.cloud, AF_INET, SOCK_DGRAM, 0) as cloud,
        ):
            device.bind(("0.0.0.0", there[1]))  # a namespace of its own
            cloud.bind((PLACES["vpn"].host, 0))
            await _heard(device, cloud, there, b"before")
            unplug(place.site)
            end = (place.cable.namespace, "near") if can_be_bad else (place.site.router, "lan0")
            # the kernel notices a little later
            await _comes(lambda: "NO-CARRIER" in run("ip", "-n", end[0], "link", "show", end[1]))
            for _ in range(5):
                await loop.sock_sendto(cloud, b"meanwhile", there)
            plug_in(place.site)
            assert await _heard(device, cloud, there, b"after", late=b"before") == b"after"
        if can_be_bad:
            place.cable.close()

    _run(waits())


async def _heard(
    device: socket, cloud: socket, there: tuple[str, int], word: bytes, *, late: bytes = b""
) -> bytes:
    """What the device hears first of what is sent until it hears something.

    ``late``: what was sent before, and may come now.
    """
    loop = asyncio.get_running_loop()

    async def hears() -> bytes:
        while (said := await loop.sock_recv(device, 100)) == late:
            pass
        return said

    hearing = asyncio.ensure_future(hears())
    while not hearing.done():
        await loop.sock_sendto(cloud, word, there)
        await asyncio.wait([hearing], timeout=0.02)
    await asyncio.sleep(0)
    device.setblocking(False)
    try:
        while device.recv(100) == word:
            pass
    except BlockingIOError:
        pass
    return hearing.result()


def test_a_board_that_boots_says_nothing_to_whom_it_does_not_know(names: Names) -> None:
    place = Place(names, bad=False)

    async def silent() -> None:
        loop = asyncio.get_running_loop()
        with socket_in(place.cloud, AF_INET, SOCK_STREAM, 0) as cloud:
            cloud.bind((PLACES["vpn"].host, 0))
            knocking = asyncio.ensure_future(loop.sock_connect(cloud, (place.site.address, 9)))
            with booting.mute(place.site.device):
                await asyncio.wait([knocking], timeout=0.3)
                assert not knocking.done()
            with pytest.raises(ConnectionRefusedError):
                await knocking

    _run(silent())


def test_a_board_is_there_as_soon_as_its_program_listens(names: Names) -> None:
    place = Place(names, bad=False)

    async def there() -> None:
        cut, loop = asyncio.Event(), asyncio.get_running_loop()
        # itself is not the world: a knock on its own door is refused though nobody else's is
        with (
            booting.mute(place.site.device),
            socket_in(place.site.device, AF_INET, SOCK_STREAM, 0) as knocking,
            pytest.raises(ConnectionRefusedError),
        ):
            await loop.sock_connect(knocking, ("127.0.0.1", 48_484))
        waiting = asyncio.ensure_future(booting.listens(place.site.device, 48_484, cut))
        with socket_in(place.site.device, AF_INET, SOCK_STREAM, 0) as program:
            program.bind(("0.0.0.0", 48_484))  # a namespace of its own
            program.listen()
            await waiting
        cut.set()
        await booting.listens(place.site.device, 48_484, cut)

    _run(there())


def test_a_kernel_that_lacks_the_rules_is_an_error_of_the_lab() -> None:
    needs_host()
    with pytest.raises(LabError), booting.mute("fieldbeat-none"):
        pass
