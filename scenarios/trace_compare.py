"""Comparing what the core did with what a trace shows, read fairly (``STATUS.md §9``).

The sampling reader can miss a value that lasted under 0.3 s, and what happened in the last 1.4 s of
the trace; everything else must be there, in the same order, and at the same time within the trace's
tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .traces import DATES

if TYPE_CHECKING:
    from collections.abc import Sequence

FLASH_MS = 300
"""A value that lasted less may have been missed."""
TAIL_MS = 1_400
"""What happened this shortly before the end may have been missed."""


class Point(NamedTuple):
    """A field took a value."""

    at_ms: int
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where the core and a trace part."""

    kind: Literal["value", "time", "answer"]
    """``answer``: of a step; the others are of a field."""
    at_s: float
    field: str
    """A field's name, or a step's with the part of its answer."""
    recorded: Any
    given: Any

    def __str__(self) -> str:
        """One line."""
        given = f"recorded {self.recorded!r}, given {self.given!r}"
        late = " at another time" if self.kind == "time" else ""
        return f"{self.at_s:.3f} s: {self.field}{late}: {given}"


def same(field: str, recorded: Any, given: Any, tolerance_ms: int) -> bool:
    """Equal values; dates agree within the tolerance."""
    if field in DATES and recorded is not None and given is not None:
        return abs(int(recorded) - int(given)) <= tolerance_ms
    return type(recorded) is type(given) and bool(recorded == given)


def compare_field(
    field: str,
    recorded: Sequence[Point],
    given: Sequence[Point],
    *,
    sure_until_ms: int,
    tolerance_ms: int,
) -> Difference | None:
    """The first difference of one field's course; the first point of each is its first value.

    What happened after ``sure_until_ms`` the reader may not have seen.
    """
    if not same(field, recorded[0].value, given[0].value, tolerance_ms):
        return Difference(
            kind="value",
            at_s=recorded[0].at_ms / 1e3,
            field=field,
            recorded=_shown(field, recorded[0].value),
            given=_shown(field, given[0].value),
        )
    return _Alignment(field, recorded, given, sure_until_ms, tolerance_ms).difference()


def _shown(field: str, value: Any) -> Any:
    return value / 1e3 if field in DATES and value is not None else value


class _Alignment:
    """Walks both courses side by side, trying every way the reader may have missed something."""

    def __init__(
        self,
        field: str,
        recorded: Sequence[Point],
        given: Sequence[Point],
        sure_until_ms: int,
        tolerance_ms: int,
    ) -> None:
        self._field = field
        self._recorded = recorded
        self._given = given
        self._sure_until_ms = sure_until_ms
        self._tolerance_ms = tolerance_ms
        self._furthest = (1, 1)

    def difference(self) -> Difference | None:
        """``None`` if there is a way through both."""
        todo = [(1, 1)]
        seen = {(1, 1)}
        while todo:
            place = todo.pop()
            recorded, given = place
            if recorded == len(self._recorded) and self._tail_from(given):
                return None
            if (recorded, given) > self._furthest:
                self._furthest = place
            for following in self._steps(recorded, given):
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        return self._describe()

    def _tail_from(self, given: int) -> bool:
        """What remains happened too late to be sure that the reader saw it."""
        return all(point.at_ms > self._sure_until_ms for point in self._given[given:])

    def _steps(self, recorded: int, given: int) -> list[tuple[int, int]]:
        steps = []
        if given < len(self._given):
            if self._missed(recorded, given):
                steps.append((recorded, given + 1))
            if recorded < len(self._recorded) and self._match(recorded, given):
                steps.append((recorded + 1, given + 1))
        return steps

    def _match(self, recorded: int, given: int) -> bool:
        seen, made = self._recorded[recorded], self._given[given]
        return (
            same(self._field, seen.value, made.value, self._tolerance_ms)
            and abs(seen.at_ms - made.at_ms) <= self._tolerance_ms
        )

    def _missed(self, recorded: int, given: int) -> bool:
        """The reader need not have seen this change: a flash, or the return from one."""
        made = self._given[given]
        shown = self._recorded[recorded - 1].value
        if self._given[given - 1].value != shown and made.value == shown:
            return True
        if self._field in DATES and same(self._field, shown, made.value, FLASH_MS):
            return True
        following = self._given[given + 1 :]
        return bool(following) and following[0].at_ms - made.at_ms < FLASH_MS

    def _describe(self) -> Difference:
        recorded, given = self._furthest
        seen = self._recorded[recorded] if recorded < len(self._recorded) else None
        made = self._given[given] if given < len(self._given) else None
        kind: Literal["value", "time"] = "value"
        if seen and made and same(self._field, seen.value, made.value, self._tolerance_ms):
            kind = "time"
        moments = [point.at_ms for point in (seen, made) if point is not None]
        shown = [self._text(seen), self._text(made)]
        return Difference(
            kind=kind,
            at_s=min(moments, default=self._sure_until_ms) / 1e3,
            field=self._field,
            recorded=shown[0],
            given=shown[1],
        )

    def _text(self, point: Point | None) -> str:
        if point is None:
            return "no further change"
        return f"{_shown(self._field, point.value)} at {point.at_ms / 1e3:.3f} s"
