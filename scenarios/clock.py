"""Real time, or real time made to run faster: one clock for every process of a host lab.

At ``speed`` 60 an hour of the product is a minute of ours: each timer, time-out and time stamp of
an asyncio program follows the loop's clock, and the loop's clock runs that much faster.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from typing import TYPE_CHECKING, Any

from . import connecting
from .errors import LabError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

EPOCH = "FIELDBEAT_EPOCH"
"""Set by a host lab for its programs: when its clock began, ``monotonic ns:wall ms``."""
SPEED_MAX = 1_000.0


class Clock:
    """A wall clock that runs ``speed`` times as fast as the system's from a moment on."""

    def __init__(
        self, speed: float = 1.0, *, mono_ns: int, wall_ms: int, in_lab: bool = False
    ) -> None:
        """Show ``wall_ms`` (since 1970) when the system's monotonic clock shows ``mono_ns``.

        ``in_lab``: this process is one of a host lab's.
        """
        self.speed, self.mono_ns, self.wall_ms = speed, mono_ns, wall_ms
        self._in_lab = in_lab

    @classmethod
    def begin(cls, speed: float = 1.0) -> Clock:
        """A clock that is right now, or that a lab began.

        Raises:
            LabError: what the lab left in the environment is no epoch.
        """
        given = os.environ.get(EPOCH)
        if given is None:
            return cls(speed, mono_ns=time.monotonic_ns(), wall_ms=time.time_ns() // 1_000_000)
        try:
            mono, wall = map(int, given.split(":"))
        except ValueError:
            raise LabError(f"{EPOCH} is for the host lab; it is no epoch: {given!r}") from None
        return cls(speed, mono_ns=mono, wall_ms=wall, in_lab=True)

    def now_ms(self) -> int:
        """Since 1970."""
        passed_ns = time.monotonic_ns() - self.mono_ns
        return self.wall_ms + int(passed_ns * self.speed) // 1_000_000

    def now_s(self) -> float:
        """Since 1970, in seconds."""
        return self.now_ms() / 1_000

    def environment(self) -> Mapping[str, str]:
        """What another process needs to have the same clock."""
        return {EPOCH: f"{self.mono_ns}:{self.wall_ms}"}

    def loop(self) -> asyncio.AbstractEventLoop:
        """An event loop whose seconds are this clock's."""
        return FastLoop(self.speed, own_lookups=self._in_lab and self.speed > 1)


class _Selector(selectors.DefaultSelector):
    """Waits for shorter than it is told to."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for files, ``timeout`` seconds of the fast clock."""
        return super().select(None if timeout is None else timeout / self._speed)


class FastLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a clock that runs faster."""

    def __init__(self, speed: float, *, own_lookups: bool = False) -> None:
        """``speed`` 1 is the ordinary loop.

        ``own_lookups``: names are looked up by this loop's clock, not by the C library.
        """
        self._speed, self._own_lookups = speed, own_lookups
        super().__init__(_Selector(speed))

    def time(self) -> float:
        """The loop's clock, seconds."""
        return super().time() * self._speed

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        **how: int,
    ) -> list[Any]:
        """Look a name up; an address is one already."""
        if self._own_lookups and isinstance(host, str) and isinstance(port, int):
            from . import resolving

            server = resolving.server_for(host)
            if server is not None:
                kind = how.get("type", 0)
                return await resolving.look_up(host, port, server=server, kind=kind)
        return await super().getaddrinfo(host, port, **how)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect; TCP's tries are made by this loop's clock."""
        via = super().sock_connect
        if self._speed < connecting.SPEED_MIN or not connecting.can_try(sock):
            await via(sock, address)
        else:
            await connecting.connect(sock, address, via, speed=self._speed)
