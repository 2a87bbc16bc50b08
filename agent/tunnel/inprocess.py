"""Both ends of a tunnel in this process: no root, no network interface (``endpoint``, ``udp``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import channel, ip
from .udp import UdpEndpoint, bound, wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .noise import Remote
    from .peer import Peer
    from .plan import Plan

KEEPALIVE_MS = 25_000


class InProcessDevice:
    """A client."""

    tcp = False

    def __init__(
        self,
        *,
        private: bytes | None = None,
        source: str = "0.0.0.0",  # noqa: S104  # a client's
        clock_ms: Callable[[], int] = wall_ms,
        remote_of: Callable[[bytes], Remote] | None = None,
    ) -> None:
        """Not on the wire before ``open``.

        Args:
            private: our key; a new one where not given.
            source: address to speak from: a fleet on one machine needs many.
            clock_ms: the time, ms.
            remote_of: what is derived of a server's key, to be shared by a fleet.
        """
        self._udp = UdpEndpoint(private or os.urandom(32), clock_ms=clock_ms)
        self._source = source
        self._remote_of = remote_of
        self._plan: Plan | None = None
        self._peer: Peer | None = None

    @property
    def public(self) -> bytes:
        """Our key."""
        return self._udp.endpoint.identity.public

    @property
    def peer(self) -> Peer | None:
        """The server, while open."""
        return self._peer

    async def open(self, plan: Plan, host: str, heard: Callable[[bytes], None]) -> None:
        """Begin the handshake.

        Raises:
            OSError: no socket.
        """

        def packet(_: Peer, data: bytes) -> None:
            found = ip.read(data)
            if found is not None and found.to == plan.address and found.to_port == channel.PORT:
                heard(found.payload)

        self._plan = plan
        self._udp.on_packet = packet
        await self._udp.open(bound(self._source))
        self._peer = self._udp.endpoint.add_peer(
            plan.public,
            psk=plan.psk,
            address=(host, plan.port),
            allowed=[plan.server],
            keepalive_ms=KEEPALIVE_MS,
            remote=self._remote_of(plan.public) if self._remote_of else None,
        )
        self._udp.connect(self._peer)

    def say(self, datagram: bytes) -> None:
        """Send a datagram of the channel."""
        if self._peer is not None and self._plan is not None:
            plan = self._plan
            self._udp.send(self._peer, _wrapped(plan.address, plan.server, datagram))

    async def close(self) -> None:
        """Off the wire."""
        self._udp.close()
        self._peer = None


class InProcessServer:
    """A server."""

    tcp = False

    def __init__(
        self, *, private: bytes | None = None, clock_ms: Callable[[], int] = wall_ms
    ) -> None:
        """Not on the wire before ``open``; ``private``: a new key where not given."""
        self._udp = UdpEndpoint(private or os.urandom(32), clock_ms=clock_ms)
        self._address = ""
        self._peers: dict[str, Peer] = {}
        self.port = 0

    @property
    def public(self) -> bytes:
        """Our key."""
        return self._udp.endpoint.identity.public

    async def open(
        self, host: str, port: int, network: str, heard: Callable[[str, bytes], None]
    ) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had.
        """
        self._address = network.partition("/")[0]

        def packet(_: Peer, data: bytes) -> None:
            found = ip.read(data)
            if found is not None and found.to == self._address and found.to_port == channel.PORT:
                heard(found.source, found.payload)

        self._udp.on_packet = packet
        await self._udp.open(bound(host, port))
        self.port = self._udp.port

    async def add(self, public: bytes, psk: bytes, address: str) -> None:
        """Let a client speak.

        Raises:
            BadKeyError: its key is no good one.
        """
        self._peers[address] = self._udp.endpoint.add_peer(public, psk=psk, allowed=[address])

    async def remove(self, public: bytes) -> None:
        """Forget a client."""
        self._udp.endpoint.remove_peer(public)
        self._peers = {a: p for a, p in self._peers.items() if p.remote.public != public}

    def say(self, address: str, datagram: bytes) -> None:
        """Send a datagram of the channel to a client."""
        peer = self._peers.get(address)
        if peer is not None:
            self._udp.send(peer, _wrapped(self._address, address, datagram))

    async def received(self) -> Mapping[bytes, int]:
        """Bytes of each client."""
        return {public: peer.rx_bytes for public, peer in self._udp.endpoint.peers.items()}

    async def close(self) -> None:
        """Off the wire."""
        self._udp.close()


def _wrapped(source: str, to: str, datagram: bytes) -> bytes:
    return ip.write(ip.Udp(source, channel.PORT, to, channel.PORT, datagram))
