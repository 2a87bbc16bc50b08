"""Keys in use: transport messages, and the window that takes each of them once (§5.4.6)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .handshake import TRANSPORT, RefusedError

if TYPE_CHECKING:
    from .handshake import Keys

WINDOW = 2048
"""How many counters behind the newest are still taken (RFC 6479)."""
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
HEADER = 16
_MASK = (1 << WINDOW) - 1


class Session:
    """One pair of transport keys."""

    __slots__ = (
        "_open",
        "_seal",
        "_seen",
        "began_ms",
        "counter",
        "highest",
        "initiator",
        "local",
        "remote",
    )

    def __init__(self, keys: Keys, *, began_ms: int, initiator: bool) -> None:
        """Begin with both counters at 0."""
        self._seal = ChaCha20Poly1305(keys.send)
        self._open = ChaCha20Poly1305(keys.receive)
        self.local, self.remote = keys.local, keys.remote
        self.began_ms, self.initiator = began_ms, initiator
        self.counter = 0
        self.highest = -1
        self._seen = 0

    def seal(self, packet: bytes) -> bytes:
        """The datagram of a packet; an empty packet is a keepalive."""
        counter = self.counter
        self.counter += 1
        padded = packet + bytes(-len(packet) % 16)
        sealed = self._seal.encrypt(struct.pack("<IQ", 0, counter), padded, None)
        return struct.pack("<IIQ", TRANSPORT, self.remote, counter) + sealed

    def open(self, datagram: bytes) -> bytes:
        """The packet of a datagram, still padded.

        Raises:
            RefusedError: it was not sealed by the peer, or was taken before.
        """
        (counter,) = struct.unpack_from("<Q", datagram, 8)
        behind = self.highest - counter
        if counter >= REJECT_AFTER_MESSAGES or behind >= WINDOW:
            raise RefusedError("a counter out of the window")
        if behind >= 0 and self._seen >> behind & 1:
            raise RefusedError("a packet that came before")
        try:
            packet = self._open.decrypt(
                struct.pack("<IQ", 0, counter), memoryview(datagram)[HEADER:], None
            )
        except InvalidTag:
            raise RefusedError("a packet sealed with other keys") from None
        if behind < 0:
            self._seen = (self._seen << -behind | 1) & _MASK if -behind < WINDOW else 1
            self.highest = counter
        else:
            self._seen |= 1 << behind
        return packet
