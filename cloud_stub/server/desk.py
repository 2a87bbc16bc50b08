"""Drives the core: requests, commands and time go in; rows, events and calls come out.

The one place of the server that reads the wall clock and that touches the core.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from ..core import Cloud
from ..messages import (
    CallDevice,
    DeviceReplied,
    FieldChanged,
    KeyStored,
    Request,
    Respond,
    Response,
    TimerFired,
)
from ..store.statements import EventRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..messages import Command, Event, Outcome
    from ..store.database import Store
    from .history import History
    from .settings import ServerSettings

_log = logging.getLogger("fieldbeat.cloud")
NO_ANSWER = Response(status=504)
_SOON_S = 0.001


class Desk:
    """The core, its clock and its timer."""

    def __init__(
        self,
        settings: ServerSettings,
        store: Store,
        history: History,
        *,
        seal: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.cloud = Cloud(settings.cloud, seal=seal)
        self.store = store
        self.history = history
        self.seal = seal
        self.counters = {"actor": 0, "event": 0, "log": 0}
        self.device_types: dict[str, int] = {}
        """Slug → id."""
        self.call_device: Callable[[CallDevice], Awaitable[tuple[int | None, Any]]] | None = None
        self.quick_heartbeats = 0
        self.heartbeat_counted: Callable[[str], None] | None = None
        """Told the uuid of a device with each."""
        self._clock = clock
        self._newest_ms = 0
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._actors: dict[int, int] = {}
        """Device → actor, of all devices there were when the server started or came since."""
        self._closed = False

    def now_ms(self) -> int:
        """The wall clock, never going back: timers of the core must not."""
        self._newest_ms = max(self._newest_ms, int(self._clock() * 1_000))
        return self._newest_ms

    def start(self, counters: Mapping[str, int], actors: Mapping[int, int]) -> None:
        """Begin, with the core as the store gave it.

        Args:
            counters: the largest numbers in use.
            actors: of the devices.
        """
        self.counters |= counters
        self._actors |= actors
        self._arm()

    async def close(self) -> None:
        """Stop the timer; nobody waits for devices any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(NO_ANSWER)
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- inputs ----------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Any = None,
        person: bool = False,
    ) -> Response:
        """Answer a request; what it changed is durable by then.

        Raises:
            StoreError: it could not be made durable now.
        """
        self._requests += 1
        number = self._requests
        request = Request(
            id=number,
            method=method,
            path=path,
            query=query,
            headers=headers,
            body=body,
            person=person,
        )
        outcome = self._handle(request)
        if outcome.response is not None:
            if method not in ("GET", "HEAD"):
                await self.store.committed()
            return outcome.response
        # a device is asked first; its answer cannot be here yet: it comes through the loop
        self._waiting[number] = waiting = asyncio.get_running_loop().create_future()
        try:
            response: Response = await waiting
            return response
        finally:
            self._waiting.pop(number, None)

    def command(self, command: Command) -> Response:
        """Carry out a command; its rows are entered, not yet durable."""
        response = self._handle(command).response
        assert response is not None, command
        return response

    def replied(self, call: int, status: int | None, body: Any) -> None:
        """A device answered a call, or did not."""
        self._handle(DeviceReplied(call=call, status=status, body=body))

    def beat_quickly(self, uuid: str) -> None:
        """A heartbeat took the short way."""
        self.quick_heartbeats += 1
        if self.heartbeat_counted is not None:
            self.heartbeat_counted(uuid)

    # --- outputs ---------------------------------------------------------------------------------

    def _handle(self, event: Event) -> Outcome:
        now_ms = self.now_ms()
        before = self.cloud.heartbeats
        outcome = self.cloud.handle(event, now_ms=now_ms)
        if self.heartbeat_counted is not None and self.cloud.heartbeats > before:
            assert isinstance(event, Request)
            self.heartbeat_counted(event.path.split("/")[3])  # /device/v3/<uuid>/state
        if outcome.rows:
            self._enter_rows(outcome, now_ms)
        if outcome.effects:
            self._carry_out(outcome, now_ms)
        self._arm()
        return outcome

    def _enter_rows(self, outcome: Outcome, now_ms: int) -> None:
        for device in outcome.rows:
            if device.id in self._actors:
                self.store.changed([device], now_ms=now_ms)
            else:
                self._actors[device.id] = self.new_actor()
                self.store.device_added(
                    device,
                    actor=self._actors[device.id],
                    device_type=self.device_types[device.device_type],
                    now_ms=now_ms,
                )

    def _carry_out(self, outcome: Outcome, now_ms: int) -> None:
        events: list[EventRow] = []
        fleets = {device.uuid: device.fleet.id for device in outcome.rows}
        for effect in outcome.effects:
            match effect:
                case FieldChanged():
                    events.append(self._event(effect, fleets.get(effect.uuid, 0), now_ms))
                case KeyStored():
                    number = self.cloud.devices[effect.uuid].id
                    self.store.device_key(
                        effect.sealed, actor=self._actors[number], device=number, now_ms=now_ms
                    )
                case CallDevice():
                    self._call(effect)
                case Respond():
                    waiting = self._waiting.get(effect.id)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(effect.response)
        if events:
            self.store.events(events)
            self.history.happened(events)

    def new_actor(self) -> int:
        """A number no actor has."""
        self.counters["actor"] += 1
        return self.counters["actor"]

    def _event(self, change: FieldChanged, fleet: int, now_ms: int) -> EventRow:
        self.counters["event"] += 1
        return EventRow(
            id=self.counters["event"],
            at_ms=now_ms,
            device=change.uuid,
            fleet=fleet,
            field=change.field,
            old=change.old,
            new=change.new,
            cause=change.cause,
        )

    def _call(self, call: CallDevice) -> None:
        """Call a device in a task of its own; without a way to it there is no answer."""
        if self.call_device is None or self._closed:
            asyncio.get_running_loop().call_soon(self.replied, call.call, None, None)
            return
        task = asyncio.create_task(self._ask(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, call: CallDevice) -> None:
        assert self.call_device is not None
        status, body = await self.call_device(call)
        self.replied(call.call, status, body)

    # --- time ------------------------------------------------------------------------------------

    def _arm(self) -> None:
        due_ms = self.cloud.next_deadline_ms()
        if due_ms == self._timer_ms or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_ms = None, due_ms
        if due_ms is not None:
            wait_s = max(_SOON_S, (due_ms - self.now_ms()) / 1_000)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._fired)

    def _fired(self) -> None:
        self._timer, self._timer_ms = None, None
        self._handle(TimerFired())
