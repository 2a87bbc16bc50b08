"""An endpoint with a UDP socket and a clock: WireGuard in this process, without root."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, cast

from .effects import Deliver, Send, Up
from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from .effects import Effect
    from .load import Load
    from .peer import Address, Peer, Timings

_log = logging.getLogger("fieldbeat.tunnel")
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


class UdpEndpoint(asyncio.DatagramProtocol):
    """Runs an ``Endpoint``; ``on_packet`` and ``on_up`` are called from the event loop."""

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
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ms: int | None = None

    async def open(self, made: socket.socket) -> None:
        """Take over a bound socket."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, sock=made)
        self.port = made.getsockname()[1]

    def close(self) -> None:
        """Off the wire, at once and without a word."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def now_ms(self) -> int:
        """The endpoint's time."""
        return self._clock_ms()

    def connect(self, peer: Peer) -> None:
        """Begin a handshake."""
        self._do(self.endpoint.connect(peer, now_ms=self._clock_ms()))

    def send(self, peer: Peer, packet: bytes) -> None:
        """Send an IP packet through the tunnel."""
        self._do(self.endpoint.send(peer, packet, now_ms=self._clock_ms()))

    # --- asyncio ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        # no subclass of DatagramTransport before Python 3.12
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Something came."""
        self._do(self.endpoint.datagram(data, addr, now_ms=self._clock_ms()))

    def error_received(self, exc: Exception) -> None:
        """A datagram could not be sent, or was refused by ICMP: as if it were lost."""
        _log.debug("datagram: %s", exc)

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    if self._transport is not None:
                        self._transport.sendto(effect.datagram, effect.to)
                case Deliver():
                    self.on_packet(effect.peer, effect.packet)
                case Up():
                    self.on_up(effect.peer)
        self._arm()

    def _arm(self) -> None:
        due_ms = self.endpoint.next_deadline_ms()
        if due_ms is None or self._transport is None:
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
