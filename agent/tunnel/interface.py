"""Tunnels that are network interfaces: what a program or the kernel makes, used over sockets.

The channel's datagrams are UDP through the interface, spoken by a socket bound to the inner
address; TCP works as over any interface.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from typing import TYPE_CHECKING, Protocol, cast

from . import channel
from .noise import Identity
from .plan import PREFIX
from .uapi import PeerSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .plan import Plan
    from .uapi import Got

KEEPALIVE_S = 25
_NUMBERS = itertools.count()


class Interface(Protocol):
    """A WireGuard interface of some kind."""

    async def up(self, name: str, *, private: bytes, port: int | None, address: str) -> None:
        """Make it, with an address such as ``10.64.0.1/16``.

        Raises:
            OSError: it cannot be made; the text names the remedy.
        """

    async def set(self, peers: Iterable[PeerSet]) -> None:
        """Add, change or remove peers."""

    async def got(self) -> Got:
        """What it knows of its peers."""

    async def down(self) -> None:
        """Remove it."""


class _Channel(asyncio.DatagramProtocol):
    """The UDP socket inside."""

    def __init__(self, heard: Callable[[str, bytes], None]) -> None:
        self._heard = heard
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[1] == channel.PORT:
            self._heard(addr[0], data)

    def error_received(self, exc: Exception) -> None:
        """As if it were lost."""

    def say(self, address: str, datagram: bytes) -> None:
        if self.transport is not None:
            self.transport.sendto(datagram, (address, channel.PORT))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


async def _channel(address: str, heard: Callable[[str, bytes], None]) -> _Channel:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.bind((address, channel.PORT))
    except BaseException:
        made.close()
        raise
    protocol = _Channel(heard)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: protocol, sock=made)
    return protocol


def interface_name() -> str:
    """One that no other interface of any namespace here has (a UAPI socket is named by it)."""
    return f"fb{os.getpid()}x{next(_NUMBERS)}"[:15]


class InterfaceDevice:
    """A client."""

    tcp = True

    def __init__(self, interface: Interface, *, private: bytes | None = None) -> None:
        """Nothing is made before ``open``; ``private``: a new key where not given."""
        self._interface = interface
        self._private = private or os.urandom(32)
        self._identity = Identity(self._private)
        self._channel: _Channel | None = None
        self._server = ""

    @property
    def public(self) -> bytes:
        """Our key."""
        return self._identity.public

    async def open(self, plan: Plan, host: str, heard: Callable[[bytes], None]) -> None:
        """Make the interface; the handshake begins with the first datagram.

        Raises:
            OSError: it cannot be made.
        """
        self._server = plan.server
        await self._interface.up(
            interface_name(),
            private=self._private,
            port=None,
            address=f"{plan.address}/{PREFIX}",
        )
        peer = PeerSet(
            public=plan.public,
            psk=plan.psk,
            endpoint=(host, plan.port),
            keepalive_s=KEEPALIVE_S,
            allowed=(f"{plan.server}/32",),
        )
        await self._interface.set([peer])
        self._channel = await _channel(plan.address, lambda _, data: heard(data))

    def say(self, datagram: bytes) -> None:
        """Send a datagram of the channel."""
        if self._channel is not None:
            self._channel.say(self._server, datagram)

    async def close(self) -> None:
        """Remove the interface."""
        if self._channel is not None:
            self._channel.close()
        await self._interface.down()


class InterfaceServer:
    """A server."""

    tcp = True

    def __init__(self, interface: Interface, *, private: bytes | None = None) -> None:
        """Nothing is made before ``open``; ``private``: a new key where not given."""
        self._interface = interface
        self._private = private or os.urandom(32)
        self._identity = Identity(self._private)
        self._channel: _Channel | None = None
        self.port = 0

    @property
    def public(self) -> bytes:
        """Our key."""
        return self._identity.public

    async def open(
        self, host: str, port: int, network: str, heard: Callable[[str, bytes], None]
    ) -> None:
        """Make the interface; it listens on every address, ``host`` or not.

        Raises:
            OSError: it cannot be made.
        """
        del host
        await self._interface.up(
            interface_name(), private=self._private, port=port, address=network
        )
        self.port = (await self._interface.got()).listen_port
        if not self.port:
            raise OSError("the tunnel's interface was made and is not there")
        self._channel = await _channel(network.partition("/")[0], heard)

    async def add(self, public: bytes, psk: bytes, address: str) -> None:
        """Let a client speak."""
        await self._interface.set([PeerSet(public=public, psk=psk, allowed=(f"{address}/32",))])

    async def remove(self, public: bytes) -> None:
        """Forget a client."""
        await self._interface.set([PeerSet(public=public, remove=True)])

    def say(self, address: str, datagram: bytes) -> None:
        """Send a datagram of the channel to a client."""
        if self._channel is not None:
            self._channel.say(address, datagram)

    async def received(self) -> Mapping[bytes, int]:
        """Bytes of each client."""
        got = await self._interface.got()
        return {public: peer.rx_bytes for public, peer in got.peers.items()}

    async def close(self) -> None:
        """Remove the interface."""
        if self._channel is not None:
            self._channel.close()
        await self._interface.down()
