"""Our WireGuard and a real wireguard-go: both roles, a rekey, what each of them counts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from agent.tunnel import ip, uapi
from agent.tunnel.load import Load
from agent.tunnel.noise import Identity
from agent.tunnel.udp import UdpEndpoint, bound, wall_ms
from scenarios.hostlab import netns
from tests.tunnel.go import needs_wireguard_go, wireguard_go
from tests.tunnel.wire import echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.tunnel.peer import Peer


INTERFACE = f"fbt{os.getpid()}"
"""Its socket lies where those of others lie."""
DEADLINE_S = 180.0


@pytest.fixture(autouse=True)
def _machine() -> Iterator[None]:
    """A network of the test's own: its addresses are nobody else's."""
    needs_wireguard_go()
    names = netns.Names()
    try:
        with netns.inside(names.make("interop")):
            yield
    finally:
        names.remove()


async def _until(holds: Callable[[], object]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.005)


async def _set_up(
    socket: Path, private: bytes, ours: UdpEndpoint, psk: bytes, **more: object
) -> None:
    peer = uapi.PeerSet(
        public=ours.endpoint.identity.public,
        psk=psk,
        allowed=("10.97.0.2/32",),
        **more,  # type: ignore[arg-type]
    )
    await uapi.ask(socket, uapi.set_request(private=private, listen_port=0, peers=[peer]))


@pytest.mark.parametrize("psk", [bytes(32), os.urandom(32)], ids=["no psk", "psk"])
def test_we_begin_and_both_count_the_same_bytes(psk: bytes) -> None:
    async def run() -> None:
        got: list[bytes] = []
        private, skipped_ms = os.urandom(32), 0
        ours = UdpEndpoint(
            os.urandom(32),
            clock_ms=lambda: wall_ms() + skipped_ms,
            on_packet=lambda _, packet: got.append(packet),
        )
        await ours.open(bound("127.0.0.1"))
        with wireguard_go(INTERFACE, "10.97.0.1/24") as socket:
            await _set_up(socket, private, ours, psk)
            port = (await uapi.ask(socket, uapi.GET)).listen_port
            peer = ours.endpoint.add_peer(
                Identity(private).public, psk=psk, address=("127.0.0.1", port), keepalive_ms=25_000
            )
            ours.connect(peer)
            await _until(lambda: peer.last_handshake_ms is not None)
            for number in range(3):
                ours.send(peer, echo("10.97.0.2", "10.97.0.1", number))
            await _until(lambda: len(got) == 3)
            # our clock jumps over two minutes: the next packet rekeys
            first = peer.last_handshake_ms
            await asyncio.sleep(0.05)  # it takes one initiation in 20 ms
            skipped_ms = 121_000
            ours.send(peer, echo("10.97.0.2", "10.97.0.1", 9))
            await _until(lambda: len(got) == 4 and peer.last_handshake_ms != first)
            await _until(lambda: peer.current is not None and peer.current.counter > 0)
            end_s = time.monotonic() + DEADLINE_S
            while True:  # what is on its way is counted when it has arrived
                theirs = next(iter((await uapi.ask(socket, uapi.GET)).peers.values()))
                if (theirs.rx_bytes, theirs.tx_bytes) == (peer.tx_bytes, peer.rx_bytes):
                    break
                assert time.monotonic() < end_s, (theirs, peer.tx_bytes, peer.rx_bytes)
                await asyncio.sleep(0.02)
            assert theirs.last_handshake_s is not None
        ours.close()

    asyncio.run(run())


@pytest.mark.parametrize("loaded", [False, True], ids=["calm", "loaded"])
def test_wireguard_go_begins_and_its_kernel_reaches_us(loaded: bool) -> None:
    """Under load it proves its address to us with its second try."""

    async def run() -> None:
        def answer(peer: Peer, packet: bytes) -> None:
            found = ip.read(packet)
            if found is not None:
                back = ip.Udp(found.to, found.to_port, found.source, found.source_port, b"pong")
                ours.send(peer, ip.write(back))

        private = os.urandom(32)
        load = Load(os.urandom, per_second=0) if loaded else None
        ours = UdpEndpoint(os.urandom(32), on_packet=answer, load=load)
        await ours.open(bound("127.0.0.1"))
        ours.endpoint.add_peer(Identity(private).public, allowed=["10.97.0.1"])
        with wireguard_go(INTERFACE, "10.97.0.1/24") as socket:
            await _set_up(socket, private, ours, bytes(32), endpoint=("127.0.0.1", ours.port))
            said = await asyncio.to_thread(
                subprocess.run,
                ["timeout", "180", "bash", "-c", _ASK],
                capture_output=True,
                check=True,
            )
            assert said.stdout == b"pong"
            assert (ours.endpoint._cookies is not None) is loaded
        ours.close()

    asyncio.run(run())


_ASK = "exec 3<>/dev/udp/10.97.0.2/7; printf ping >&3; head -c4 <&3"


def test_a_loaded_wireguard_go_makes_us_prove_our_address() -> None:
    """A burst from one address: it answers with cookies, and in the end lets everybody in."""

    async def run() -> None:
        private = os.urandom(32)
        ends = [UdpEndpoint(os.urandom(32)) for _ in range(400)]
        peers = [
            uapi.PeerSet(
                public=end.endpoint.identity.public,
                allowed=(f"10.97.{n // 250}.{n % 250 + 2}/32",),
            )
            for n, end in enumerate(ends)
        ]
        with wireguard_go(INTERFACE, "10.97.0.1/16") as socket:
            await uapi.ask(socket, uapi.set_request(private=private, listen_port=0, peers=peers))
            port = (await uapi.ask(socket, uapi.GET)).listen_port
            known = []
            for number, end in enumerate(ends):
                await end.open(bound(f"127.7.{number // 250}.{number % 250 + 1}"))
                known.append(
                    end.endpoint.add_peer(Identity(private).public, address=("127.0.0.1", port))
                )
            for end, peer in zip(ends, known, strict=True):
                end.connect(peer)
            await _until(lambda: all(peer.last_handshake_ms is not None for peer in known))
        for end in ends:
            end.close()

    asyncio.run(run())
