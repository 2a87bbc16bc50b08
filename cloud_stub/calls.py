"""Calls through cloudlink: pushed target changes and people's actions, and how long they wait.

A push is scheduled, then becomes one call for each device whose tunnel is up by then; nobody waits
for its answer.  An action belongs to a request, which is answered when the device replies or when
the time is over (``SUPERVISOR.md §10``).
"""

from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .messages import CallDevice, Respond, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .messages import DeviceReplied, Effect
    from .model import Device
    from .settings import CloudSettings

UPDATE_PATH = "/v1/update"
TIMED_OUT = Response(status=504)
_NO_BODY: Mapping[str, Any] = MappingProxyType({})


class _Push(NamedTuple):
    due_ms: int
    devices: tuple[Device, ...]


class _Open(NamedTuple):
    due_ms: int
    call: int
    request: int | None
    """``None``: nobody waits."""


class Calls:
    """All pushes to come and all calls without an answer; both queues are in order of time."""

    __slots__ = ("_numbers", "_open", "_pushes", "_settings", "_waiting")

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._numbers = 0
        self._pushes: deque[_Push] = deque()
        self._waiting: deque[_Open] = deque()
        self._open: dict[int, int | None] = {}
        """Call → the request that waits for it."""

    @property
    def pending(self) -> int:
        """Pushes to come and calls without an answer."""
        return len(self._pushes) + len(self._open)

    def push(self, devices: Iterable[Device], *, now_ms: int) -> None:
        """The target of these devices changed: those reachable by then will be told."""
        due_ms = now_ms + self._settings.notify_delay_ms
        self._pushes.append(_Push(due_ms, tuple(devices)))

    def start(
        self,
        device: Device,
        method: str,
        path: str,
        body: Mapping[str, Any],
        *,
        request: int | None,
        now_ms: int,
    ) -> CallDevice:
        """Call a device's supervisor API."""
        self._numbers += 1
        number = self._numbers
        due_ms = now_ms + self._settings.device_request_timeout_ms
        self._open[number] = request
        self._waiting.append(_Open(due_ms, number, request))
        return CallDevice(call=number, uuid=device.uuid, method=method, path=path, body=body)

    def replied(self, event: DeviceReplied) -> list[Effect]:
        """A device answered; an answer nobody waits for is dropped."""
        request = self._open.pop(event.call, None)
        self._forget_answered()
        if request is None:
            return []
        if event.status is None:
            return [Respond(id=request, response=TIMED_OUT)]
        return [Respond(id=request, response=Response(status=event.status, body=event.body))]

    def next_deadline_ms(self) -> int | None:
        """When the next push or time-out is due."""
        times = [queue[0].due_ms for queue in (self._pushes, self._waiting) if queue]
        return min(times, default=None)

    def expire_one(self, *, now_ms: int) -> list[Effect]:
        """Carry out the earliest push or time-out, which is due."""
        pushes, waiting = self._pushes, self._waiting
        if pushes and (not waiting or pushes[0].due_ms <= waiting[0].due_ms):
            return [
                self.start(device, "POST", UPDATE_PATH, _NO_BODY, request=None, now_ms=now_ms)
                for device in pushes.popleft().devices
                if device.is_connected_to_vpn and not device.deleted and not device.is_frozen
            ]
        over = waiting.popleft()
        self._open.pop(over.call, None)
        self._forget_answered()
        return [] if over.request is None else [Respond(id=over.request, response=TIMED_OUT)]

    def _forget_answered(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0].call not in self._open:
            waiting.popleft()
