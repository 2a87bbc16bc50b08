"""Take a behaviour away, and the scenario that pins it no longer holds.

Each row names a scenario of the library, a behaviour, and how to remove it; a scenario that still
held without it would pin nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent import machine
from agent.containers import Containers
from agent.report import Report
from agent.update import Update
from cloud_stub import observe as observed
from cloud_stub.state import State
from cloud_stub.vpn_server import VpnServer
from scenarios.board import Board
from scenarios.simulation.links import Fate, Link
from scenarios.simulation.tunnels import Tunnels
from tests.mutating import (
    LIBRARY,
    Mutation,
    dead_clients,
    names_of,
    noticed,
    online_until_further_notice,
    polls_give_up,
    without,
    without_rung,
)

from . import faults_of_links, faults_of_updates

if TYPE_CHECKING:
    import pytest


def reject_like_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Link.fate

    def fate(self: Link, channel: Any, *, outward: bool) -> Fate:
        found = original(self, channel, outward=outward)
        return Fate.DROP if found is Fate.REJECT else found

    monkeypatch.setattr(Link, "fate", fate)


def locks_always_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Board._take_locks
    monkeypatch.setattr(
        Board, "_take_locks", lambda self, effect: original(self, replace(effect, force=True))
    )


def nothing_downloaded_while_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Update._do

    def do(self: Update, ctx: Any, step: Any, **given: Any) -> bool:
        fetches = step.kind == "fetch" and not self.held
        return False if fetches else original(self, ctx, step, **given)

    monkeypatch.setattr(Update, "_do", do)


def never_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Update.locks_refused

    def refused(self: Update, ctx: Any, event: Any, **given: Any) -> bool:
        found = original(self, ctx, event, **given)
        self.active, self.next_ms = False, None
        return found

    monkeypatch.setattr(Update, "locks_refused", refused)


def nothing_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Update, "start", lambda *_, **__: None)
    monkeypatch.setattr(Update, "new_target", lambda *_, **__: None)


MUTATIONS: list[Mutation] = [
    ("status/first-boot", "the first contact makes a device active", without(State, "contact")),
    ("status/first-boot", "row 1: inactive", without_rung("1")),
    ("status/first-boot", "reports are sent", without(Report, "consider")),
    ("status/first-boot", "a container is started", without(Containers, "start")),
    ("connectivity/firewall-blocks-vpn", "row 8: reduced functionality", without_rung("8")),
    (
        "connectivity/firewall-blocks-vpn",
        "the VPN server gives silent clients up",
        without(VpnServer, "_silent"),
    ),
    (
        "connectivity/firewall-blocks-vpn",
        "the label Heartbeat Only",
        without(observed, "connectivity", lambda _: ""),
    ),
    ("connectivity/firewall-blocks-vpn", "the VPN client tries again", dead_clients),
    ("connectivity/firewall-rejects-vpn", "a reset is seen at once", reject_like_drop),
    ("connectivity/firewall-rejects-vpn", "row 8: reduced functionality", without_rung("8")),
    ("connectivity/firewall-blocks-api", "the heartbeat window ends", online_until_further_notice),
    (
        "connectivity/firewall-blocks-api",
        "the label Cloudlink Only",
        without(observed, "connectivity", lambda _: ""),
    ),
    ("connectivity/firewall-blocks-api", "failed polls are repeated", polls_give_up),
    (
        "connectivity/firewall-blocks-api",
        "actions reach the device through cloudlink",
        without(Tunnels, "call_device"),
    ),
    ("connectivity/power-loss", "row 4: disconnected", without_rung("4")),
    ("connectivity/power-loss", "the heartbeat window ends", online_until_further_notice),
    (
        "connectivity/power-loss",
        "the VPN server gives silent clients up",
        without(VpnServer, "_silent"),
    ),
    ("connectivity/network-loss", "row 4: disconnected", without_rung("4")),
    ("connectivity/network-loss", "the VPN client tries again", dead_clients),
    ("connectivity/network-loss", "failed polls are repeated", polls_give_up),
    (
        "connectivity/vpn-disabled-by-config",
        "cloudlink that is switched off is not missed",
        without(observed, "vpn_disabled", lambda _: False),
    ),
    (
        "connectivity/vpn-disabled-by-config",
        "the device stops its VPN client",
        without(machine, "vpn_enabled", lambda _: True),
    ),
    ("update/lock-held-then-released", "a user's lock refuses", locks_always_taken),
    ("update/lock-held-then-released", "a refused lock is tried again", never_retried),
    (
        "update/lock-held-then-released",
        "everything is downloaded while locked",
        nothing_downloaded_while_locked,
    ),
    ("update/lock-held-then-released", "row 7: updating", without_rung("7")),
    ("update/lock-overridden", "a user's lock refuses", locks_always_taken),
    (
        "update/lock-overridden",
        "the override removes the lock",
        lambda monkeypatch: monkeypatch.setattr("agent.update.overrides_locks", lambda _: False),
    ),
    ("update/power-loss-while-downloading", "row 4: disconnected", without_rung("4")),
    ("update/power-loss-while-downloading", "row 7: updating", without_rung("7")),
    (
        "update/power-loss-while-downloading",
        "the target is applied again after the boot",
        nothing_applied,
    ),
    *faults_of_links.FAULTS,
    *faults_of_updates.FAULTS,
]


test_without_the_behaviour_its_scenario_does_not_hold = noticed(MUTATIONS)


def test_every_scenario_of_the_library_is_tried() -> None:
    folders = {path.name for path in LIBRARY.iterdir() if path.is_dir()} - {"field", "cloud"}
    assert names_of(*sorted(folders)) == {name for name, _, _ in MUTATIONS}
