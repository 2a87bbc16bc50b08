"""The cloud core: one pure machine that takes requests, commands and time.

``Cloud.handle(event, now_ms=…)`` gives the answer and the effects; ``next_deadline_ms()`` says when
a ``TimerFired`` is due.  Timers are consumed by ``TimerFired`` alone: those that ended while the
cloud was down end when it is back, and a device that polls first is online again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import commands, persist, routes
from .answers import Refusal
from .messages import DeviceReplied, Outcome, Request, TimerFired
from .observe import observe
from .state import State
from .status import HeartbeatState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .messages import Event, Response
    from .model import Device, Fleet, Key, KeyKind
    from .settings import CloudSettings

_ONLINE = HeartbeatState.ONLINE


class Cloud:
    """Devices, fleets and keys of one cloud, and their timers."""

    __slots__ = ("_state", "devices")

    def __init__(self, settings: CloudSettings, *, seal: Callable[[str], str] = str) -> None:
        """Start empty.

        Args:
            settings: timings and profile.
            seal: what is kept of a key, the same for the same key; a server gives a keyed digest.
        """
        self._state = State(settings, seal)
        self.devices: Mapping[str, Device] = self._state.devices
        """By uuid; to look at, not to write."""

    def handle(self, event: Event, *, now_ms: int) -> Outcome:
        """Take one event; every visible change of any device is among the effects."""
        state = self._state
        response: Response | None = None
        try:
            if isinstance(event, Request):
                response = routes.answer(state, event, now_ms=now_ms)
            elif isinstance(event, TimerFired):
                self._expire(now_ms=now_ms)
            elif isinstance(event, DeviceReplied):
                state.effects.extend(state.calls.replied(event))
            else:
                response = commands.carry_out(state, event, now_ms=now_ms)
        except Refusal as refusal:
            response = refusal.response
        rows = state.take_rows()
        return Outcome(response=response, effects=state.take_effects(), rows=rows)

    def _expire(self, *, now_ms: int) -> None:
        """Consume everything that is due, in order of the deadlines."""
        state = self._state
        tracker, calls = state.tracker, state.calls
        while True:
            call_ms = calls.next_deadline_ms()
            limit_ms = now_ms if call_ms is None else min(call_ms, now_ms)
            device = tracker.due(now_ms=limit_ms)
            if device is not None:
                state.touch(device, tracker.cause(device))
                tracker.expire(device, now_ms=now_ms)
            elif call_ms is not None and call_ms <= now_ms:
                state.effects.extend(calls.expire_one(now_ms=now_ms))
            else:
                return

    def next_deadline_ms(self) -> int | None:
        """When to send ``TimerFired``; sometimes it will turn out that nothing was due."""
        heartbeat_ms = self._state.tracker.next_deadline_ms()
        call_ms = self._state.calls.next_deadline_ms()
        if heartbeat_ms is None or call_ms is None:
            return heartbeat_ms if call_ms is None else call_ms
        return min(heartbeat_ms, call_ms)

    @staticmethod
    def quick_heartbeat(row: Device, etag: str | None, *, now_ms: int) -> bool:
        """Exactly what a conditional GET of the target state does where nothing visible changes.

        That is: ``etag`` is the current one, so the answer would be an empty 304, and the device is
        active, not frozen, and online with its timer still running.  Otherwise False, and nothing
        is done.  The caller vouches for the device's key.
        """
        if (
            row.heartbeat_due_ms > now_ms
            and row.heartbeat is _ONLINE
            and row.etag == etag
            and etag is not None
            and row.is_active
            and not row.is_frozen
            and not row.key_expires
        ):
            window_ms = row.window_ms
            if window_ms:  # else it is to be resolved first
                row.heartbeat_due_ms = now_ms + window_ms
                return True
        return False

    # --- after a restart -------------------------------------------------------------------------

    def restore_devices(
        self, devices: Iterable[tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]]]
    ) -> None:
        """Put back what ``persist`` stored of devices; their fleets and releases are there."""
        fleets = {fleet.id: fleet for fleet in self._state.fleets_by_uuid.values()}
        releases = {
            release.id: release for fleet in fleets.values() for release in fleet.releases.values()
        }
        for row, installs in devices:
            persist.restore(self._state, row, installs, releases=releases, fleets=fleets)

    def restore_key(
        self, sealed: str, kind: KeyKind, owner: str | None, *, expires_at_ms: int | None
    ) -> None:
        """Put back a key by what was kept of it; ``owner`` is the uuid of a device or fleet."""
        persist.restore_key(self._state, sealed, kind, owner, expires_at_ms=expires_at_ms)

    def restore_rest(self, *, gone: Iterable[str], instances: int, rows: int) -> None:
        """Put back uuids of deleted devices, and how many VPN instances and devices there were."""
        state = self._state
        state.gone.update((uuid, {}) for uuid in gone)
        state.instances = instances
        state.rows.extend([None] * (rows - len(state.rows)))

    def rearm(self, *, now_ms: int) -> None:
        """Arm every heartbeat timer with a whole window from now.

        How much of a window was left is known only to within the store's lag, and while the server
        was away the devices could not poll: with less, one that kept polling could be taken for
        gone.
        """
        state = self._state
        state.forget_pending()
        for device in state.devices.values():
            state.tracker.rearm(device, now_ms=now_ms)

    def restore_timers(self, former: Cloud) -> None:
        """Arm heartbeat timers as they were in another cloud; what ran out since then is due."""
        for uuid, device in former.devices.items():
            known = self.devices.get(uuid)
            if known is not None and device.heartbeat_due_ms >= 0:
                self._state.tracker.put(known, device.heartbeat_due_ms)

    def fleet_of(self, uuid: str) -> Fleet | None:
        """The fleet of a uuid."""
        return self._state.fleets_by_uuid.get(uuid)

    def key_owner(self, key: str) -> Key | Device | None:
        """Whose key this is, if anybody's."""
        return self._state.owner(key)

    @property
    def heartbeats(self) -> int:
        """Heartbeats so far, without those of ``quick_heartbeat``: whoever takes it counts them."""
        return self._state.tracker.count

    @property
    def calls_pending(self) -> int:
        """Pushes to come and calls of devices without an answer."""
        return self._state.calls.pending

    def fleet_id(self, name: str) -> int:
        """The number devices register under; the fleet must exist."""
        return self._state.fleets[name].id

    def view(self, uuid: str, *, now_ms: int) -> Mapping[str, Any]:  # noqa: ARG002
        """Every visible field of a device (``observe.FIELDS``); of a deleted one, its last.

        ``now_ms`` is part of the question, as everywhere; no field moves with time alone today.
        """
        state = self._state
        device = state.devices.get(uuid)
        return state.gone[uuid] if device is None else observe(device, state.settings.profile)
