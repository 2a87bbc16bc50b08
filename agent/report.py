"""The state report: what changed since the last one that arrived (``SUPERVISOR.md §2``)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .backoff import backoff_ms
from .device_config import hardware_metrics, poll_interval_ms
from .effects import CacheReport
from .quirks import Quirk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .config import AgentConfig
    from .context import Context
    from .events import RequestFailed, ResponseReceived

API_PORT = 48484
METRICS = (
    "cpu_usage",
    "memory_usage",
    "memory_total",
    "storage_usage",
    "storage_total",
    "storage_block_device",
    "cpu_temp",
    "cpu_id",
)
"""A change of these alone waits for the metrics slot."""
BUCKETS = {"cpu_usage": 20, "cpu_temp": 5, "memory_usage": 10}
"""A new reading counts once it is in another bucket of this size."""
_NOTHING: Mapping[str, Any] = {}
_UNSENT = object()
_STATUS_OK = range(200, 300)


def fixed_fields(config: AgentConfig) -> Mapping[str, Any]:
    """What a supervisor says of itself at its start; shared by the devices of a kind."""
    return _fixed(
        config.os_version,
        config.os_variant,
        config.mac_address,
        config.ip_address,
        config.supervisor_version,
    )


@lru_cache(maxsize=256)
def _fixed(
    os_version: str, os_variant: str, mac_address: str, ip_address: str, supervisor_version: str
) -> Mapping[str, Any]:
    found: dict[str, Any] = {
        "api_port": API_PORT,
        "os_version": os_version,
        "os_variant": os_variant,
        "mac_address": mac_address,
        "supervisor_version": supervisor_version,
        "provisioning_progress": None,
        "provisioning_state": "",
        "status": "Idle",
        "logs_channel": None,
        "is_undervolted": False,
    }
    if ip_address:  # a board without a network has none to tell
        found["ip_address"] = ip_address
    return found


class Sent(NamedTuple):
    """What a report said, in parts that devices share; a driver may keep it as a list."""

    fixed: Mapping[str, Any]
    api_secret: str | None
    readings: Mapping[str, Any]
    apps: Mapping[str, Any] | None


class Report:
    """What to report, when, and what the cloud already has."""

    __slots__ = (
        "_interval_ms",
        "_sending",
        "failures",
        "last",
        "last_success_ms",
        "next_ms",
        "readings",
        "started",
        "waiting",
    )

    def __init__(self) -> None:
        self.last: Sent | None = None
        """The last report that arrived."""
        self.readings: Mapping[str, Any] = _NOTHING
        """Newest readings of the board."""
        self.started = False
        self.waiting: int | None = None
        self.next_ms: int | None = None
        self.failures = 0
        self.last_success_ms: int | None = None
        self._sending: Sent | None = None
        self._interval_ms = 0

    def restore(self, cached: Sequence[Any] | None) -> None:
        """Take over the last report of an earlier process since boot."""
        self.last = None if cached is None else Sent(*cached)

    def start(self, ctx: Context) -> None:
        """Begin reporting."""
        self.started = True
        # read once, also by the real one: a later change does not alter this cap
        self._interval_ms = poll_interval_ms(ctx.applied, ctx.config.poll_interval_ms)

    def measured(self, readings: Mapping[str, Any]) -> None:
        """New readings; noise inside a bucket keeps the old value."""
        kept = dict(self.readings)
        for name, value in readings.items():
            if _significant(name, kept.get(name, _UNSENT), value):
                kept[name] = value
        if kept != self.readings:
            # the mapping that was given may be one that many devices share
            self.readings = readings if kept == readings else kept

    # --- what is new -----------------------------------------------------------------------------

    def _state(self, ctx: Context, apps: Mapping[str, Any] | None) -> Sent:
        readings = self.readings
        if not hardware_metrics(ctx.applied):
            readings = _without_metrics(readings.get("is_undervolted", False))
        return Sent(fixed_fields(ctx.config), ctx.persisted.api_secret, readings, apps)

    def _difference(self, state: Sent) -> dict[str, Any]:
        """Top-level keys to send; ``apps`` as a whole where anything in it differs."""
        last = self.last
        if last is None:
            found = _flat(state)
        elif state[:3] == last[:3]:
            found = {}
        else:
            old = _flat(last)
            found = {
                name: value
                for name, value in _flat(state).items()
                if old.get(name, _UNSENT) != value
            }
        if state.apps and (last is None or state.apps != last.apps):
            found["apps"] = state.apps
        return found

    def consider(self, ctx: Context, apps: Mapping[str, Any] | None, *, now_ms: int) -> None:
        """Send what changed if a report may go now, else arm the time it may.

        Args:
            ctx: of the agent.
            apps: of the report; ``None`` in local mode.
            now_ms: now.
        """
        if not self.started or self.waiting is not None or self.failures:
            return
        state = self._state(ctx, apps)
        difference = self._difference(state)
        self.next_ms = None
        if not difference:
            return
        earliest_ms = self._earliest_ms(ctx, difference)
        if earliest_ms > now_ms:
            self.next_ms = earliest_ms
            return
        self._send(ctx, state, difference)

    def _earliest_ms(self, ctx: Context, difference: Mapping[str, Any]) -> int:
        if self.last_success_ms is None:
            return 0
        metrics_only = all(name in METRICS for name in difference)
        gap_ms = ctx.config.metrics_gap_ms if metrics_only else ctx.config.report_gap_ms
        return self.last_success_ms + gap_ms

    def _send(self, ctx: Context, state: Sent, difference: Mapping[str, Any]) -> None:
        disk = ctx.persisted
        self._sending = state
        body = {disk.uuid: difference}
        self.waiting = ctx.send("PATCH", "/device/v3/state", body, key=disk.device_api_key)

    def due(self, *, now_ms: int) -> bool:
        """Whether the time for a report has come."""
        if self.next_ms is None or self.next_ms > now_ms:
            return False
        self.next_ms = None
        return True

    def retry(self, ctx: Context, apps: Mapping[str, Any] | None) -> None:
        """Try again after a failure, with what is true now."""
        state = self._state(ctx, apps)
        difference = self._difference(state)
        if difference:
            self._send(ctx, state, difference)
        else:
            self.failures = 0

    # --- answers ---------------------------------------------------------------------------------

    def answered(self, ctx: Context, event: ResponseReceived, *, now_ms: int) -> None:
        """The cloud took the report, or did not."""
        if event.status in _STATUS_OK:
            if self.failures:
                ctx.note(f"report accepted after {self.failures} failures")
            self.waiting, self.failures, self.last_success_ms = None, 0, now_ms
            self.last, self._sending = self._sending, None
            if self.last is not None:
                ctx.emit(CacheReport(report=self.last))
            return
        self._failed(ctx, f"HTTP {event.status}", event.headers.get("retry-after"), now_ms=now_ms)

    def no_answer(self, ctx: Context, event: RequestFailed, *, now_ms: int) -> None:
        """The report got no answer: whether it was stored is not known, so it is sent again."""
        self._failed(ctx, event.reason, None, now_ms=now_ms)

    def _failed(self, ctx: Context, reason: str, retry_after: str | None, *, now_ms: int) -> None:
        self.waiting = self._sending = None
        wait_ms = backoff_ms(
            self.failures, first_ms=ctx.config.backoff_min_ms, cap_ms=self._interval_ms
        )
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            unit_ms = 1 if Quirk.RETRY_AFTER_AS_MILLISECONDS in ctx.config.quirks else 1_000
            wait_ms = int(retry_after) * unit_ms
        if self.failures == 0:
            ctx.note(f"state report failed: {reason}, next in {wait_ms} ms")
        self.failures += 1
        self.next_ms = now_ms + wait_ms


@lru_cache(maxsize=2)
def _without_metrics(is_undervolted: bool) -> Mapping[str, Any]:
    """Readings where ``SUPERVISOR_HARDWARE_METRICS`` is off: null, but for the power supply."""
    return {**dict.fromkeys(METRICS), "is_undervolted": is_undervolted}


def _flat(state: Sent) -> dict[str, Any]:
    return {**state.fixed, "api_secret": state.api_secret, **state.readings}


def _significant(name: str, old: Any, new: Any) -> bool:
    """Whether a reading says something new (``SUPERVISOR.md §2``, noise filter)."""
    bucket = BUCKETS.get(name)
    numbers = isinstance(old, int | float) and isinstance(new, int | float)
    if bucket is None or not numbers:
        return bool(old is _UNSENT or old != new)
    return bool(old // bucket != new // bucket)
