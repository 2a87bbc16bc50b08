"""Our WireGuard and boringtun: the server in ``mitmproxy_rs``, which runs without root."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
from mitmproxy_rs.wireguard import start_wireguard_server

from agent.tunnel import ip
from agent.tunnel.noise import Identity
from agent.tunnel.udp import UdpEndpoint, bound, wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tunnel.peer import Peer

HERE, THERE = "10.96.0.2", "10.96.0.1"
DEADLINE_S = 180
AGAIN_S = 0.25


async def _until(holds: Callable[[], object], again: Callable[[], None] = lambda: None) -> None:
    end_s, said_s = time.monotonic() + DEADLINE_S, time.monotonic()
    while not holds():
        assert time.monotonic() < end_s
        if time.monotonic() - said_s > AGAIN_S:
            said_s = time.monotonic()
            again()
        await asyncio.sleep(0.005)


class _Meeting:
    """A boringtun that answers in capitals, and some of us that talk to it."""

    def __init__(self, many: int = 1) -> None:
        self.private = os.urandom(32)
        self.skipped_ms = 0
        self.got: list[str] = []
        self.ends = [
            UdpEndpoint(
                os.urandom(32),
                clock_ms=lambda: wall_ms() + self.skipped_ms,
                on_packet=self._packet,
            )
            for _ in range(many)
        ]
        self.peers: list[Peer] = []
        self._server: Any = None

    async def __aenter__(self) -> Self:
        keys = [base64.b64encode(end.endpoint.identity.public).decode() for end in self.ends]
        secret = base64.b64encode(self.private).decode()
        self._server = await start_wireguard_server(
            "127.0.0.1", 0, secret, keys, self._stream, self._stream
        )
        port = self._server.getsockname()[1]
        for number, end in enumerate(self.ends):
            await end.open(bound(f"127.8.{number // 250}.{number % 250 + 1}"))
            self.peers.append(
                end.endpoint.add_peer(
                    Identity(self.private).public, address=("127.0.0.1", port), keepalive_ms=25_000
                )
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in self.ends:
            end.close()
        self._server.close()
        await self._server.wait_closed()

    async def _stream(self, stream: Any) -> None:
        while text := await stream.read(100):
            stream.write(text.upper())
            await stream.drain()

    def _packet(self, _: Peer, packet: bytes) -> None:
        found = ip.read(packet)
        if found is not None:
            self.got.append(found.payload.decode())

    def say(self, text: str, port: int) -> None:
        """Through the first one's tunnel."""
        self.ends[0].send(self.peers[0], ip.write(ip.Udp(HERE, port, THERE, 7, text.encode())))


def test_we_begin_talk_and_rekey() -> None:
    async def run() -> None:
        async with _Meeting() as meeting:
            (end,), (peer,) = meeting.ends, meeting.peers
            end.connect(peer)
            await _until(lambda: peer.last_handshake_ms is not None)
            await _until(lambda: "HELLO" in meeting.got, lambda: meeting.say("hello", 4_001))
            first, received = peer.last_handshake_ms, peer.rx_bytes
            assert received > 92  # its answer to the handshake alone has 92 bytes
            # our clock jumps over two minutes: the next packet rekeys; it takes one in 20 ms
            await asyncio.sleep(0.05)
            meeting.skipped_ms = 121_000
            await _until(
                lambda: peer.last_handshake_ms != first, lambda: meeting.say("again", 4_002)
            )
            await _until(lambda: "AFTER" in meeting.got, lambda: meeting.say("after", 4_003))

    asyncio.run(run())


def test_a_crowd_comes_in() -> None:
    """Its limit under load is met: what it drops is said again."""

    async def run() -> None:
        async with _Meeting(many=100) as meeting:
            for end, peer in zip(meeting.ends, meeting.peers, strict=True):
                end.connect(peer)
            await _until(lambda: all(p.last_handshake_ms is not None for p in meeting.peers))

    asyncio.run(run())


@pytest.mark.parametrize("wrong", ["our key", "its key"])
def test_a_stranger_gets_no_answer(wrong: str) -> None:
    async def run() -> None:
        async with _Meeting() as meeting:
            (known,), (peer,) = meeting.ends, meeting.peers
            stranger = UdpEndpoint(os.urandom(32) if wrong == "our key" else known_key(known))
            await stranger.open(bound("127.8.9.9"))
            public = Identity(meeting.private if wrong == "our key" else os.urandom(32)).public
            other = stranger.endpoint.add_peer(public, address=peer.address)
            stranger.connect(other)
            # one that is known is answered after it, by the same socket in order
            known.connect(peer)
            await _until(lambda: peer.last_handshake_ms is not None)
            assert other.last_handshake_ms is None
            assert other.rx_bytes == 0
            stranger.close()

    asyncio.run(run())


def known_key(end: UdpEndpoint) -> bytes:
    """Its private key."""
    return end.endpoint.identity.private.private_bytes_raw()
