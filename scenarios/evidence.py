"""Why an expectation did not hold: the events around the deciding moment, and lanes over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .mistakes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .checks import Finding
    from .history import Change, History
    from .model import Expectation
    from .series import Index

NOTES_IN_CHAIN = 2
"""Of the machines, between a step and what came of it."""
BEFORE, AFTER = 6, 4
"""Events told before and after the deciding moment."""
DATES = frozenset(
    {
        *("changed_api_heartbeat_state_on__date", "last_connectivity_event", "last_vpn_event"),
        "last_update_status_event",
    }
)
"""Fields that only say when another changed."""
_SHADOWS = frozenset({*DATES, "is_online", "status_display", "is_managed_by__service_instance"})
"""Fields that add nothing beside another that changed with them."""


class Event(NamedTuple):
    """Something that happened to a device."""

    at_ms: int
    kind: str
    """``step``, ``change`` or ``note``."""
    text: str


class Stretch(NamedTuple):
    """A value of a field and how long it lasted."""

    from_ms: int
    until_ms: int
    value: object


def events_of(history: History, device: str) -> list[Event]:
    """What happened to a device, in the order of time: steps first, then changes, then notes."""
    found = [
        Event(mark.at_ms, "step", f"{mark.text or mark.id}")
        for mark in history.marks
        if device in mark.devices or not mark.devices
    ]
    found.extend(_changes(change for change in history.changes if change.device == device))
    found.extend(
        Event(note.at_ms, "note", note.text) for note in history.notes if note.device == device
    )
    return sorted(found, key=lambda event: event.at_ms)


def _changes(changes: Iterator[Change]) -> Iterator[Event]:
    """One event for the changes of one instant and cause."""
    at_ms, cause, parts = -1, "", list[str]()
    for change in changes:
        if change.field in _SHADOWS:
            continue
        if parts and (change.at_ms, change.cause) != (at_ms, cause):
            yield Event(at_ms, "change", f"{', '.join(parts)}  ({cause})")
            parts = []
        at_ms, cause = change.at_ms, change.cause
        parts.append(f"{change.field} {shown(change.old)} → {shown(change.new)}")
    if parts:
        yield Event(at_ms, "change", f"{', '.join(parts)}  ({cause})")


def around(events: Sequence[Event], at_ms: int) -> list[Event]:
    """The events next to a moment."""
    before = [event for event in events if event.at_ms <= at_ms][-BEFORE:]
    return before + [event for event in events if event.at_ms > at_ms][:AFTER]


def chain(history: History, device: str, fields: Sequence[str], at_ms: int) -> list[Event]:
    """What led to the values of some fields at a moment, in the order of time.

    The last change of each field, the last step that concerned the device before the newest of
    them, and what the machines said in between; empty where nothing ever changed.
    """
    last: dict[str, Change] = {}
    for change in history.changes:
        if change.at_ms > at_ms:
            break
        if change.device == device and change.field in fields:
            last[change.field] = change
    if not last:
        return []
    newest_ms = max(change.at_ms for change in last.values())
    changes = [
        Event(c.at_ms, "change", f"{name} became {shown(c.new)}  ({c.cause})")
        for name, c in last.items()
    ]
    steps = [
        Event(mark.at_ms, "step", mark.text or mark.id)
        for mark in history.marks
        if mark.at_ms <= newest_ms and (device in mark.devices or not mark.devices)
    ][-1:]
    since_ms = steps[0].at_ms if steps else 0
    notes = [
        Event(note.at_ms, "note", note.text)
        for note in history.notes
        if note.device == device and since_ms <= note.at_ms <= newest_ms
    ][-NOTES_IN_CHAIN:]
    return sorted([*steps, *notes, *changes], key=lambda event: event.at_ms)


def deciding_ms(expectation: Expectation, finding: Finding, end_ms: int) -> int:
    """The moment to look at."""
    if finding.at_ms is not None:
        return finding.at_ms
    return end_ms if expectation.until_ms is None else min(expectation.until_ms, end_ms)


def lane(index: Index, device: str, name: str) -> list[Stretch]:
    """A field over the whole run."""
    series = index.of(device, name)
    ends = [*series.times[1:], index.end_ms]
    return [
        Stretch(since, until, value)
        for since, until, value in zip(series.times, ends, series.values, strict=True)
    ]
