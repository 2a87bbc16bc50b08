"""Words between the ends inside a tunnel: pings, and calls of the supervisor API.

One UDP port at both ends.  A message is a head of 8 bytes (``kind u8, part u8, parts u16,
number u32``, network order) and a part of its JSON.  What needs an answer is sent again until it
has one; the device answers a call it has answered before with the same words, and does not carry
it out twice.  This is not balena's protocol: there the cloud speaks TCP through OpenVPN, and so it
does here where both ends have a network interface (``userspace``, ``kernel``).
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = 48480
PING, PONG, CALL, REPLY = range(1, 5)
_HEAD = struct.Struct("!BBHI")
PART = 1_200
PARTS_MAX = 200
"""240 kB of JSON: more than any answer of a supervisor."""
OPEN_MAX = 8
"""Messages of a peer that are not whole yet; the oldest goes."""


class Message(NamedTuple):
    """A whole message."""

    kind: int
    number: int
    body: Any


class TooLongError(ValueError):
    """A message that does not fit."""


def write(message: Message) -> list[bytes]:
    """The datagrams of a message.

    Raises:
        TooLongError: it has more than ``PARTS_MAX`` parts.
    """
    raw = b"" if message.body is None else json.dumps(message.body, default=dict).encode()
    parts = [raw[at : at + PART] for at in range(0, len(raw), PART)] or [b""]
    if len(parts) > PARTS_MAX:
        raise TooLongError(f"{len(raw)} bytes are more than {PARTS_MAX * PART}")
    return [
        _HEAD.pack(message.kind, part, len(parts), message.number) + text
        for part, text in enumerate(parts)
    ]


class Reader:
    """Puts the parts of one peer's messages together."""

    __slots__ = ("_open", "_wanted")

    def __init__(self, wanted: Callable[[int, int], bool] = lambda _kind, _number: True) -> None:
        """Parts are kept of messages that are ``wanted``, by kind and number, and of no others."""
        self._open: dict[tuple[int, int, int], dict[int, bytes]] = {}
        self._wanted = wanted

    def take(self, datagram: bytes) -> Message | None:
        """The message this completes; ``None``: none yet, or nonsense."""
        if len(datagram) < _HEAD.size:
            return None
        kind, part, parts, number = _HEAD.unpack_from(datagram)
        text = datagram[_HEAD.size :]
        if not PING <= kind <= REPLY or part >= parts or parts > PARTS_MAX or len(text) > PART:
            return None
        if parts > 1:
            if not self._wanted(kind, number):
                return None
            name = (kind, number, parts)
            have = self._open.setdefault(name, {})
            have[part] = text
            if len(have) < parts:
                if len(self._open) > OPEN_MAX:
                    del self._open[next(iter(self._open))]
                return None
            del self._open[name]
            text = b"".join(have[at] for at in range(parts))
        try:
            return Message(kind, number, json.loads(text) if text else None)
        except (ValueError, RecursionError):
            return None
