"""What a packet meets between a device and the cloud: uplink, site firewall, impairments.

A ``Link`` is a value: faults replace it, and a device without faults shares the one ``CLEAR``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..streams import Stream

Channel = Literal["vpn", "api", "dns", "registry", "ntp"]
CHANNELS: tuple[Channel, ...] = ("vpn", "api", "dns", "registry", "ntp")

SYN_INSTANTS_MS = (0, 1_000, 3_000, 7_000, 15_000, 31_000, 63_000)
"""When Linux tries a TCP connection again: 1 s, doubling (``tcp_syn_retries`` = 6)."""
CONNECT_GIVEN_UP_MS = 127_000
"""As long after the last of them as twice the time before it (RFC 6298, 5.5)."""
HELD_BY_PORTAL: frozenset[Channel] = frozenset(("vpn", "registry", "ntp"))
"""What a captive portal holds back until somebody has logged in; HTTP it answers itself, and the
name server is its own."""
RETRANSMIT_MIN_MS = 200
"""Linux' least retransmission time-out of an open TCP connection; doubles."""
SEGMENT_BYTES = 1_448
"""What a full-size packet of Ethernet carries of a TCP connection with timestamps."""
INITIAL_WINDOW = 10 * SEGMENT_BYTES
PULL_ROUND_TRIPS = 5
"""The connection, the registry's challenge, the token, manifest and configuration."""
DNS_TIMEOUT_MS = 10_000
"""A resolver's two tries of 5 s."""


