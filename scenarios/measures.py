"""Measures: numbers of a run that an expectation compares, ``downtime < 5m``.  Pure.

A measure of a device is judged for each device meant, one of the fleet once.  ``total(…)`` sums a
device's measure over the devices meant.  Traffic is counted where it meets the API: HTTP messages
without TLS and without cloudlink's own packets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from .durations import DurationError, duration_ms, human, suggest
from .quantities import share_of, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .history import Traffic
    from .series import Index

Unit = Literal["count", "bytes", "time", "rate"]
Operator = Literal["<", "<=", ">", ">=", "=="]
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {
        "<": lambda value, bound: value < bound,
        "<=": lambda value, bound: value <= bound,
        ">": lambda value, bound: value > bound,
        ">=": lambda value, bound: value >= bound,
        "==": lambda value, bound: value == bound,
    }
)
_COMPARISON = re.compile(r"\s*([\w]+)\s*(\(.*\))?\s*(<=|>=|==|<|>)\s*(.+?)\s*")
_FORM = "write downtime < 5m or time_in(overall_status, operational) > 95%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A measure the language knows."""

    unit: Unit
    about: str
    of_values: bool = False
    """Its arguments are a field and values of it."""
    of_field: bool = False
    """Its argument is a field."""
    of_fleet: bool = False
    """One number for the devices together."""
    of_traffic: bool = False
    """It needs a lab that counts requests."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "time_in": Kind(
            unit="time",
            of_values=True,
            about="How long a field had one of some values: `time_in(update_status, done)`;"
            " compared with a duration or a share of the window.",
        ),
        "longest": Kind(
            unit="time",
            of_values=True,
            about="The longest stretch a field had one of some values.",
        ),
        "downtime": Kind(unit="time", about="The same as `time_in(overall_status, disconnected)`."),
        "entered": Kind(
            unit="count",
            of_values=True,
            about="How often a field took one of some values within the window.",
        ),
        "changes": Kind(
            unit="count", of_field=True, about="How often a field changed within the window."
        ),
        "heartbeats": Kind(unit="count", of_traffic=True, about="Heartbeats the cloud counted."),
        "requests": Kind(
            unit="count", of_traffic=True, about="Requests that reached the API, answered or not."
        ),
        "bytes_sent": Kind(
            unit="bytes", of_traffic=True, about="HTTP that the device sent and that arrived."
        ),
        "bytes_received": Kind(
            unit="bytes", of_traffic=True, about="HTTP answers and image downloads that arrived."
        ),
        "peak_heartbeats_per_second": Kind(
            unit="rate",
            of_fleet=True,
            of_traffic=True,
            about="The most heartbeats of all the devices within one second.",
        ),
        "peak_requests_per_second": Kind(
            unit="rate",
            of_fleet=True,
            of_traffic=True,
            about="The most requests of all the devices that reached the API within one second.",
        ),
    }
)


class MeasureError(ValueError):
    """A comparison that cannot be read, with the remedy."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A comparison."""

    name: str
    arguments: tuple[str, ...]
    """As written."""
    total: bool
    operator: Operator
    bound: float
    """In milliseconds, bytes or a count; a share where ``shared``."""
    shared: bool = False
    """The bound is a share of the window."""
    field: str | None = None
    """The field it looks at."""
    values: tuple[Any, ...] = ()
    """The values it looks for."""

    @property
    def kind(self) -> Kind:
        """What it is."""
        return KINDS[self.name]

    @property
    def of_fleet(self) -> bool:
        """One number for all devices meant."""
        return self.total or self.kind.of_fleet

    def holds(self, value: float, window_ms: int) -> bool:
        """Whether a value satisfies the comparison."""
        bound = self.bound * window_ms if self.shared else self.bound
        return _OPERATORS[self.operator](value, bound)

    def shown(self, value: float, window_ms: int) -> str:
        """A value in human units."""
        if self.shared:
            return f"{value / window_ms * 100 if window_ms else 0:.4g}%"
        match self.kind.unit:
            case "time":
                return human(round(value))
            case "bytes":
                return _bytes(round(value))
            case _:
                return f"{value:g}"

    def missed_by(self, value: float, window_ms: int) -> str:
        """How far a value is from the bound, in human units."""
        bound = self.bound * window_ms if self.shared else self.bound
        word = "too many" if self.kind.unit in ("count", "rate") else "too much"
        if value < bound:
            word = "too few" if self.kind.unit in ("count", "rate") else "too little"
        return f"{self.shown(abs(value - bound), window_ms)} {word}"


