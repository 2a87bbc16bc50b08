"""Lines of services and of the supervisor on their way to the cloud (``SUPERVISOR.md`` §2, §11).

One request that does not end carries them, as lines of JSON.  When to open it, what to keep while
it is down and when to let it go is here; the connection and its compression are the driver's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from .backoff import backoff_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

COOL_DOWN_MIN_MS = 5_000
COOL_DOWN_MAX_MS = 300_000
"""Between two openings; doubles with every one that failed."""
GRACE_MS = 5_000
"""The cloud answers only to refuse: so long it may, before the first line is risked."""
FLUSH_MS = 100
IDLE_MS = 60_000
"""After so long without a line the request is ended."""
MESSAGE_MAX = 10_000
"""Characters of a line; what is longer is cut."""
CUT = "[...]"
PENDING_MAX = 256 * 1024
"""Bytes that wait; lines beyond are counted and left out."""

State = Literal["down", "cooling", "grace", "up"]
Command = Literal["open", "close"] | bytes
"""What the driver has to do: open the request, end it, or send these bytes in it."""


class LogStream:
    """One device's lines; ``now_ms`` is wall time, as it is in the lines."""

    __slots__ = (
        "_at_ms",
        "_failures",
        "_idle_ms",
        "_opened_ms",
        "_out",
        "_size",
        "dropped",
        "state",
    )

    def __init__(self) -> None:
        self.state: State = "down"
        self.dropped = 0
        """Lines left out since the last warning."""
        self._at_ms: int | None = None
        """When the state has something to do by itself."""
        self._idle_ms = 0
        self._opened_ms: int | None = None
        self._failures = 0
        self._out: list[bytes] = []
        self._size = 0

    # --- what happens ----------------------------------------------------------------------------

    def write(self, message: str, *, now_ms: int, **more: Any) -> None:
        """A line; ``more`` is ``serviceId``, ``isSystem`` or ``isStdErr``."""
        if len(message) > MESSAGE_MAX:
            message = message[: MESSAGE_MAX - len(CUT)] + CUT
        self._idle_ms = now_ms + IDLE_MS
        if self.state == "down":
            self._cool_down(now_ms)
        line = _line({"message": message, "timestamp": now_ms, **more})
        if self._size + len(line) > PENDING_MAX:
            self.dropped += 1
            return
        self._put(line)
        if self.state == "up" and self._at_ms is None:
            self._at_ms = now_ms + FLUSH_MS

    def _put(self, line: bytes) -> None:
        self._out.append(line)
        self._size += len(line)

    def _cool_down(self, now_ms: int) -> None:
        wait_ms = 0
        if self._opened_ms is not None:
            whole_ms = backoff_ms(
                self._failures, first_ms=COOL_DOWN_MIN_MS, cap_ms=COOL_DOWN_MAX_MS
            )
            wait_ms = max(0, whole_ms - (now_ms - self._opened_ms))
        self.state, self._at_ms = "cooling", now_ms + wait_ms

    def ended(self) -> None:
        """The cloud answered, or the connection is gone: both are failures."""
        if self.state not in ("grace", "up"):
            return
        self._failures += 1
        # what waits goes with the next line: only that opens a request
        self.state, self._at_ms = "down", None

    def due(self, *, now_ms: int) -> list[Command]:
        """What is to be done now, in order."""
        found: list[Command] = []
        if self.state in ("grace", "up") and now_ms >= self._idle_ms and not self._out:
            self.state, self._at_ms = "down", None
            return ["close"]
        if self._at_ms is None or self._at_ms > now_ms:
            return found
        self._at_ms = None
        if self.state == "cooling":
            self.state, self._opened_ms, self._at_ms = "grace", now_ms, now_ms + GRACE_MS
            found.append("open")
        elif self.state == "grace":
            self.state, self._failures = "up", 0
        if self.state == "up" and self._out:
            found.append(self._taken(now_ms))
        return found

    def _taken(self, now_ms: int) -> bytes:
        if self.dropped:
            text = f"Warning: Suppressed {self.dropped} message(s) due to high load"
            more = {"isSystem": True, "isStdErr": True}
            self._put(_line({"message": text, "timestamp": now_ms, **more}))
            self.dropped = 0
        whole = b"".join(self._out)
        self._out, self._size = [], 0
        return whole

    def next_deadline_ms(self) -> int | None:
        """When ``due`` is wanted; ``None`` while nothing is to be sent or kept open."""
        if self.state == "down":
            return None
        times = [] if self._at_ms is None else [self._at_ms]
        if self.state != "cooling" and not self._out:
            times.append(self._idle_ms)
        return min(times, default=None)


def _line(value: Mapping[str, Any]) -> bytes:
    return (
        json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
        + b"\n"
    )
