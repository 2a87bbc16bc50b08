"""Anchors: the names that steps give to moments.

A step's ``id`` names its moment; without one its verb does.  A verb that several steps share at
different times names none of them: using it is a mistake, with the remedy.  ``start`` and ``end``
are always there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .durations import DurationError, human, names_in

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence


class Anchors:
    """The moments that have names so far."""

    __slots__ = ("_by_id", "_by_verb", "_tied", "at_ms", "series")

    def __init__(self) -> None:
        self.at_ms: dict[str, int] = {"start": 0}
        """Name → moment; for a shared verb its first moment."""
        self._by_id: set[str] = set()
        self._by_verb: dict[str, dict[int, int]] = {}
        """Verb → moment → line of the first step there."""
        self.series: dict[str, tuple[int, ...]] = {}
        """Id of a repeated step → its moments."""
        self._tied: list[frozenset[str]] = []
        """Ids that are repeated together."""

    def add_id(self, name: str, at_ms: int) -> bool:
        """Name a moment; ``False`` if the name was taken by another id."""
        if name in self._by_id:
            return False
        self._by_id.add(name)
        self.at_ms[name] = at_ms
        return True

    def add_series(self, name: str, moments: Sequence[int]) -> bool:
        """Name the moments of a repeated step; ``False`` if the name was taken by another id."""
        if name in self._by_id:
            return False
        self._by_id.add(name)
        self.series[name] = tuple(moments)
        for number, at_ms in enumerate(moments, start=1):
            self.at_ms[f"{name}.{number}"] = at_ms
        self.at_ms[f"{name}.last"] = moments[-1]
        return True

    def tie(self, names: Iterable[str]) -> None:
        """Say that steps are repeated together."""
        self._tied.append(frozenset(names))

    def repetitions(self, name: str) -> list[dict[str, int]]:
        """For each repetition of a step, what its id and those repeated with it mean."""
        together = next((names for names in self._tied if name in names), frozenset({name}))
        return [
            {other: self.series[other][number] for other in together if other in self.series}
            for number in range(len(self.series[name]))
        ]

    def add_verb(self, verb: str, at_ms: int, line: int) -> None:
        """Let a verb name a moment, as far as no id has that name."""
        moments = self._by_verb.setdefault(verb, {})
        moments.setdefault(at_ms, line)
        if verb not in self._by_id:
            self.at_ms.setdefault(verb, at_ms)

    def refuse_ambiguous(self, text: str, besides: Container[str] = ()) -> None:
        """Raise ``DurationError`` if an expression names a verb or id that has several moments.

        ``besides``: names that mean one moment here.
        """
        for name in names_in(text):
            if name in besides:
                continue
            if name in self.series:
                hint = f"{name}.1 … {name}.{len(self.series[name])}, {name}.last, or each: {name}"
                raise DurationError(f"'{name}' is repeated and names several moments", hint)
            moments = self._by_verb.get(name, {})
            if name not in self._by_id and len(moments) > 1:
                places = [f"line {line} at {human(at)}" for at, line in sorted(moments.items())]
                shown = ", ".join(places[:4]) + (", …" if len(places) > 4 else "")
                raise DurationError(
                    f"'{name}' names several moments: {shown}",
                    f"give the step you mean an id: {{at: …, do: {name}, id: my_name}}",
                )
