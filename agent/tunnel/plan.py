"""What a client and a server tell each other before there is a tunnel, and what an end of it is.

They speak JSON over a WebSocket at the server's address, kept open while the tunnel lives: like
OpenVPN's TCP connection it shows at once when the other end's process dies or a firewall rejects.

    client  {"uuid", "public_key", "tcp"}
    server  {"public_key", "preshared_key", "port", "address", "server", "ping_ms", "ping_exit_ms"}
    client  {"uuid", "key"}              inside the TLS of the WebSocket, once the tunnel answers
    server  {"accepted": true | false}
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .noise import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATH = "/cloudlink"
PREFIX = 16
"""Of the tunnel's network: the server's address and its clients'."""


class PlanError(ValueError):
    """What the other end says makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A tunnel as a client must set it up."""

    public: bytes
    """The server's key."""
    psk: bytes
    port: int
    """UDP, at the host of the WebSocket."""
    address: str
    """The client's, inside."""
    server: str
    """The server's, inside."""
    ping_ms: int
    ping_exit_ms: int

    def words(self) -> dict[str, Any]:
        """As the server says it."""
        return {
            "public_key": as_text(self.public),
            "preshared_key": as_text(self.psk),
            "port": self.port,
            "address": self.address,
            "server": self.server,
            "ping_ms": self.ping_ms,
            "ping_exit_ms": self.ping_exit_ms,
        }


def as_text(key: bytes) -> str:
    """A key as WireGuard's tools write it."""
    return base64.b64encode(key).decode()


def key_of(words: Mapping[str, Any], name: str) -> bytes:
    """A key that the other end names.

    Raises:
        PlanError: it is none.
    """
    try:
        key = base64.b64decode(str(words.get(name, "")), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY:
        raise PlanError(f"{name} must be a key of WireGuard")
    return key


def read_plan(words: Any) -> Plan:
    """The server's words.

    Raises:
        PlanError: they are no plan.
    """
    if not isinstance(words, dict):
        raise PlanError("the server gives no tunnel")
    limits = {"port": 2**16, "ping_ms": 2**31, "ping_exit_ms": 2**31}
    if not all(type(words.get(n)) is int and 0 < words[n] < limits[n] for n in limits):
        raise PlanError("port and times must be whole numbers above 0, and no larger than they can")
    try:
        hosts = [str(ipaddress.IPv4Address(str(words.get(n)))) for n in ("address", "server")]
    except ValueError:
        raise PlanError("address and server must be IPv4 addresses") from None
    return Plan(
        public=key_of(words, "public_key"),
        psk=key_of(words, "preshared_key"),
        port=words["port"],
        address=hosts[0],
        server=hosts[1],
        ping_ms=words["ping_ms"],
        ping_exit_ms=words["ping_exit_ms"],
    )


class DeviceEnd(Protocol):
    """A client's tunnel, of whatever kind; opened and closed once."""

    tcp: bool
    """The system has a network interface for it: TCP works through it."""

    async def open(self, plan: Plan, host: str, heard: Callable[[bytes], None]) -> None:
        """Set the tunnel up; words of the channel go to ``heard``.

        Args:
            plan: what the server said.
            host: the server's address, an IP.
            heard: called with each datagram of the channel.

        Raises:
            OSError: it cannot be had here.
        """

    def say(self, datagram: bytes) -> None:
        """Send a datagram of the channel; it may be lost."""

    async def close(self) -> None:
        """Take the tunnel down."""

    @property
    def public(self) -> bytes:
        """Our key."""


class ServerEnd(Protocol):
    """A server's end of many tunnels, of whatever kind."""

    tcp: bool
    port: int

    @property
    def public(self) -> bytes:
        """Our key."""

    async def open(
        self, host: str, port: int, network: str, heard: Callable[[str, bytes], None]
    ) -> None:
        """Listen.

        Args:
            host: address of the UDP socket.
            port: of it; 0: any free one.
            network: address and prefix of ours inside, ``10.64.0.1/16``.
            heard: called with a client's inner address and each datagram of the channel.

        Raises:
            OSError: the port or the interface cannot be had.
        """

    async def add(self, public: bytes, psk: bytes, address: str) -> None:
        """Let a client speak, as this inner address only."""

    async def remove(self, public: bytes) -> None:
        """Forget a client."""

    def say(self, address: str, datagram: bytes) -> None:
        """Send a datagram of the channel to a client."""

    async def received(self) -> Mapping[bytes, int]:
        """Bytes that came from each client, authentic ones, since it was added."""

    async def close(self) -> None:
        """Stop."""
