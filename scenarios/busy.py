"""How busy the machine was that a lab of real programs ran on.

What such a machine does late is not the scenario's doing, and at speed N it is N times as late.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .durations import human


class Busy(NamedTuple):
    """What a run saw of it."""

    late_ms: int
    """How late the lab was at most for something it had set a timer for, in real ms."""
    at_ms: int
    """When, since the scenario began."""
    speed: float
    """How fast the lab's time ran."""
    waited: float | None
    """Share of the time in which something waited for a processor; ``None``: no such count here."""

    @property
    def words(self) -> str:
        """For people."""
        late = f"at most {self.late_ms / 1_000:.1f}s late, at {human(self.at_ms)}"
        if self.speed != 1:
            late += f" ({human(round(self.late_ms * self.speed / 100) * 100)} of its time)"
        if self.waited is None:
            return late
        return f"{late}; for {self.waited:.0%} of the time something waited for a processor"

    def document(self) -> dict[str, Any]:
        """For programs; seconds."""
        found: dict[str, Any] = {"late": self.late_ms / 1_000, "at": self.at_ms / 1_000}
        return found if self.waited is None else {**found, "waited": round(self.waited, 3)}
