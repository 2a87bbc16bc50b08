"""What happened in a run: field changes, marks of the timeline, and notes of the machines."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from .busy import Busy


class Change(NamedTuple):
    """A field of a device changed in the cloud's view."""

    at_ms: int
    device: str
    field: str
    old: Any
    new: Any
    cause: str


class Changes:
    """All changes of a run, kept by column: a tuple each would weigh more than a device.

    The old value of a change is the new one of the change before, so it is not kept.
    """

    __slots__ = (
        "_at_ms",
        "_causes",
        "_devices",
        "_fields",
        "_initial",
        "_names",
        "_new",
        "_numbers",
    )

    def __init__(self, initial: Mapping[str, Mapping[str, Any]]) -> None:
        self._initial = initial
        self._at_ms = array("q")
        self._devices, self._fields, self._causes = array("I"), array("I"), array("I")
        self._new: list[Any] = []
        self._names: list[str] = []
        """Devices, fields and causes by number."""
        self._numbers: dict[str, int] = {}

    def add(self, at_ms: int, device: str, field: str, new: Any, cause: str) -> None:
        """Record a change; ``at_ms`` never goes backwards."""
        self._at_ms.append(at_ms)
        self._devices.append(self._number(device))
        self._fields.append(self._number(field))
        self._new.append(new)
        self._causes.append(self._number(cause))

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def __len__(self) -> int:
        return len(self._at_ms)

    def __iter__(self) -> Iterator[Change]:
        names, last = self._names, dict[tuple[int, int], Any]()
        columns = zip(
            self._at_ms, self._devices, self._fields, self._new, self._causes, strict=True
        )
        for at_ms, device, field, new, cause in columns:
            place = (device, field)
            if place in last:
                old = last[place]
            else:
                old = self._initial.get(names[device], {}).get(names[field])
            last[place] = new
            yield Change(at_ms, names[device], names[field], old, new, names[cause])


class Mark(NamedTuple):
    """A step of the timeline was carried out."""

    at_ms: int
    id: str
    text: str
    devices: tuple[str, ...]


class Note(NamedTuple):
    """Something worth a line: a machine said it (``poll failed: timeout, next in 15 s``), or the
    lab saw it (``the site firewall met 37 packets of vpn``).
    """

    at_ms: int
    device: str
    text: str
    of_lab: bool = False


class Unmet(NamedTuple):
    """What a step itself expected (``action … expect``) did not come."""

    at_ms: int
    device: str
    text: str
    line: int


class Traffic:
    """What reached the API and what came back, by moment and device; kept by column."""

    __slots__ = ("_columns",)

    def __init__(self) -> None:
        self._columns: dict[str, tuple[array[int], list[str], array[int]]] = {}
        """What is counted → moments, devices, amounts."""

    def add(self, what: str, at_ms: int, device: str, amount: int = 1) -> None:
        """Count something: ``heartbeats``, ``requests``, ``bytes_sent`` or ``bytes_received``."""
        if what not in self._columns:
            self._columns[what] = (array("q"), [], array("q"))
        moments, devices, amounts = self._columns[what]
        moments.append(at_ms)
        devices.append(device)
        amounts.append(amount)

    def count(
        self, measure: str, devices: Collection[str], from_ms: int, until_ms: int
    ) -> tuple[int, int | None]:
        """The number of a measure in a closed window, over some devices; a peak's moment too."""
        what = measure.removeprefix("peak_").removesuffix("_per_second")
        chosen = devices if isinstance(devices, frozenset) else frozenset(devices)
        empty: tuple[array[int], list[str], array[int]] = (array("q"), [], array("q"))
        rows = [
            (at_ms, amount)
            for at_ms, device, amount in zip(*self._columns.get(what, empty), strict=True)
            if from_ms <= at_ms <= until_ms and device in chosen
        ]
        if what == measure:
            return sum(amount for _, amount in rows), None
        return _most_within(sorted(rows), 1_000)


def _most_within(rows: Sequence[tuple[int, int]], span_ms: int) -> tuple[int, int | None]:
    """The largest sum of amounts whose moments lie less than a span apart, and the first of them.

    Of several that are as large, the earliest.
    """
    most = inside = first = 0
    began_ms: int | None = None
    for at_ms, amount in rows:
        inside += amount
        while rows[first][0] <= at_ms - span_ms:
            inside -= rows[first][1]
            first += 1
        if inside > most:
            most, began_ms = inside, rows[first][0]
    return most, began_ms


class History:
    """A recorded run, in the order it happened; times never go backwards."""

    __slots__ = (
        *("busy", "changes", "end_ms", "heartbeats", "initial", "marks", "notes", "traffic"),
        "unmet",
    )

    def __init__(self, devices: Mapping[str, Mapping[str, Any]]) -> None:
        self.initial: dict[str, Mapping[str, Any]] = dict(devices)
        """device name → every field at time 0."""
        self.changes = Changes(self.initial)
        self.marks: list[Mark] = []
        self.notes: list[Note] = []
        self.unmet: list[Unmet] = []
        self.traffic: Traffic | None = None
        """``None`` where nobody counted."""
        self.heartbeats = 0
        self.end_ms = 0
        self.busy: Busy | None = None
        """The machine; ``None`` where no real programs ran."""

    def forget(self) -> None:
        """Let go of everything recorded so far."""
        self.changes = Changes(self.initial)
        self.marks, self.notes, self.unmet = [], [], []
