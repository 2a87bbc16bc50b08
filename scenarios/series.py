"""The fields of a run as piecewise constant functions of time.

A value at ``t`` is what stands after every change at or before ``t``; a value that was replaced in
the instant it appeared is not seen.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .history import History


class Series(NamedTuple):
    """One field of one device; ``times`` begin at 0 and rise, neighbouring ``values`` differ."""

    times: list[int]
    values: list[Any]

    def at(self, at_ms: int) -> Any:
        """The value at a moment."""
        return self.values[bisect_right(self.times, at_ms) - 1]

    def put(self, at_ms: int, value: Any) -> None:
        """Append a change; times never go backwards."""
        if at_ms <= self.times[-1]:
            self.values[-1] = value
            if len(self.values) > 1 and self.values[-2] == value:
                self.times.pop()
                self.values.pop()
        elif value != self.values[-1]:
            self.times.append(at_ms)
            self.values.append(value)

    def between(self, from_ms: int, until_ms: int) -> Iterator[tuple[int, Any]]:
        """``(since, value)`` in a closed window; the first counts from ``from_ms``."""
        first = bisect_right(self.times, from_ms) - 1
        last = bisect_right(self.times, until_ms)
        for index in range(max(first, 0), last):
            yield max(self.times[index], from_ms), self.values[index]


class Index:
    """The series of the fields that somebody asks about."""

    __slots__ = ("_series", "end_ms", "names")

    def __init__(self, history: History, fields: Iterable[str]) -> None:
        wanted = tuple(dict.fromkeys(fields))
        self.end_ms = history.end_ms
        self.names = tuple(history.initial)
        self._series: dict[str, dict[str, Series]] = {
            device: {name: Series([0], [initial.get(name)]) for name in wanted}
            for device, initial in history.initial.items()
        }
        for change in history.changes:
            series = self._series[change.device].get(change.field)
            if series is not None:
                series.put(change.at_ms, change.new)

    def of(self, device: str, name: str) -> Series:
        """The series of a device's field."""
        return self._series[device][name]

    def truth(
        self,
        device: str,
        condition: Mapping[str, Sequence[Any]],
        from_ms: int,
        until_ms: int,
    ) -> Iterator[tuple[int, bool]]:
        """``(since, holds)`` of a whole condition in a closed window, in the order of time."""
        rows = self._series[device]
        if len(condition) == 1:
            ((name, accepted),) = condition.items()
            for at_ms, value in rows[name].between(from_ms, until_ms):
                yield at_ms, value in accepted
            return
        pairs = [(rows[name], accepted) for name, accepted in condition.items()]
        moments = {from_ms}
        for series, _ in pairs:
            first = bisect_right(series.times, from_ms)
            moments.update(series.times[first : bisect_right(series.times, until_ms)])
        for at_ms in sorted(moments):
            yield at_ms, all(series.at(at_ms) in accepted for series, accepted in pairs)
