"""What happened in a run: field changes, marks of the timeline, and notes of the machines."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Change(NamedTuple):
    """A field of a device changed in the cloud's view."""

    at_ms: int
    device: str
    field: str
    old: Any
    new: Any
    cause: str


class Changes:
    """All changes of a run, kept by column: a tuple each would weigh more than a device."""

    __slots__ = ("_at_ms", "_causes", "_devices", "_fields", "_names", "_new", "_numbers", "_old")

    def __init__(self) -> None:
        self._at_ms = array("q")
        self._devices, self._fields, self._causes = array("I"), array("I"), array("I")
        self._names: list[str] = []
        """Devices, fields and causes by number."""
        self._numbers: dict[str, int] = {}
        self._old: list[Any] = []
        self._new: list[Any] = []

    def add(self, at_ms: int, device: str, field: str, old: Any, new: Any, cause: str) -> None:
        """Record a change; ``at_ms`` never goes backwards."""
        self._at_ms.append(at_ms)
        self._devices.append(self._number(device))
        self._fields.append(self._number(field))
        self._old.append(old)
        self._new.append(new)
        self._causes.append(self._number(cause))

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def append(self, change: Change) -> None:
        """Record a change given as one value."""
        self.add(*change)

    def extend(self, changes: Iterable[Change]) -> None:
        """Record several."""
        for change in changes:
            self.append(change)

    def __len__(self) -> int:
        return len(self._at_ms)

    def __iter__(self) -> Iterator[Change]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Change:
        names = self._names
        return Change(
            self._at_ms[index],
            names[self._devices[index]],
            names[self._fields[index]],
            self._old[index],
            self._new[index],
            names[self._causes[index]],
        )


class Mark(NamedTuple):
    """A step of the timeline was carried out."""

    at_ms: int
    id: str
    text: str
    devices: tuple[str, ...]


class Note(NamedTuple):
    """A machine said something worth a line (``poll failed: timeout, next in 15 s``)."""

    at_ms: int
    device: str
    text: str


class Unmet(NamedTuple):
    """What a step itself expected (``action … expect``) did not come."""

    at_ms: int
    device: str
    text: str
    line: int


class History:
    """A recorded run, in the order it happened; times never go backwards."""

    __slots__ = ("changes", "end_ms", "heartbeats", "initial", "marks", "notes", "unmet")

    def __init__(self, devices: Mapping[str, Mapping[str, Any]]) -> None:
        self.initial: dict[str, Mapping[str, Any]] = dict(devices)
        """device name → every field at time 0."""
        self.changes = Changes()
        self.marks: list[Mark] = []
        self.notes: list[Note] = []
        self.unmet: list[Unmet] = []
        self.heartbeats = 0
        self.end_ms = 0
