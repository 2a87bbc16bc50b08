"""An event loop whose clock stands still while anything real is under way, and jumps otherwise.

A program with sockets and child processes runs on it through hours of its own time in seconds of
ours, and nothing in it depends on how long the machine takes: the clock moves only when no answer,
no process and no byte is waited for (``busy``), and then at once to the next timer.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SETTLE_S = 0.002
"""Real time without a byte before the clock jumps: what was written to loopback has arrived."""
STUCK_S = 180.0
"""Real time after which something that is waited for will not come any more."""


class _Selector(selectors.DefaultSelector):
    """Waits for what is real in real time, and for nothing else at all."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.busy: Callable[[], str] = str

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What has arrived; where nothing is on its way, let ``timeout`` seconds be over."""
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        began_s = time.monotonic()
        while not found and (what := self.busy()):
            assert time.monotonic() - began_s < STUCK_S, f"this does not come: {what}"
            found = super().select(0.01)
        found = found or super().select(SETTLE_S if timeout is not None else STUCK_S)
        if not found:
            assert timeout is not None, "nothing will ever happen again"
            self.now_s += timeout
        return found


class StillLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with that clock."""

    def __init__(self) -> None:
        self._still = _Selector()
        super().__init__(self._still)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._still.now_s

    def hold_while(self, busy: Callable[[], str]) -> None:
        """The clock stands while ``busy`` names something."""
        self._still.busy = busy


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on such a loop."""
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        return runner.run(work)
