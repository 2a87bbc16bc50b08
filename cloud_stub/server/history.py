"""The history of status fields as people follow it: live subscribers, and old events forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..store.own_tables import EVENTS
from ..store.read import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..store.database import Store
    from ..store.statements import EventRow

_log = logging.getLogger("fieldbeat.history")
QUEUE_MAX = 10_000
"""A subscriber that is this many events behind is cut off; it can catch up by paging."""
SWEEP_S = 60.0
DATES = frozenset(
    (
        *("changed_api_heartbeat_state_on__date", "last_connectivity_event", "last_vpn_event"),
        "last_update_status_event",
    )
)


def shown_value(field: str, value: Any) -> Any:
    """A field's value as the API writes it."""
    return iso(value) if field in DATES and isinstance(value, int) else value


def shown(event: EventRow) -> dict[str, Any]:
    """An event as people see it."""
    return {
        "id": event.id,
        "at": iso(event.at_ms),
        "device": event.device,
        "fleet": event.fleet,
        "field": event.field,
        "from": shown_value(event.field, event.old),
        "to": shown_value(event.field, event.new),
        "cause": event.cause,
    }


class Subscriber:
    """One who follows: a bounded queue, and whether it overflowed."""

    def __init__(self, wanted: Callable[[EventRow], bool]) -> None:
        self.wanted = wanted
        self.queue: asyncio.Queue[EventRow] = asyncio.Queue(QUEUE_MAX)
        self.lost = False

    def offer(self, event: EventRow) -> None:
        """Give it an event, unless it is too far behind."""
        if self.lost or not self.wanted(event):
            return
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.lost = True


class History:
    """Hands events to whoever follows, and forgets what is older than the retention."""

    def __init__(self) -> None:
        self.subscribers: set[Subscriber] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def happened(self, events: list[EventRow]) -> None:
        """New events, in order."""
        for subscriber in self.subscribers:
            for event in events:
                subscriber.offer(event)

    @contextlib.contextmanager
    def follow(self, wanted: Callable[[EventRow], bool]) -> Iterator[Subscriber]:
        """Follow from now on, until the block ends."""
        subscriber = Subscriber(wanted)
        self.subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self.subscribers.discard(subscriber)

    def keep(self, store: Store, *, retention_s: float, now_ms: Callable[[], int]) -> None:
        """Begin to forget events past the retention."""
        self._sweeper = asyncio.create_task(self._sweep(store, retention_s, now_ms))

    async def _sweep(self, store: Store, retention_s: float, now_ms: Callable[[], int]) -> None:
        while True:
            before_ms = now_ms() - round(retention_s * 1_000)
            store.execute(sa.delete(EVENTS).where(EVENTS.c.at_ms < before_ms))
            await asyncio.sleep(min(SWEEP_S, max(0.05, retention_s / 4)))

    async def close(self) -> None:
        """Stop forgetting."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
