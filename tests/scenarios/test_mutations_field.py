"""Take a behaviour away, and the field or cloud scenario that pins it no longer holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.cloudlink import CloudlinkClient
from agent.mirror import Box
from agent.poll import Poll
from agent.report import Report
from agent.update import Update
from cloud_stub import observe as observed
from cloud_stub.vpn_server import VpnServer
from scenarios.board import Board
from scenarios.pulls import Pulls, Registry
from scenarios.simulation import exchanges, machines
from scenarios.simulation.conditions import Conditions
from scenarios.simulation.exchanges import Exchanges
from scenarios.simulation.links import Link
from scenarios.simulation.tunnels import Tunnels
from scenarios.simulation.vpn_hosts import Hosts
from tests.mutating import (
    Mutation,
    Patch,
    dead_clients,
    names_of,
    noticed,
    online_until_further_notice,
    polls_give_up,
    without,
    without_rung,
)

if TYPE_CHECKING:
    import pytest

    from agent.config import Persisted


def setting(target: str, value: Any) -> Patch:
    """Give a module's constant or function another value."""
    return lambda monkeypatch: monkeypatch.setattr(target, value)


def tries_at_one_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    def retry(self: CloudlinkClient, reason: str, now_ms: int) -> list[Any]:
        return self._wait(reason, 5_000, now_ms)

    monkeypatch.setattr(CloudlinkClient, "_retry", retry)


def locks_survive_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Board._off

    def off(self: Board) -> None:
        locks = self._locks
        original(self)
        self._locks = locks

    monkeypatch.setattr(Board, "_off", off)


def no_layer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pulls, "_interrupt", lambda self, image: self._active.pop(image, None))


def cancel_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Update.again

    def again(self: Update, ctx: Any, *, force: bool, now_ms: int, **_: Any) -> None:
        original(self, ctx, force=force, cancel=False, now_ms=now_ms)

    monkeypatch.setattr(Update, "again", again)


def left_of_the_old_fleet_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Update._steps

    def steps(self: Update, ctx: Any) -> list[Any]:
        here = {app.uuid for app in self.apps}
        return [step for step in original(self, ctx) if step.app in here]

    monkeypatch.setattr(Update, "_steps", steps)


def every_write_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def persist(self: Board, state: Persisted) -> bool:
        self.persisted = state
        return True

    monkeypatch.setattr(Board, "persist", persist)


def rate_is_not_felt(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Link.impaired

    def impaired(self: Link, **given: Any) -> Link:
        return original(self, **{**given, "rate_bytes_per_second": None})

    monkeypatch.setattr(Link, "impaired", impaired)


def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Poll.succeeded

    def succeeded(self: Poll, ctx: Any, *, now_ms: int) -> None:
        original(self, ctx, now_ms=now_ms)
        self.next_ms = now_ms + self.interval_ms

    monkeypatch.setattr(Poll, "succeeded", succeeded)


def interval_is_never_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    def apply_interval(self: Poll, ctx: Any) -> None:
        self.interval_ms = self.interval_ms or ctx.config.poll_interval_ms

    monkeypatch.setattr(Poll, "apply_interval", apply_interval)


def every_end_is_a_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: VpnServer, session: int) -> None:
        peer = self._peers.pop(session, None)
        if peer is not None and peer.let_in:
            self._in.pop(peer.uuid, None)
            self._pending[peer.uuid] = None

    monkeypatch.setattr(VpnServer, "_gone", gone)


def no_quirks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machines.BEHAVIOURS, "supervisor-19", frozenset())


def registry_answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def registry(*given: Any) -> Registry:
        return Registry(*given)._replace(latency_ms=0)

    monkeypatch.setattr("scenarios.simulation.conditions.Registry", registry)


CERTIFICATE_SPAN = "scenarios.simulation.device.CERTIFICATE_SPAN_MS"
TAKES_DOWN = "cloud_stub.cloudlink.takes_down"
any_disconnect_counts = setting(TAKES_DOWN, lambda *_, **__: True)
no_stale_disconnect_counts = setting(
    TAKES_DOWN, lambda device, instance, **__: device.managed_by == instance
)

