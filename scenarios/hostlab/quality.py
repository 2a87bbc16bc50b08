"""What a bad link does to a packet: lost, late, in a queue, too large, of a forgotten connection.

Pure: told the time, draws from a stream of its own.  ``wire`` puts it between two interfaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..streams import Stream

QUEUE_S = 1.0
"""A link's buffer holds so much of its own rate, and never less than some packets."""
QUEUE_MIN_BYTES = 15_000
FLOWS_MAX = 4_096
TCP, UDP = 6, 17
_SYN, _ACK = 0x02, 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Of a link, each way; the words of the verb ``impair``."""

    latency_ms: int = 0
    jitter_ms: int = 0
    loss: float = 0.0
    rate_bytes_per_second: int | None = None
    mtu: int | None = None
    nat_timeout_ms: int | None = None
    idle_timeout_ms: int | None = None


CLEAR = Quality()


class Flow(NamedTuple):
    """A connection as a middlebox tells it apart; seen from the device."""

    protocol: int
    here: bytes
    there: bytes
    """Address and port."""


def flow_of(packet: bytes, *, outward: bool) -> tuple[Flow | None, bool]:
    """The connection of an IPv4 packet, and whether the packet begins it."""
    if len(packet) < 24 or packet[0] >> 4 != 4 or packet[9] not in (TCP, UDP):
        return None, False
    head = 4 * (packet[0] & 0x0F)
    fragment = int.from_bytes(packet[6:8], "big") & 0x1FFF
    if fragment or len(packet) < head + 4:
        return None, False
    source = packet[12:16] + packet[head : head + 2]
    to = packet[16:20] + packet[head + 2 : head + 4]
    here, there = (source, to) if outward else (to, source)
    flags = packet[head + 13] if packet[9] == TCP and len(packet) > head + 13 else 0
    begins = packet[9] == UDP or flags & (_SYN | _ACK) == _SYN
    return Flow(packet[9], here, there), begins


class Middlebox:
    """Remembers connections, and forgets those that were idle."""

    def __init__(self) -> None:
        self._seen_s: dict[Flow, float] = {}

    def passes(self, packet: bytes, now_s: float, *, outward: bool, limit_s: float | None) -> bool:
        """Whether it lets a packet through.

        A datagram from inside begins a connection, as the first segment of TCP does; anything else
        of a connection it does not know vanishes.

        Args:
            packet: IPv4.
            now_s: any clock that goes forward.
            outward: the device sent it.
            limit_s: how long it remembers; ``None``: for ever.
        """
        flow, begins = flow_of(packet, outward=outward)
        if flow is None:
            return True
        last_s = self._seen_s.get(flow)
        known = last_s is not None and (limit_s is None or now_s - last_s <= limit_s)
        if not known and not (begins and outward) and limit_s is not None:
            self._seen_s.pop(flow, None)
            return False
        self._seen_s.pop(flow, None)
        self._seen_s[flow] = now_s
        if len(self._seen_s) > FLOWS_MAX:
            del self._seen_s[next(iter(self._seen_s))]
        return True


class Way:
    """One direction of a link."""

    def __init__(self, draws: Stream) -> None:
        self._draws = draws
        self._free_s = 0.0
        """When the last packet in the queue will have left."""

    def wait_s(self, size: int, quality: Quality, now_s: float) -> float | None:
        """How long a packet takes, or ``None``: it is lost.

        Args:
            size: of the packet, bytes.
            quality: of the link now.
            now_s: any clock that goes forward.
        """
        if quality.mtu is not None and size > quality.mtu:
            return None
        if quality.loss and self._draws.random() < quality.loss:
            return None
        wait_s = quality.latency_ms / 1_000
        if quality.jitter_ms:
            wait_s += self._draws.random() * quality.jitter_ms / 1_000
        rate = quality.rate_bytes_per_second
        if rate is None:
            return wait_s
        begins_s = max(now_s, self._free_s)
        if rate == 0 or (begins_s - now_s) * rate > max(QUEUE_MIN_BYTES, QUEUE_S * rate):
            return None
        self._free_s = begins_s + size / rate
        return wait_s + self._free_s - now_s
