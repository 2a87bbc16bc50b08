"""What the cloud showed, device by device: its own history, told by who had which uuid when.

Pure: given what the stub recorded.  A device has another uuid after it was written anew; two have
one after a card was copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cloud_stub.observe import FIELDS

from ..history import History

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    View = Mapping[str, Any]
    """Field → value."""


class Seen(NamedTuple):
    """A field of a row changed."""

    at_ms: int
    uuid: str
    field: str
    before: Any
    value: Any
    cause: str


class Identity(NamedTuple):
    """A device has a uuid from a moment on; ``None``: none yet."""

    at_ms: int
    uuid: str | None
    cause: str
    registered: bool = False
    """By a person, at that moment; else the device does it when it boots."""


def history_of(
    rows: Mapping[str, View],
    identities: Mapping[str, Sequence[Identity]],
    events: Sequence[Seen],
    final: Mapping[str, View],
) -> History:
    """The history of a run's devices.

    Args:
        rows: of the uuids that were registered before it began.
        identities: of each device, the first from the beginning.
        events: changes of rows, in order.
        final: rows in the end, of the uuids there are.
    """
    events = sorted((*_births(rows, identities, events, final), *events), key=lambda e: e.at_ms)
    blank: View = dict.fromkeys(FIELDS)
    views = {uuid: dict(row) for uuid, row in rows.items()}
    who = {name: found[0].uuid for name, found in identities.items()}
    shown = {name: {**blank, **views.get(uuid or "", {})} for name, uuid in who.items()}
    history = History({name: dict(fields) for name, fields in shown.items()})

    def show(at_ms: int, name: str, field: str, value: Any, cause: str) -> None:
        if shown[name].get(field) != value:
            shown[name][field] = value
            history.changes.add(at_ms, name, field, value, cause)

    waiting = sorted(
        (identity.at_ms, name, identity)
        for name, found in identities.items()
        for identity in found[1:]
    )

    def identify(until_ms: float) -> None:
        while waiting and waiting[0][0] <= until_ms:
            at_ms, name, identity = waiting.pop(0)
            who[name] = identity.uuid
            for field, value in views.get(identity.uuid or "", {}).items():
                show(at_ms, name, field, value, identity.cause)

    for event in events:
        identify(event.at_ms)
        views.setdefault(event.uuid, dict(blank))[event.field] = event.value
        for name, uuid in who.items():
            if uuid == event.uuid:
                show(event.at_ms, name, event.field, event.value, event.cause)
    identify(float("inf"))
    return history


def _births(
    rows: Mapping[str, View],
    identities: Mapping[str, Sequence[Identity]],
    events: Sequence[Seen],
    final: Mapping[str, View],
) -> Iterator[Seen]:
    """The first values of rows that came in the run: the stub tells what changes later.

    What changed was before what its first change says; what did not is what it is in the end.
    """
    made_ms: dict[str, int] = {}
    for found in identities.values():
        for identity in found:
            if identity.registered and identity.uuid is not None:
                made_ms.setdefault(identity.uuid, identity.at_ms)
    first: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.uuid not in rows:
            made_ms.setdefault(event.uuid, event.at_ms)
            first.setdefault(event.uuid, {}).setdefault(event.field, event.before)
    for uuid, at_ms in made_ms.items():
        values = {**final.get(uuid, {}), **first.get(uuid, {})}
        for field in FIELDS:
            if values.get(field) is not None and uuid not in rows:
                yield Seen(at_ms, uuid, field, None, values[field], "registration")