class Fate(Enum):
    """What happens to a packet."""

    PASS = "passes"  # noqa: S105  # a packet's fate, no password
    DROP = "vanishes"
    REJECT = "is refused"
    NO_ROUTE = "finds no route"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A site firewall's rule against one channel."""

    mode: Literal["drop", "reject"]
    outward: bool = True
    inward: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The state of one device's way to the cloud."""

    latency_ms: int
    """One way, without impairment."""
    up: bool = True
    """The uplink: cable or radio."""
    rules: tuple[tuple[Channel, Rule], ...] = ()
    """Sorted by channel, at most one each."""
    extra_latency_ms: int = 0
    jitter_ms: int = 0
    loss: float = 0.0
    rate_bytes_per_second: int | None = None
    mtu: int | None = None
    nat_timeout_ms: int | None = None
    idle_timeout_ms: int | None = None
    captive: bool = False
    """A captive portal answers HTTP with its own page and holds back the rest."""
    dns: Literal["up", "down", "hang", "error"] = "up"
    dns_latency_ms: int = 0
    dns_share: float = 1.0
    """Of the look-ups that meet the fault."""

    def look_up(self, draws: Stream) -> tuple[bool, int]:
        """Whether a name is resolved now, and after how many ms that is known."""
        outward, inward = self.fate("dns", outward=True), self.fate("dns", outward=False)
        if outward is Fate.REJECT:
            return False, 0
        if Fate.PASS not in (outward, inward) or outward is not inward:
            return False, DNS_TIMEOUT_MS
        hit = self.dns != "up" and (self.dns_share >= 1.0 or draws.random() < self.dns_share)
        if hit and self.dns == "hang":
            return False, DNS_TIMEOUT_MS
        return not hit, self.dns_latency_ms

    def block(self, channels: Iterable[Channel], rule: Rule) -> Link:
        """This link with one more rule for each of ``channels``."""
        rules = dict(self.rules)
        rules.update(dict.fromkeys(channels, rule))
        return replace(self, rules=tuple(sorted(rules.items())))

    def allow(self, channels: Iterable[Channel]) -> Link:
        """This link without rules for ``channels``."""
        gone = set(channels)
        return replace(self, rules=tuple(row for row in self.rules if row[0] not in gone))

    def unimpaired(self) -> Link:
        """This link in its best quality; uplink, firewall and portal stay."""
        return replace(
            self,
            extra_latency_ms=0,
            jitter_ms=0,
            loss=0.0,
            rate_bytes_per_second=None,
            mtu=None,
            nat_timeout_ms=None,
            idle_timeout_ms=None,
        )

    def impaired(self, **given: Any) -> Link:
        """This link with those of the impairments changed that are not ``None``."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def fate(self, channel: Channel, *, outward: bool) -> Fate:
        """What a packet of ``channel`` meets in one direction now."""
        if not self.up:
            return Fate.NO_ROUTE if outward else Fate.DROP
        if self.captive and channel in HELD_BY_PORTAL:
            return Fate.DROP
        for name, rule in self.rules:
            if name == channel and (rule.outward if outward else rule.inward):
                return Fate.DROP if rule.mode == "drop" else Fate.REJECT
        if self.loss >= 1.0:
            return Fate.DROP
        return Fate.PASS

    @property
    def round_trip_ms(self) -> int:
        """There and back, on average."""
        return max(1, 2 * (self.latency_ms + self.extra_latency_ms) + self.jitter_ms)

    @property
    def retransmission_ms(self) -> int:
        """After how long TCP sends a segment again that was not acknowledged, the first time.

        The round trip and four times its mean deviation, which Linux takes for 200 ms at least (RFC
        6298, 2.3); of two delays that are evenly spread the deviation is a third of their range.
        """
        return self.round_trip_ms + max(RETRANSMIT_MIN_MS, 4 * self.jitter_ms // 3)

    @property
    def tcp_bytes_per_second(self) -> int | None:
        """What one connection carries at most where packets are lost; ``None``: any rate.

        A segment takes its share of a round trip, and of the time-outs that loss brings.  The
        window is CUBIC's, RFC 9438 (5.1 and, where Reno's is larger, 4.3).  Time-outs are those
        of Padhye, Firoiu, Towsley and Kurose, 1998, *Modeling TCP Throughput* (how often: as in
        RFC 5348, 3.1, each segment being acknowledged); one more, twice as long, is due when what
        was sent again is lost, or its acknowledgement.  Held against Linux in
        ``docs/hostlab.md``.
        """
        if not 0 < self.loss < 1:
            return None
        lost, trip_s = self.loss, self.round_trip_ms / 1_000
        window = max(1.054 * (trip_s / lost) ** 0.75, (1.5 / lost) ** 0.5)
        time_outs = lost * min(1.0, 3 * (3 * lost / 8) ** 0.5)
        again = self.lost_either_way
        doublings = 1 + sum(2 ** (n - 1) * again**n for n in range(1, 7))
        waited_s = time_outs * self.retransmission_ms / 1_000 * doublings / (1 - again)
        return max(1, int(SEGMENT_BYTES / (trip_s / window + waited_s)))

    def layer_ms(self, bytes_per_second: int) -> int:
        """What each layer of an image takes besides its bytes at this rate.

        A round trip for its request, and those in which TCP's window grows from ten segments (RFC
        6928), twice as large each time, to what the rate takes: after the silence of a request it
        begins anew (RFC 5681, 4.1).
        """
        trip_ms, window = self.round_trip_ms, INITIAL_WINDOW
        wanted = bytes_per_second * trip_ms // 1_000
        waited_ms = trip_ms
        while window < wanted:
            waited_ms += trip_ms - trip_ms * window // wanted
            window *= 2
        return waited_ms

    @property
    def lost_either_way(self) -> float:
        """The chance that a packet is lost, or the answer to it."""
        return 1 - (1 - self.loss) ** 2

    def trip_ms(self, draws: Stream) -> int:
        """One way, now: latency, jitter, and the wait for each time a packet is lost."""
        delay = self.latency_ms + self.extra_latency_ms
        if self.jitter_ms:
            delay += draws.upto(self.jitter_ms)
        if self.loss:
            wait = RETRANSMIT_MIN_MS
            while draws.random() < self.loss and wait < 120_000:
                delay += wait
                wait *= 2
        return delay

    @property
    def plain(self) -> bool:
        """Nothing but the base latency: no rule, no impairment, up."""
        return (
            self.up
            and not self.rules
            and not self.extra_latency_ms
            and not self.jitter_ms
            and not self.loss
            and self.rate_bytes_per_second is None
            and self.mtu is None
            and not self.captive
            and self.dns == "up"
            and not self.dns_latency_ms
        )
