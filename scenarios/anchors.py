"""Anchors: the names that steps give to moments.

A step's ``id`` names its moment; without one its verb does.  A verb that several steps share at
different times names none of them: using it is a mistake, with the remedy.  ``start`` and ``end``
are always there.
"""

from __future__ import annotations

from .durations import DurationError, human, names_in


class Anchors:
    """The moments that have names so far."""

    __slots__ = ("_by_id", "_by_verb", "at_ms")

    def __init__(self) -> None:
        self.at_ms: dict[str, int] = {"start": 0}
        """Name → moment; for a shared verb its first moment."""
        self._by_id: set[str] = set()
        self._by_verb: dict[str, dict[int, int]] = {}
        """Verb → moment → line of the first step there."""

    def add_id(self, name: str, at_ms: int) -> bool:
        """Name a moment; ``False`` if the name was taken by another id."""
        if name in self._by_id:
            return False
        self._by_id.add(name)
        self.at_ms[name] = at_ms
        return True

    def add_verb(self, verb: str, at_ms: int, line: int) -> None:
        """Let a verb name a moment, as far as no id has that name."""
        moments = self._by_verb.setdefault(verb, {})
        moments.setdefault(at_ms, line)
        if verb not in self._by_id:
            self.at_ms.setdefault(verb, at_ms)

    def refuse_ambiguous(self, text: str) -> None:
        """Raise ``DurationError`` if an expression names a verb that has several moments."""
        for name in names_in(text):
            moments = self._by_verb.get(name, {})
            if name not in self._by_id and len(moments) > 1:
                places = [f"line {line} at {human(at)}" for at, line in sorted(moments.items())]
                shown = ", ".join(places[:4]) + (", …" if len(places) > 4 else "")
                raise DurationError(
                    f"'{name}' names several moments: {shown}",
                    f"give the step you mean an id: {{at: …, do: {name}, id: my_name}}",
                )