FIELD: list[Mutation] = [
    ("vpn-blocked-by-proxy", "row 8: reduced functionality", without_rung("8")),
    ("vpn-through-http-proxy", "the wait between tries doubles", tries_at_one_pace),
    (
        "vpn-disabled-or-merely-blocked",
        "cloudlink that is switched off is not missed",
        without(observed, "vpn_disabled", lambda _: False),
    ),
    ("supervisor-crashed-or-hung", "the heartbeat window ends", online_until_further_notice),
    (
        "update-lock-manual-test",
        "the override removes the lock",
        setting("agent.update.overrides_locks", lambda _: False),
    ),
    ("forgotten-lock", "locks are on a tmpfs", locks_survive_the_power),
    ("last-reports-lost", "lost reports are sent again", without(Report, "retry")),
    ("power-lost-in-first-download", "finished layers stay", no_layer_stays),
    ("hard-power-cycles", "the engine starts services at boot", without(Board, "power_on")),
    (
        "supervisor-killed-while-downloading",
        "pulls end with the supervisor",
        without(Board, "supervisor_gone"),
    ),
    ("network-flaps-during-boot", "the VPN client tries again", dead_clients),
    ("power-lost-to-the-second", "the heartbeat window ends", online_until_further_notice),
    ("image-missing", "row 7: updating", without_rung("7")),
    ("lock-back-off-and-update", "cancel cuts a sleep", cancel_is_not_heard),
    (
        "moved-to-another-fleet-while-locked",
        "what is left of the old fleet goes",
        left_of_the_old_fleet_stays,
    ),
    ("storage-does-not-persist", "a forgetful card forgets", without(Board, "_forget")),
    (
        "local-mode",
        "the cloud's release is not the device's",
        setting("agent.update.local_mode", lambda _: False),
    ),
    (
        "local-mode",
        "apps are not reported",
        setting("agent.machine.local_mode", lambda _: False),
    ),
    (
        "local-mode-while-downloading",
        "apps are not reported",
        setting("agent.machine.local_mode", lambda _: False),
    ),
    (
        "captive-portal",
        "a portal holds back the VPN",
        setting("scenarios.simulation.links.HELD_BY_PORTAL", frozenset()),
    ),
    ("dns-broken", "names have to be looked up", without(Link, "look_up", lambda *_: (True, 0))),
    ("clock-in-1970", "certificates have a time", setting(CERTIFICATE_SPAN, 10**15)),
    ("clock-jumps-backwards", "certificates have a time", setting(CERTIFICATE_SPAN, 10**15)),
    ("daylight-saving", "an hour does not matter", setting(CERTIFICATE_SPAN, 0)),
    (
        "idle-connections-closed-by-proxy",
        "a proxy closes what is idle",
        without(Tunnels, "_watched"),
    ),
    (
        "nat-drops-state",
        "a NAT forgets what is idle",
        without(Tunnels, "_forgotten", lambda *_: False),
    ),
    (
        "mtu-black-hole",
        "large answers vanish",
        without(exchanges, "_too_large", lambda *_: False),
    ),
    (
        "flaky-lte",
        "lost packets are sent again",
        without(Exchanges, "_trip_ms", lambda *_: 60_000),
    ),
    ("flaky-lte", "TCP stands still now and then", without(Tunnels, "_risked")),
    (
        "flaky-lte",
        "loss leaves little of a rate",
        without(Link, "tcp_bytes_per_second", property(lambda _: None)),
    ),
    ("two-seconds-of-latency", "latency delays", without(Exchanges, "_trip_ms", lambda *_: 20)),
    ("data-cap-reached", "a throttled link is slow for images too", rate_is_not_felt),
    ("daily-wifi-outage", "row 4: disconnected", without_rung("4")),
    ("dhcp-change", "the new address is reported", without(Conditions, "_address_seen")),
    ("dhcp-change", "the old tunnel is dead", without(Tunnels, "address_changed")),
    ("brown-outs-every-minute", "finished layers stay", no_layer_stays),
    ("undervoltage", "the board's voltage is reported", without(Conditions, "undervolt")),
    ("sd-card-full", "a full card takes no image", without(Board, "set_disk")),
    ("sd-card-read-only", "a read-only card keeps nothing", every_write_is_kept),
    (
        "sd-card-read-only",
        "a supervisor that cannot note its target ends",
        without(machines.Machines, "_disk_failed"),
    ),
    ("sd-card-read-only", "it starts again", without(machines.Machines, "_again")),
    ("registry-slow", "the registry takes its time", registry_answers_at_once),
    ("registry-loses-a-blob", "row 7: updating", without_rung("7")),
    ("delta-fails", "deltas are asked for", setting("agent.fetches.delta_updates", lambda _: 0)),
    ("delta-fails", "a delta is tried three times", setting("agent.fetches.DELTA_APPLY_TRIES", 1)),
    (
        "service-variable-changed",
        "another environment is another container",
        without(Box, "fits", lambda self, service: self.image == service.image),
    ),
    (
        "provisioning-cut-at-every-step",
        "a registered device exchanges its key",
        setting("agent.provision.CONFLICT", 0),
    ),
]
CLOUD: list[Mutation] = [
    ("two-vpn-events-out-of-order", "stale disconnects do not count", any_disconnect_counts),
    (
        "vpn-events-late-and-link-slow",
        "a disconnect counts",
        setting(TAKES_DOWN, lambda *_, **__: False),
    ),
    ("vpn-server-killed", "who is killed reports nothing", without(Hosts, "kill", Hosts.stop)),
    ("stale-disconnect", "stale disconnects do not count", any_disconnect_counts),
    ("stale-disconnect", "the fault can be switched on", no_stale_disconnect_counts),
    ("stale-disconnect-of-a-fleet", "stale disconnects do not count", any_disconnect_counts),
    ("vpn-server-restarted", "the VPN client tries again", dead_clients),
    ("api-outage", "failed polls are repeated", polls_give_up),
    ("power-back-everywhere", "polls have a jitter", no_jitter),
    ("api-429-storm", "Retry-After is taken for milliseconds", no_quirks),
    ("api-5xx-storm", "failed polls are repeated", polls_give_up),
    ("cloud-restart", "timers survive", online_until_further_notice),
    ("unconfigured-supervisor", "the pushed interval is applied", interval_is_never_applied),
    ("cloned-device", "sessions of a device are counted", every_end_is_a_disconnect),
]
MUTATIONS = [
    *((f"field/{name}", behaviour, remove) for name, behaviour, remove in FIELD),
    *((f"cloud/{name}", behaviour, remove) for name, behaviour, remove in CLOUD),
]


test_without_the_behaviour_its_scenario_does_not_hold = noticed(MUTATIONS)


def test_every_scenario_of_field_and_cloud_is_tried() -> None:
    assert names_of("field", "cloud") == {name for name, _, _ in MUTATIONS}
