"""The heap of everything that will happen, ordered by time, rank and order of entry."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from typing import Any, Protocol

RANK_STEP = 0
"""The scenario's own steps come first at their instant."""
RANK_CLOUD = 1
"""The cloud's timers come before messages of the same instant, whoever else is in the fleet."""
RANK_DEVICE = 2
"""Messages and device timers."""

Entry = tuple[int, int, Callable[..., None] | None, Any]
"""(time × 4 + rank, sequence, action, arguments); an action of ``None`` is a supervisor's timer."""


class Polls(Protocol):
    """What the agenda needs to know of supervisors' timers."""

    def quick_poll(self, device: Any, now_ms: int) -> int | None:
        """Do a whole steady poll at once; the next deadline, or ``None`` if it must be walked."""

    def supervisor_timer(self, device: Any) -> None:
        """The deadline of a device's supervisor was reached."""


class Agenda:
    """Simulated time: it only moves to the next entry."""

    __slots__ = ("_heap", "_sequence", "now_ms")

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._sequence = 0
        self.now_ms = 0

    def at(self, at_ms: int, rank: int, action: Callable[..., None], *arguments: Any) -> None:
        """Enter ``action(*arguments)`` at a time that is not past."""
        assert at_ms >= self.now_ms, f"{at_ms} ms is past at {self.now_ms} ms"
        self._sequence += 1
        heappush(self._heap, (at_ms * 4 + rank, self._sequence, action, arguments))

    def after(self, delay_ms: int, action: Callable[..., None], *arguments: Any) -> None:
        """Enter a message or device timer ``delay_ms`` from now."""
        self.at(self.now_ms + delay_ms, RANK_DEVICE, action, *arguments)

    def supervisor_at(self, at_ms: int, device: Any) -> None:
        """Enter the deadline of a device's supervisor."""
        self._sequence += 1
        heappush(self._heap, (at_ms * 4 + RANK_DEVICE, self._sequence, None, device))

    def run(self, until_ms: int, polls: Polls) -> None:
        """Carry out every entry up to and including ``until_ms``."""
        heap, last = self._heap, until_ms * 4 + 3
        while heap:
            key, _, action, arguments = heap[0]
            if key > last:
                break
            self.now_ms = now_ms = key >> 2
            if action is None:
                following = polls.quick_poll(arguments, now_ms)
                if following is not None:
                    self._sequence += 1
                    entry = (following * 4 + RANK_DEVICE, self._sequence, None, arguments)
                    heapreplace(heap, entry)
                    continue
                heappop(heap)
                polls.supervisor_timer(arguments)
            else:
                heappop(heap)
                action(*arguments)
        self.now_ms = until_ms
