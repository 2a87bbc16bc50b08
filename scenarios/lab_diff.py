"""Model against reality: two histories of one scenario, field by field and device by device.

Two runs of a real fleet differ in when things happen: polls have jitter, programs take time to
start.  They must not differ in what happens.  So the values of each field are held to be the same
in the same order, and the times apart are told, and judged against a tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .durations import human
from .mistakes import shown
from .series import Index

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .busy import Busy
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
MADE_OF_OTHERS = "overall_status"
"""It follows from the other fields, which are compared by themselves."""
_EMPTY = (None, False)
"""Before a device was ever heard of, a stored row and a model may say either."""


class Stood(NamedTuple):
    """A value of a field, for a while."""

    since_ms: int
    for_ms: int
    value: Any


class Difference(NamedTuple):
    """One field of one device, in both labs."""

    device: str
    field: str
    model: tuple[Stood, ...]
    reality: tuple[Stood, ...]
    apart_ms: int | None
    """The largest difference in time of what came in both; ``None``: not the same came."""

    @property
    def same_values(self) -> bool:
        """The same values came in the same order."""
        return self.apart_ms is not None

    def lines(self) -> Iterator[str]:
        """For people."""
        for name, values in (("model", self.model), ("reality", self.reality)):
            steps = " → ".join(f"{shown(it.value)} at {human(it.since_ms)}" for it in values)
            yield f"    {name:8}{steps}"


Verdict = Literal["same", "DIFFERS", "left out", "FAILED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A scenario in both labs."""

    scenario: str
    file: str
    verdict: Verdict
    words: str = ""
    """Why it was left out, or failed."""
    fields: int = 0
    """Of all devices."""
    apart_ms: int = 0
    """The largest difference in time, where the same came."""
    differences: tuple[Difference, ...] = ()
    """Not the same came, or too far apart."""
    busy: Busy | None = None
    """The machine of the host lab."""

    @classmethod
    def of(
        cls,
        name: str,
        file: str,
        found: Sequence[Difference],
        limit_ms: int,
        busy: Busy | None = None,
    ) -> Comparison:
        """The verdict over all fields; ``limit_ms``: how far apart a change may come."""
        apart_ms = [d.apart_ms for d in found if d.apart_ms is not None]
        wrong = [d for d in found if d.apart_ms is None or d.apart_ms > limit_ms]
        return cls(
            scenario=name,
            file=file,
            verdict="DIFFERS" if wrong else "same",
            fields=len(found),
            apart_ms=max(apart_ms, default=0),
            differences=tuple(sorted(wrong, key=lambda d: d.same_values)),
            busy=busy,
        )

    def lines(self) -> Iterator[str]:
        """For people."""
        head = f"{self.verdict:8}  {self.scenario}: "
        if self.words:
            yield head + self.words
            return
        same = self.fields - sum(not d.same_values for d in self.differences)
        yield (
            f"{head}{same} of {self.fields} fields have the same values,"
            f" at most {human(self.apart_ms)} apart"
        )
        for difference in self.differences:
            yield f"  {difference.device} {difference.field}"
            yield from difference.lines()
        if self.differences and self.busy is not None:
            yield f"  the machine: {self.busy.words}"

    def document(self) -> dict[str, Any]:
        """For programs; times in seconds."""

        def rows(values: tuple[Stood, ...]) -> list[dict[str, Any]]:
            return [{"at": it.since_ms / 1_000, "value": it.value} for it in values]

        return {
            "name": self.scenario,
            "file": self.file,
            "verdict": self.verdict.lower(),
            "words": self.words,
            "fields": self.fields,
            "apart": self.apart_ms / 1_000,
            "machine": None if self.busy is None else self.busy.document(),
            "differences": [
                {
                    "device": d.device,
                    "field": d.field,
                    "apart": None if d.apart_ms is None else d.apart_ms / 1_000,
                    "model": rows(d.model),
                    "reality": rows(d.reality),
                }
                for d in self.differences
            ],
        }


def compare(
    model: History, reality: History, *, shortest_ms: int = 0, phase_ms: int = 0
) -> list[Difference]:
    """Every field of every device.

    Args:
        model: of the virtual lab.
        reality: of another one.
        shortest_ms: a value that stood for less in the one lab need not have been seen in the
            other: a report may come too late.
        phase_ms: the same for ``MADE_OF_OTHERS``: after an outage polls, reports and the tunnel
            each come back when their back-off says.
    """
    one, other = Index(model, FIELDS), Index(reality, FIELDS)
    found = []
    for device in one.names:
        for field in FIELDS:
            mine, theirs = _stood(one, device, field), _stood(other, device, field)
            least_ms = max(shortest_ms, phase_ms) if field == MADE_OF_OTHERS else shortest_ms
            apart_ms = _apart_ms(mine, theirs, least_ms)
            found.append(Difference(device, field, mine, theirs, apart_ms))
    return found


def _stood(index: Index, device: str, field: str) -> tuple[Stood, ...]:
    series = index.of(device, field)
    ends = [*series.times[1:], index.end_ms]
    found: list[Stood] = []
    for begin_ms, end_ms, value in zip(series.times, ends, series.values, strict=True):
        value = None if value in _EMPTY else value  # noqa: PLW2901  # the same to a reader
        if found and found[-1].value == value:
            first = found.pop()
            found.append(Stood(first.since_ms, end_ms - first.since_ms, value))
        else:
            found.append(Stood(begin_ms, end_ms - begin_ms, value))
    return tuple(found)


_NOTHING = object()
_Place = tuple[int, int, Any]
"""How many values of each lab have been looked at, and which value stands in both."""
_Cost = tuple[int, int, int]
"""Values that only one lab showed, the sum of all times apart, the largest of them."""


def _apart_ms(mine: Sequence[Stood], theirs: Sequence[Stood], shortest_ms: int) -> int | None:
    """Hold two series against each other, in the way that leaves the least over.

    A value is left over if it stood for less than ``shortest_ms``; what came after it is then left
    over too where it only repeats what stood before.

    Returns:
        The largest difference in time; ``None`` where they are not the same.
    """
    # each place lies one or two values behind those it is reached from
    behind: list[dict[_Place, _Cost]] = [{} for _ in range(len(mine) + len(theirs) + 2)]
    behind[0] = {(0, 0, _NOTHING): (0, 0, 0)}

    def offer(place: _Place, cost: _Cost) -> None:
        level = behind[place[0] + place[1]]
        level[place] = min(cost, level.get(place, cost))

    for level in behind:
        for (at, to, standing), (left, sum_ms, most_ms) in level.items():
            one = mine[at] if at < len(mine) else None
            other = theirs[to] if to < len(theirs) else None
            if one is not None and other is not None and one.value == other.value:
                apart = abs(one.since_ms - other.since_ms)
                offer((at + 1, to + 1, one.value), (left, sum_ms + apart, max(most_ms, apart)))
            for it, place in ((one, (at + 1, to, standing)), (other, (at, to + 1, standing))):
                if it is not None and it.value == standing:
                    offer(place, (left, sum_ms, most_ms))
                elif it is not None and it.for_ms < shortest_ms:
                    offer(place, (left + 1, sum_ms, most_ms))
    ends = [
        cost
        for (at, to, _), cost in behind[len(mine) + len(theirs)].items()
        if (at, to) == (len(mine), len(theirs))
    ]
    return min(ends)[2] if ends else None
