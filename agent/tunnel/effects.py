"""What an endpoint wants done."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .peer import Address, Peer


class Send(NamedTuple):
    """Put a datagram on the wire."""

    datagram: bytes
    to: Address


class Deliver(NamedTuple):
    """An IPv4 packet came out of the tunnel."""

    peer: Peer
    packet: bytes


class Up(NamedTuple):
    """A handshake with the peer is complete."""

    peer: Peer


Effect = Send | Deliver | Up
