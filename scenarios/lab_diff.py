"""Model against reality: two histories of one scenario, field by field and device by device.

Two runs of a real fleet differ in when things happen: polls have jitter, programs take time to
start.  They must not differ in what happens.  So the values of each field are held to be the same
in the same order, and the times apart are told, and judged against a tolerance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .durations import human
from .mistakes import shown
from .series import Index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .history import History

FIELDS = (
    "overall_status",
    "api_heartbeat_state",
    "is_connected_to_vpn",
    "update_status",
    "running_release",
)
"""What a dashboard shows.  Not ``connectivity``: which of two recoveries comes first, that of the
heartbeat or that of the tunnel, is a matter of where each back-off stands.  Not progress: which
percent is seen depends on the moment of a report."""
_EMPTY = (None, False)
"""Before a device was ever heard of, a stored row and a model may say either."""


class Difference(NamedTuple):
    """One field of one device, in both labs."""

    device: str
    field: str
    model: list[tuple[int, Any]]
    """Since when (ms), and the value."""
    reality: list[tuple[int, Any]]

    @property
    def same_values(self) -> bool:
        """The same values came in the same order."""
        return [value for _, value in self.model] == [value for _, value in self.reality]

    @property
    def apart_ms(self) -> int:
        """The largest difference in time, where the values are the same."""
        pairs = zip(self.model, self.reality, strict=True)
        return max(abs(mine - theirs) for (mine, _), (theirs, _) in pairs)

    def lines(self) -> Iterator[str]:
        """For people."""
        for name, values in (("model", self.model), ("reality", self.reality)):
            steps = " → ".join(f"{shown(value)} at {human(at_ms)}" for at_ms, value in values)
            yield f"    {name:8}{steps}"


def compare(model: History, reality: History, *, shortest_ms: int = 0) -> list[Difference]:
    """Every field of every device.

    Args:
        model: of the virtual lab.
        reality: of another one.
        shortest_ms: a value that stood for less is left out: a report may come too late to see it.
    """
    one, other = Index(model, FIELDS), Index(reality, FIELDS)
    return [
        Difference(
            device,
            field,
            _folded(one, device, field, shortest_ms),
            _folded(other, device, field, shortest_ms),
        )
        for device in one.names
        for field in FIELDS
    ]


def _folded(index: Index, device: str, field: str, shortest_ms: int) -> list[tuple[int, Any]]:
    series = index.of(device, field)
    ends = [*series.times[1:], index.end_ms]
    found: list[tuple[int, Any]] = []
    for begin_ms, end_ms, value in zip(series.times, ends, series.values, strict=True):
        value = None if value in _EMPTY else value  # noqa: PLW2901  # the same to a reader
        if begin_ms and end_ms - begin_ms < shortest_ms:
            continue
        if not found or found[-1][1] != value:
            found.append((begin_ms, value))
    return found
