"""An endpoint with a UDP socket and a clock: WireGuard in this process, without root."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import TYPE_CHECKING

from .effects import Deliver, Send, Up
from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from .effects import Effect
    from .load import Load
    from .peer import Address, Peer, Timings

_log = logging.getLogger("fieldbeat.tunnel")
TURN, DATAGRAM_MAX = 64, 65_535
BUFFER = 4 * 1024 * 1024
"""Of the socket, asked for; thousands of devices may speak in one moment."""


def wall_ms() -> int:
    """Milliseconds since 1970; initiations carry them, and must not go back over restarts."""
    return time.time_ns() // 1_000_000


def bound(host: str = "0.0.0.0", port: int = 0) -> socket.socket:  # noqa: S104  # a client's
    """A UDP socket; in a network namespace if made inside it.

    Raises:
        OSError: the address cannot be had.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


class UdpEndpoint:
    """Runs an ``Endpoint``; ``on_packet`` and ``on_up`` are called from the event loop.

    The socket is read by hand: asyncio's datagram transports take one datagram in a turn of the
    loop, which a crowd that connects at once would fill the system's buffer with.
    """

    def __init__(
        self,
        private: bytes,
        *,
        draws: Callable[[int], bytes] = os.urandom,
        clock_ms: Callable[[], int] = wall_ms,
        timings: Timings | None = None,
        load: Load | None = None,
        on_packet: Callable[[Peer, bytes], None] = lambda *_: None,
        on_up: Callable[[Peer], None] = lambda _: None,
    ) -> None:
        """Not on the wire before ``open``; ``private`` is a key of 32 bytes."""
        self.endpoint = Endpoint(private, draws=draws, timings=timings, load=load)
        self.on_packet, self.on_up = on_packet, on_up
        self.port = 0
        self._clock_ms = clock_ms
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ms: int | None = None

    async def open(self, made: socket.socket) -> None:
        """Take over a bound socket that does not block."""
        self._socket = made
        self.port = made.getsockname()[1]
        asyncio.get_running_loop().add_reader(made.fileno(), self._readable)

    def close(self) -> None:
        """Off the wire, at once and without a word."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def now_ms(self) -> int:
        """The endpoint's time."""
        return self._clock_ms()

    def connect(self, peer: Peer) -> None:
        """Begin a handshake."""
        self._do(self.endpoint.connect(peer, now_ms=self._clock_ms()))

    def send(self, peer: Peer, packet: bytes) -> None:
        """Send an IP packet through the tunnel."""
        self._do(self.endpoint.send(peer, packet, now_ms=self._clock_ms()))

    # --- the socket ------------------------------------------------------------------------------

    def _readable(self) -> None:
        """Take what came, as much as a turn allows."""
        for _ in range(TURN):
            if self._socket is None:
                return
            try:
                data, source = self._socket.recvfrom(DATAGRAM_MAX)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # ICMP said that something did not arrive: as if it were lost
                _log.debug("datagram: %s", error)
                return
            self.received(data, source)

    def received(self, data: bytes, source: Address) -> None:
        """A datagram came."""
        self._do(self.endpoint.datagram(data, source, now_ms=self._clock_ms()))

    def sent(self, datagram: bytes, to: Address) -> None:
        """Send a datagram; one that the system does not take is lost, as on any wire."""
        if self._socket is not None:
            try:
                self._socket.sendto(datagram, to)
            except OSError as error:
                _log.debug("datagram to %s: %s", to[0], error)

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.sent(effect.datagram, effect.to)
                case Deliver():
                    self.on_packet(effect.peer, effect.packet)
                case Up():
                    self.on_up(effect.peer)
        self._arm()

    def _arm(self) -> None:
        due_ms = self.endpoint.next_deadline_ms()
        if due_ms is None or self._socket is None:
            return
        if self._timer is not None:
            if self._armed_ms is not None and self._armed_ms <= due_ms:
                return
            self._timer.cancel()
        self._armed_ms = due_ms
        wait_s = max(0.0, (due_ms - self._clock_ms()) / 1_000)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._due)

    def _due(self) -> None:
        self._timer = self._armed_ms = None
        self._do(self.endpoint.due(now_ms=self._clock_ms()))
