"""The heartbeat tracker: ``online`` → ``timeout`` → ``offline`` (``STATUS.md §2``).

A heartbeat of an online device only moves a number on its row.  The queue keeps one entry a device
at or before its timer; an entry that comes up early is entered again at the true time, and those
behind it with it, so a steady fleet costs one queue operation a window, not one a heartbeat.
"""

from __future__ import annotations

from functools import lru_cache
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING

from .status import HeartbeatState
from .variables import effective, poll_interval_ms

if TYPE_CHECKING:
    from .model import Device
    from .settings import CloudSettings

HEARTBEAT = "heartbeat"
WINDOW_OVER = "heartbeat window over"
TIMEOUT_OVER = "heartbeat timeout over"


@lru_cache(maxsize=256)
def window_ms(poll_ms: int, settings: CloudSettings) -> int:
    """``ceil(poll interval × 1.5)`` in whole seconds; 1.5 is the supervisor's largest jitter."""
    scaled = poll_ms * settings.poll_jitter_factor_percent
    return -(-scaled // 100_000) * 1_000


class Tracker:
    """Arms, consumes and queues the timers of all devices."""

    __slots__ = ("_queue", "_settings", "count")

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self.count = 0
        """Heartbeats so far."""
        # two entries can be equal only if they are of one device: rows themselves are never ordered
        self._queue: list[tuple[int, int, Device]] = []

    def beat(self, device: Device, *, now_ms: int) -> None:
        """A heartbeat: ``online`` at once, and one timer armed anew."""
        self.count += 1
        self._resolve(device)
        if device.heartbeat is not HeartbeatState.ONLINE:
            device.heartbeat = HeartbeatState.ONLINE
            device.heartbeat_changed_ms = now_ms
        self._arm(device, now_ms + device.window_ms)

    def _resolve(self, device: Device) -> None:
        if not device.window_ms:
            poll_ms = poll_interval_ms(effective(device), self._settings)
            device.window_ms = window_ms(poll_ms, self._settings)

    def rearm(self, device: Device, *, now_ms: int) -> None:
        """Arm the timer a restored device must have, whole."""
        self._resolve(device)
        if device.heartbeat is HeartbeatState.ONLINE:
            self._arm(device, now_ms + device.window_ms)
        elif device.heartbeat is HeartbeatState.TIMEOUT:
            self._arm(device, now_ms + self._settings.heartbeat_timeout_ms)

    def put(self, device: Device, due_ms: int) -> None:
        """The device's timer ends then."""
        self._arm(device, due_ms)

    def _arm(self, device: Device, due_ms: int) -> None:
        device.heartbeat_due_ms = due_ms
        queued_ms = device.heartbeat_queued_ms
        if queued_ms < 0 or due_ms < queued_ms:
            device.heartbeat_queued_ms = due_ms
            heappush(self._queue, (due_ms, device.id, device))

    def next_deadline_ms(self) -> int | None:
        """When ``due`` has something to look at; it may turn out that no timer ends then."""
        return self._queue[0][0] if self._queue else None

    def due(self, *, now_ms: int) -> Device | None:
        """Take the next device whose timer has ended, if there is one."""
        queue = self._queue
        while queue:
            entry_ms, _, device = queue[0]
            due_ms = device.heartbeat_due_ms
            if entry_ms != device.heartbeat_queued_ms:
                heappop(queue)  # an entry that a shorter window has overtaken
            elif device.deleted or due_ms < 0:
                heappop(queue)
                device.heartbeat_queued_ms = -1
            elif due_ms > entry_ms:
                # heartbeats have moved the timer since; looking ahead here spares an event each
                device.heartbeat_queued_ms = due_ms
                heapreplace(queue, (due_ms, device.id, device))
            elif due_ms <= now_ms:
                heappop(queue)
                device.heartbeat_queued_ms = -1
                return device
            else:
                return None
        return None

    @staticmethod
    def cause(device: Device) -> str:
        """Which timer of a device ``due`` has ended."""
        return WINDOW_OVER if device.heartbeat is HeartbeatState.ONLINE else TIMEOUT_OVER

    def expire(self, device: Device, *, now_ms: int) -> None:
        """Consume the ended timer of a device ``due`` gave; the second is armed by the first."""
        online = device.heartbeat is HeartbeatState.ONLINE
        device.heartbeat = HeartbeatState.TIMEOUT if online else HeartbeatState.OFFLINE
        device.heartbeat_changed_ms = now_ms
        if online:
            self._arm(device, now_ms + self._settings.heartbeat_timeout_ms)
        else:
            device.heartbeat_due_ms = -1
