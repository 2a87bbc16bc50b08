"""A proxy on the way that closes TCP connections which carry nothing for a while, at both ends.

Pure: it is shown packets, and gives the resets it sends.  ``wire`` puts it between two interfaces.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .quality import FLOWS_MAX, TCP, flow_of

if TYPE_CHECKING:
    from .quality import Flow

_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_TTL = 64


@dataclass(slots=True)
class _Seen:
    """Of a connection."""

    last_s: float
    out_next: int | None = None
    """The sequence number that the device's next byte will have."""
    in_next: int | None = None
    """And the cloud's."""


class Proxy:
    """What it knows of the connections through it."""

    def __init__(self) -> None:
        self._seen: dict[Flow, _Seen] = {}

    def saw(self, packet: bytes, now_s: float, *, outward: bool) -> None:
        """A packet passes; ``outward``: the device sent it."""
        flow, _ = flow_of(packet, outward=outward)
        if flow is None or flow.protocol != TCP:
            return
        head = 4 * (packet[0] & 0x0F)
        if len(packet) < head + 20:
            return
        sequence, flags = int.from_bytes(packet[head + 4 : head + 8], "big"), packet[head + 13]
        if flags & _RST:
            self._seen.pop(flow, None)
            return
        size = int.from_bytes(packet[2:4], "big") - head - 4 * (packet[head + 12] >> 4)
        following = (sequence + size + bool(flags & _SYN) + bool(flags & _FIN)) % 2**32
        seen = self._seen.pop(flow, None) or _Seen(now_s)
        self._seen[flow] = seen  # the newest is last
        seen.last_s = now_s
        if outward:
            seen.out_next = following
        else:
            seen.in_next = following
        if len(self._seen) > FLOWS_MAX:
            del self._seen[next(iter(self._seen))]

    def closes(self, now_s: float, limit_s: float) -> list[tuple[bytes, bytes]]:
        """Close what is idle for the limit: the packets to the device, and those to the cloud.

        Args:
            now_s: any clock that goes forward, the same as ``saw`` was told.
            limit_s: longer than this nothing may be silent.
        """
        found = []
        for flow, seen in list(self._seen.items()):
            if now_s - seen.last_s < limit_s:
                break  # the others are newer
            del self._seen[flow]
            if seen.out_next is None or seen.in_next is None:
                continue
            inward = reset(flow.there, flow.here, seen.in_next, seen.out_next)
            outward = reset(flow.here, flow.there, seen.out_next, seen.in_next)
            found.append((inward, outward))
        return found


def reset(source: bytes, to: bytes, sequence: int, acknowledged: int) -> bytes:
    """A TCP reset (RFC 9293) that its receiver takes for its peer's.

    Args:
        source: address and port, as in a ``Flow``.
        to: the same of the receiver.
        sequence: what the receiver expects next; it believes no other (RFC 5961).
        acknowledged: what its peer expects next.
    """
    segment = struct.pack(
        "!2s2sIIBBHHH", source[4:], to[4:], sequence, acknowledged, 5 << 4, _RST | _ACK, 0, 0, 0
    )
    pseudo = source[:4] + to[:4] + struct.pack("!BBH", 0, TCP, len(segment))
    segment = segment[:16] + _checksum(pseudo + segment) + segment[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, _TTL, TCP, 0)
    head += source[:4] + to[:4]
    return head[:10] + _checksum(head) + head[12:] + segment


def _checksum(data: bytes) -> bytes:
    """The Internet's (RFC 1071); ``data`` is of even length."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
