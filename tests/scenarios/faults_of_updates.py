"""Faults that scenarios of updates must notice; ``test_mutations`` tries them one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent import contracts, machine, update
from agent.containers import Containers
from agent.quirks import DOCUMENTED
from agent.update import Update
from cloud_stub import columns
from cloud_stub import model as rows
from cloud_stub import report as reports
from scenarios.board import Board
from scenarios.simulation import machines
from tests.mutating import Patch, around, without, without_rung

if TYPE_CHECKING:
    import pytest

    from agent.target import TargetApp


def strategies(of: dict[str, str]) -> Patch:
    """Update strategies taken for others."""

    def other(app: TargetApp) -> TargetApp:
        services = [
            replace(service, strategy=of.get(service.strategy, service.strategy))  # type: ignore[arg-type]
            for service in app.services
        ]
        return replace(app, services=tuple(services))

    return around(update, "parse_apps", lambda original, part: tuple(map(other, original(part))))


def only_the_first_lock(original: Any, board: Any, effect: Any) -> Any:
    return original(board, replace(effect, services=effect.services[:1]))


def locks_always_taken(original: Any, board: Any, effect: Any) -> Any:
    return original(board, replace(effect, force=True))


def gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Update.pull_failed

    def failed(self: Update, ctx: Any, event: Any, *, now_ms: int) -> None:
        original(self, ctx, event, now_ms=now_ms)
        if any(fails > 5 for fails, _ in self.fetches._gates.values()):
            self.active, self.next_ms = False, None

    monkeypatch.setattr(Update, "pull_failed", failed)


def handover_for_ever(original: Any, containers: Any, ctx: Any, box: Any, **given: Any) -> None:
    original(containers, ctx, box, **given)
    for handover in (containers.handovers or {}).values():
        handover.deadline_ms = 10**12


def handover_without_locks(original: Any, app: Any, mirror: Any, **_: Any) -> Any:
    return original(app, mirror, handover_locks=False)


def as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machines.BEHAVIOURS, "supervisor-19", DOCUMENTED)


def event_moves_with_every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "differs", lambda *_: True)


def event_never_moves_again(
    original: Any, writer: Any, device: Any, values: Any, **given: Any
) -> None:
    before_ms = device.last_update_status_event_ms
    original(writer, device, values, **given)
    if before_ms is not None:
        device.last_update_status_event_ms = before_ms


def event_moves_with_the_status_alone(
    original: Any, writer: Any, device: Any, values: Any, **given: Any
) -> None:
    before_ms, status = device.last_update_status_event_ms, device.update_status
    original(writer, device, values, **given)
    if device.update_status == status:
        device.last_update_status_event_ms = before_ms


def last_named_wins(values: Any) -> Any:
    return values[-1] if values else None


def done_where_nothing_is_said(original: Any, app: Any, columns_: Any) -> None:
    original(app, columns_)
    columns_.setdefault("update_status", "done")


FAULTS: list[tuple[str, str, Patch]] = [
    ("update/all-six-statuses", "a repeat moves no event", event_moves_with_every_report),
    (
        "update/all-six-statuses",
        "the event moves with the status",
        around(columns.Writer, "write", event_never_moves_again),
    ),
    (
        "update/several-releases-in-one-report",
        "the first in precedence wins",
        without(reports, "first_update_status", last_named_wins),
    ),
    (
        "update/older-supervisor",
        "what is not reported stays empty",
        around(reports, "_update_status", done_where_nothing_is_said),
    ),
    ("update/older-supervisor", "row 7: updating", without_rung("7")),
    (
        "update/course-of-an-update",
        "from the kill to the start changes are applied",
        without(Containers, "changing", lambda *_: ()),
    ),
    ("update/course-of-an-update-supervisor-19", "the real program's words", as_documented),
    (
        "update/rejected-contract",
        "a contract that is not met is a reason to reject",
        without(contracts, "_met", lambda *_: True),
    ),
    ("update/never-aborted", "the supervisor goes on trying", gives_up),
    (
        "update/one-lock-stops-all",
        "the locks of every service are asked for",
        around(Board, "_take_locks", only_the_first_lock),
    ),
    (
        "update/lock-refuses-actions",
        "a user's lock refuses",
        around(Board, "_take_locks", locks_always_taken),
    ),
    (
        "update/pinned",
        "a pin wins over what the fleet tracks",
        without(rows.Device, "should_run", property(lambda device: device.fleet.tracks)),  # type: ignore[arg-type]
    ),
    (
        "update/kill-then-download",
        "the old container goes before the download",
        strategies({"kill-then-download": "download-then-kill"}),
    ),
    (
        "update/kill-then-download",
        "the old image stays until the new one is here",
        strategies({"kill-then-download": "delete-then-download"}),
    ),
    (
        "update/kill-then-download-locked",
        "the lock is asked for before the download",
        strategies({"kill-then-download": "download-then-kill"}),
    ),
    (
        "update/delete-then-download",
        "the old image goes before the download",
        strategies({"delete-then-download": "kill-then-download"}),
    ),
    (
        "update/delete-then-download-locked",
        "the lock is asked for before the download",
        strategies({"delete-then-download": "download-then-kill"}),
    ),
    ("update/hand-over-with-file", "the file ends the hand-over", without(Containers, "signalled")),
    (
        "update/hand-over-with-file",
        "the new container starts beside the old one",
        strategies({"hand-over": "download-then-kill"}),
    ),
    (
        "update/hand-over-without-file",
        "the time-out ends the hand-over",
        around(Containers, "_started", handover_for_ever),
    ),
    ("update/hand-over-supervisor-19", "the real hand-over asks for no lock", as_documented),
    (
        "update/hand-over-locked",
        "the documented hand-over asks for locks",
        around(update, "next_steps", handover_without_locks),
    ),
    (
        "update/invalid-strategy",
        "an unknown strategy is the default one",
        strategies({"download-then-kill": "kill-then-download"}),
    ),
    (
        "update/duration-reset-by-reboot",
        "a boot moves the event, though the status is the same",
        around(columns.Writer, "write", event_moves_with_the_status_alone),
    ),
    (
        "update/duration-reset-by-reboot",
        "some configuration needs a reboot",
        without(machine, "needs_reboot", lambda *_: False),
    ),
    (
        "update/duration-reset-by-restart",
        "a crash moves the event, though the status is the same",
        around(columns.Writer, "write", event_moves_with_the_status_alone),
    ),
    (
        "update/duration-reset-by-restart",
        "a restart is told as changes that are applied",
        without(Containers, "changing", lambda *_: ()),
    ),
]
"""Scenario, the behaviour that is taken away, and how."""
