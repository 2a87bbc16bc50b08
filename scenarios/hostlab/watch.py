"""Watches how busy the machine is while a lab runs on it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..busy import Busy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .lab import HostWorld

EACH_S = 0.05
"""Between two looks at the clock."""
PRESSURE = Path("/proc/pressure/cpu")


class Lateness:
    """How late a timer of this process was at most."""

    def __init__(self, now_ms: Callable[[], int], clock: Callable[[], float] = time.monotonic):
        self._now_ms, self._clock = now_ms, clock
        self.worst_s = 0.0
        self.at_ms = 0
        """When that was, by ``now_ms``."""

    async def watch(self) -> None:
        """Until somebody cancels it."""
        before_s = self._clock()
        while True:
            await asyncio.sleep(EACH_S)
            after_s = self._clock()
            late_s = after_s - before_s - EACH_S
            if late_s > self.worst_s:
                self.worst_s, self.at_ms = late_s, max(0, self._now_ms())
            before_s = after_s


def waited_s(text: str) -> float | None:
    """What ``/proc/pressure/cpu`` says: for how long something has waited, since the boot."""
    for line in text.splitlines():
        if line.startswith("some "):
            return int(line.rpartition("total=")[2]) / 1e6
    return None


def _waited_s() -> float | None:
    try:
        return waited_s(PRESSURE.read_text())
    except (OSError, ValueError):  # a kernel that does not count it, or may not tell
        return None


@asynccontextmanager
async def watching(world: HostWorld) -> AsyncIterator[None]:
    """Inside, the machine is watched; what was seen is part of the history in the end."""
    late = Lateness(world.now_ms)
    began_s, before_s = time.monotonic(), _waited_s()
    task = asyncio.create_task(late.watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    after_s, waited = _waited_s(), None
    if before_s is not None and after_s is not None:
        waited = min(1.0, (after_s - before_s) / max(time.monotonic() - began_s, EACH_S))
    world.history.busy = Busy(round(late.worst_s * 1_000), late.at_ms, world.clock.speed, waited)
