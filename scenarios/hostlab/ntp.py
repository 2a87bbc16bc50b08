"""The time server of the cloud's net, and what a device's chrony does: NTP, 48 bytes each way.

The time of day is the lab's clock.  A device's own may be off by what a file of it says; its
programs look there (``fieldbeat agent --clock``), and chrony sets it right once a server answers.
"""

from __future__ import annotations

import asyncio
import struct
from socket import AF_INET, SOCK_DGRAM
from typing import TYPE_CHECKING

from ..simulation.conditions import NTP_PERIOD_MS
from .netns import socket_in
from .places import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..clock import Clock
    from .places import Site

ERA_S = 2_208_988_800
"""From 1900, where NTP begins, to 1970."""
ANSWER_S = 0.3
"""Real seconds that an answer may take."""
_PACKET = struct.Struct("!BBbb11I")
_CLIENT, _SERVER = 0x23, 0x24
"""NTP version 4, and the mode of who speaks."""


def _words(at_ms: int) -> tuple[int, int]:
    """Seconds since 1900 modulo 2^32, and the fraction."""
    second, rest_ms = divmod(at_ms, 1_000)
    return (second + ERA_S) & 0xFFFFFFFF, (rest_ms << 32) // 1_000


def _ms(second: int, fraction: int, near_ms: int) -> int:
    """The moment of that name that is nearest to another one."""
    era_ms = 2**32 * 1_000
    at_ms = (second - ERA_S) * 1_000 + ((fraction * 1_000 + 2**31) >> 32)
    return at_ms + round((near_ms - at_ms) / era_ms) * era_ms


def question(now_ms: int) -> bytes:
    """A client's packet, sent when its clock shows ``now_ms``."""
    return _PACKET.pack(_CLIENT, 0, 6, -20, *([0] * 9), *_words(now_ms))


def answer_to(packet: bytes, now_ms: int) -> bytes | None:
    """A server's answer at its time; ``None`` where nothing was asked."""
    if len(packet) < _PACKET.size or packet[0] & 0x07 != _CLIENT & 0x07:
        return None
    asked = struct.unpack_from("!2I", packet, 40)
    now = _words(now_ms)
    return _PACKET.pack(_SERVER, 1, 6, -20, 0, 0, 0x4C4F434C, *now, *asked, *now, *now)


def ahead_ms(packet: bytes, sent_ms: int, came_ms: int) -> int | None:
    """How far a client's clock is ahead of the server's; ``None``: it is no answer to its question.

    Args:
        packet: as it came.
        sent_ms: what the client's clock showed when it asked.
        came_ms: and when the answer came.
    """
    if len(packet) < _PACKET.size or packet[0] & 0x07 != _SERVER & 0x07:
        return None
    words = struct.unpack_from("!6I", packet, 24)
    if words[:2] != _words(sent_ms):
        return None
    received, sent = (_ms(words[i], words[i + 1], sent_ms) for i in (2, 4))
    return ((sent_ms - received) + (came_ms - sent)) // 2


class TimeServer(asyncio.DatagramProtocol):
    """Stratum 1: it has the lab's clock."""

    def __init__(self, namespace: str, clock: Clock) -> None:
        """Nothing is answered before ``start``; the namespace is the cloud's."""
        self._namespace, self._clock = namespace, clock
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        """Listen."""
        place = PLACES["ntp"]
        made = socket_in(self._namespace, AF_INET, SOCK_DGRAM, 0)
        made.bind((place.host, place.port))
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=made)

    def close(self) -> None:
        """Stop listening."""
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A question."""
        answer = answer_to(data, self._clock.now_ms())
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


class DeviceClock:
    """A device's time of day, and its chrony."""

    def __init__(
        self,
        site: Site,
        file: Path,
        clock: Clock,
        *,
        powered: Callable[[], bool],
        note: Callable[[str], None],
    ) -> None:
        """Right until ``change``.

        Args:
            site: of the device.
            file: what its programs read.
            clock: of the lab.
            powered: whether the board runs, and chrony on it.
            note: told when it was set.
        """
        self._site, self._file, self._clock = site, file, clock
        self._powered, self._note = powered, note
        self.off_ms = 0
        """How far it is ahead of the lab's."""
        self._chrony: asyncio.Task[None] | None = None

    def change(self, *, shown_ms: int | None, skew_ms: int | None, jump_ms: int | None) -> None:
        """It shows a time, is off by a span, or jumps by one, from now on."""
        if shown_ms is not None:
            self._write(shown_ms - self._clock.now_ms())
        else:
            self._write(skew_ms if skew_ms is not None else self.off_ms + (jump_ms or 0))
        self.close()
        self._chrony = asyncio.get_running_loop().create_task(self._live())

    def close(self) -> None:
        """No chrony any more."""
        if self._chrony is not None:
            self._chrony.cancel()
            self._chrony = None

    def _write(self, off_ms: int) -> None:
        self.off_ms = off_ms
        aside = self._file.with_name(f"{self._file.name}.new")
        aside.write_text(f"{off_ms / 1_000:.3f}\n")
        aside.replace(self._file)

    async def _live(self) -> None:
        """Ask until a server has answered; balenaOS lets chrony step the clock at any answer."""
        while True:
            await asyncio.sleep(NTP_PERIOD_MS / 1_000 / self._clock.speed)
            ahead = await self._asked() if self._powered() else None
            if ahead is not None:
                self._write(self.off_ms - ahead)
                self._note(f"NTP put the clock right: it was off by {ahead / 1_000:.0f} s")
                return

    async def _asked(self) -> int | None:
        place, loop = PLACES["ntp"], asyncio.get_running_loop()
        sent_ms = self._clock.now_ms() + self.off_ms
        try:
            with socket_in(self._site.device, AF_INET, SOCK_DGRAM, 0) as asking:
                asking.connect((place.host, place.port))
                asking.send(question(sent_ms))
                async with asyncio.timeout(ANSWER_S):
                    packet = await loop.sock_recv(asking, 512)
        except (OSError, TimeoutError):
            return None
        return ahead_ms(packet, sent_ms, self._clock.now_ms() + self.off_ms)
