"""Replaying a trace against the cloud core in virtual time: ``fieldbeat replay``.

The real cloud consumed an expired timer up to 1.4 s late, so a heartbeat inside that time may come
before or after the expiry; the order is the one the trace shows (``STATUS.md §9``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud_stub.status import HeartbeatState

from .trace_compare import FLASH_MS, TAIL_MS, Difference, Point, compare_field, same
from .trace_device import TraceDevice
from .traces import FIELDS, Trace, TraceStep, read_trace

if TYPE_CHECKING:
    from pathlib import Path

_SLACK_MS = 300
"""Between an event's moment in the trace and the same event's here."""
_EXPIRED = {
    HeartbeatState.ONLINE.value: HeartbeatState.TIMEOUT.value,
    HeartbeatState.TIMEOUT.value: HeartbeatState.OFFLINE.value,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceResult:
    """How a trace went."""

    name: str
    file: str
    steps: int
    differences: tuple[Difference, ...]
    """In order of time."""

    @property
    def passed(self) -> bool:
        """The core does what the trace shows."""
        return not self.differences


def replay_trace(path: str | Path) -> TraceResult:
    """Drive the core with a trace's events and compare answers, fields and times.

    Raises:
        InputError: the file is no trace.
    """
    trace = read_trace(path)
    found = _Replay(trace).run()
    return TraceResult(
        name=trace.name,
        file=str(path),
        steps=len(trace.steps),
        differences=tuple(sorted(found, key=lambda difference: difference.at_s)),
    )


class _Replay:
    """One run."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._device = TraceDevice(trace)
        self._changes = _heartbeat_changes(trace)
        self._now_ms = min(0, trace.samples[0].at_ms)

    def run(self) -> list[Difference]:
        found: list[Difference] = []
        for step in self._trace.steps:
            moment_ms = max(self._now_ms, step.done_ms)
            self._expire_until(moment_ms, heartbeat=step.action == "heartbeat")
            self._now_ms = moment_ms
            found.extend(self._device.carry_out(step, now_ms=moment_ms))
        self._expire_until(self._trace.end_ms, heartbeat=False)
        found.extend(self._compare_fields())
        found.extend(self._compare_waits())
        return found

    # --- timers ----------------------------------------------------------------------------------

    def _expire_until(self, moment_ms: int, *, heartbeat: bool) -> None:
        """Consume the heartbeat's timers as the trace did, up to a step at this moment."""
        while True:
            due_ms = self._device.heartbeat_due_ms
            if due_ms is None or due_ms > moment_ms:
                return
            consumed_ms = self._consumed_ms(due_ms, moment_ms, heartbeat=heartbeat)
            if consumed_ms is None or consumed_ms > moment_ms:
                return
            self._now_ms = max(self._now_ms, consumed_ms)
            self._device.fire_timers(now_ms=self._now_ms)

    def _consumed_ms(self, due_ms: int, moment_ms: int, *, heartbeat: bool) -> int | None:
        """When the trace's cloud consumed this timer; ``None``: not before the step."""
        expected = _EXPIRED.get(self._device.heartbeat_state)
        for changed in self._changes:
            late_ms = changed.at_ms - due_ms
            if changed.value == expected and -_SLACK_MS <= late_ms <= TAIL_MS + _SLACK_MS:
                return max(changed.at_ms, due_ms)
        if heartbeat and any(
            changed.value == HeartbeatState.ONLINE.value
            and abs(changed.at_ms - moment_ms) <= _SLACK_MS
            for changed in self._changes
        ):
            # the heartbeat made it online anew, so it had expired unseen just before
            return max(due_ms, moment_ms - 1)
        # long overdue: it must have been consumed, seen or not
        return due_ms if moment_ms - due_ms > TAIL_MS else None

    # --- comparing -------------------------------------------------------------------------------

    def _compare_fields(self) -> list[Difference]:
        trace = self._trace
        fields = [*FIELDS]
        if any("deleted" in sample.values for sample in trace.samples):
            fields.append("deleted")
        # each sample is a look at the whole row
        sure_until_ms = max(trace.end_ms - TAIL_MS, trace.samples[-1].at_ms - FLASH_MS)
        found = []
        for field in fields:
            recorded = [
                Point(sample.at_ms, sample.values[field])
                for sample in trace.samples
                if field in sample.values
            ]
            if field == "deleted":
                recorded.insert(0, Point(trace.samples[0].at_ms, False))
            difference = compare_field(
                field,
                recorded,
                [point for point in self._device.course(field) if point.at_ms <= trace.end_ms],
                sure_until_ms=sure_until_ms,
                tolerance_ms=trace.tolerance_ms,
            )
            if difference is not None:
                found.append(difference)
        return found

    def _compare_waits(self) -> list[Difference]:
        waits = (step for step in self._trace.steps if step.action == "wait_for")
        return [found for step in waits if (found := self._compare_wait(step)) is not None]

    def _compare_wait(self, step: TraceStep) -> Difference | None:
        """A recorded wait ended when the field took the value here, too."""
        field, value = str(step.args["field"]), step.args["value"]
        tolerance_ms = self._trace.tolerance_ms
        course = self._device.course(field)
        came_ms = None
        for point, following in zip(course, [*course[1:], None], strict=True):
            until_ms = following.at_ms if following else None
            # who waits looks at the reader's last sample
            over = until_ms is not None and until_ms <= step.at_ms - FLASH_MS
            if same(field, value, point.value, 0) and not over:
                came_ms = max(point.at_ms, step.at_ms)
                break
        met = step.result.get("met", True)
        if met and came_ms is not None and abs(came_ms - step.done_ms) <= tolerance_ms:
            return None
        if not met and (came_ms is None or came_ms > step.done_ms - tolerance_ms):
            return None
        return Difference(
            kind="answer",
            at_s=step.at_ms / 1e3,
            field=f"{step.name} {field} = {value}",
            recorded=f"met at {step.done_ms / 1e3:.3f} s" if met else "not met",
            given="never" if came_ms is None else f"met at {came_ms / 1e3:.3f} s",
        )


def _heartbeat_changes(trace: Trace) -> list[Point]:
    """When the trace's cloud stored each new heartbeat state.

    A date that moved alone means that the state changed and changed back between two samples.
    """
    changes = []
    state = None
    for sample in trace.samples:
        state = sample.values.get("api_heartbeat_state", state)
        date = sample.values.get("changed_api_heartbeat_state_on__date")
        if date is not None:
            changes.append(Point(date, state))
    return changes