def parse(text: str, names: Mapping[str, int]) -> Measure:
    """A comparison as written; fields and values are for the caller to check.

    Raises:
        MeasureError: with the remedy.
    """
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise MeasureError(f"'{text}' is no comparison", _FORM)
    name, inside, operator, bound = match.groups()
    arguments = (inside or "").strip().removeprefix("(").removesuffix(")")
    total = name == "total"
    if total:
        inner = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", arguments)
        if inner is None:
            raise MeasureError("total needs a measure", "total(requests) < 5000")
        name, arguments = inner[1], inner[2] or ""
    kind = KINDS.get(name)
    if kind is None:
        hint = suggest(name, KINDS) or f"measures: {', '.join(KINDS)}"
        raise MeasureError(f"there is no measure '{name}'", hint)
    if total and kind.of_fleet:
        raise MeasureError(f"{name} is of the fleet already", f"{name} {operator} {bound}")
    words = tuple(word.strip() for word in arguments.split(",")) if arguments.strip() else ()
    _check_arguments(name, kind, words)
    value, shared = _bound(name, kind, bound, names)
    if shared and total:
        raise MeasureError("a share is of one device's window", "compare with a duration")
    return Measure(
        name=name,
        arguments=words,
        total=total,
        operator=operator,  # type: ignore[arg-type]  # the pattern has these alone
        bound=value,
        shared=shared,
        field="overall_status" if name == "downtime" else (words[0] if words else None),
        values=("disconnected",) if name == "downtime" else words[1:],
    )


def _check_arguments(name: str, kind: Kind, words: Sequence[str]) -> None:
    """Whether a measure has the arguments it needs."""
    if kind.of_values and len(words) < 2:
        example = f"{name}(overall_status, disconnected)"
        raise MeasureError(f"{name} needs a field and a value", example)
    if kind.of_field and len(words) != 1:
        raise MeasureError(f"{name} needs a field", f"{name}(overall_status)")
    if not kind.of_values and not kind.of_field and words:
        raise MeasureError(f"{name} has no arguments", name)


def _bound(name: str, kind: Kind, text: str, names: Mapping[str, int]) -> tuple[float, bool]:
    """The bound in base units, and whether it is a share."""
    try:
        if kind.unit == "time":
            if text.endswith("%"):
                return share_of(text), True
            return duration_ms(text, names), False
        if kind.unit == "bytes":
            return size_of(int(text) if text.isdigit() else text), False
    except DurationError as error:
        raise MeasureError(error.message, error.hint) from None
    except ValueError as error:
        raise MeasureError(str(error)) from None
    try:
        return float(text), False
    except ValueError:
        raise MeasureError(f"{name} is compared with a number, not '{text}'") from None


def value_of(
    measure: Measure,
    index: Index,
    traffic: Traffic | None,
    devices: Sequence[str],
    from_ms: int,
    until_ms: int,
) -> tuple[float, int | None] | None:
    """The number in a closed window, over the devices, and the moment of a peak.

    ``None`` where the lab did not count.
    """
    if measure.kind.of_traffic:
        if traffic is None:
            return None
        return traffic.count(measure.name, devices, from_ms, until_ms)
    assert measure.field is not None
    rows = [list(index.of(device, measure.field).between(from_ms, until_ms)) for device in devices]
    return sum(_of_series(measure, found, from_ms, until_ms) for found in rows), None


def _of_series(
    measure: Measure, rows: Sequence[tuple[int, Any]], from_ms: int, until_ms: int
) -> float:
    """A measure of one field: ``rows`` are ``(since, value)`` in the window."""
    if measure.name == "changes":
        return sum(since > from_ms for since, _ in rows)
    ends = [*(since for since, _ in rows[1:]), until_ms]
    stretches: list[list[int]] = []
    for (since, value), end in zip(rows, ends, strict=True):
        if value in measure.values:
            if stretches and stretches[-1][1] == since:
                stretches[-1][1] = end
            else:
                stretches.append([since, end])
    if measure.name == "entered":
        return sum(since > from_ms for since, _ in stretches)
    lengths = [end - since for since, end in stretches]
    return max(lengths, default=0) if measure.name == "longest" else sum(lengths)


def _bytes(count: int) -> str:
    """Bytes for people, in the units a scenario is written in."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} B"
