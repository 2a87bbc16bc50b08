"""Faults that scenarios of status, connectivity, os, provisioning and account must notice.

``test_mutations`` tries them one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent import actions, machine, report, update
from agent import poll as polls
from agent.provision import Provision
from cloud_stub import cloudlink, commands, heartbeat, routes, target_state
from cloud_stub import model as rows
from cloud_stub import observe as observed
from cloud_stub import report as reports
from cloud_stub import variables as variables_of
from cloud_stub.heartbeat import Tracker
from cloud_stub.state import State
from cloud_stub.status import HeartbeatState
from scenarios.simulation.links import Fate, Link
from scenarios.simulation.tunnels import Tunnels
from tests.mutating import Patch, around, rung_before, without, without_rung

if TYPE_CHECKING:
    import pytest


def _timeout_left_out(original: Any, tracker: Any, device: Any, *, now_ms: int) -> None:
    original(tracker, device, now_ms=now_ms)
    if device.heartbeat is HeartbeatState.TIMEOUT:
        device.heartbeat, device.heartbeat_due_ms = HeartbeatState.OFFLINE, -1


def _old_timer_goes_on(original: Any, tracker: Any, device: Any, *, now_ms: int) -> None:
    due_ms = device.heartbeat_due_ms
    in_timeout = device.heartbeat is HeartbeatState.TIMEOUT
    original(tracker, device, now_ms=now_ms)
    if in_timeout:
        tracker._arm(device, due_ms)


def _timeout_counts_as_heartbeat(original: Any, inputs: Any) -> Any:
    if inputs.heartbeat is HeartbeatState.TIMEOUT:
        inputs = inputs._replace(heartbeat=HeartbeatState.ONLINE)
    return original(inputs)


def _connect_counts_as_heartbeat(original: Any, instance: int) -> Any:
    return {**original(instance), "api_heartbeat_state": HeartbeatState.ONLINE}


def _api_is_open(original: Any, link: Any, channel: Any, *, outward: bool) -> Fate:
    return Fate.PASS if channel == "api" else original(link, channel, outward=outward)


def _called_without_cloudlink(
    original: Any, state: Any, request: Any, *rest: Any, **given: Any
) -> Any:
    device = state.devices[request.body["uuid"]]
    before, device.is_connected_to_vpn = device.is_connected_to_vpn, True
    try:
        return original(state, request, *rest, **given)
    finally:
        device.is_connected_to_vpn = before


def _fleet_before_device(device: Any) -> dict[str, str]:
    return {**device.variables, **device.fleet.variables}


def _fleet_disables_vpn(device: Any) -> bool:
    both = _fleet_before_device(device)
    return any(both.get(name) == "false" for name in variables_of.VPN_CONTROL)


def _window_moves_at_once(original: Any, device: Any) -> None:
    original(device)
    if device.heartbeat_due_ms >= 0:
        device.heartbeat_due_ms += 15 * 60_000


def never_cleared(original: Any, config: Any) -> Any:
    fields = dict(original(config))
    del fields["provisioning_state"], fields["provisioning_progress"]
    return fields


def ever_longer_waits(original: Any, provision: Any, ctx: Any, reason: str, *, now_ms: int) -> None:
    original(provision, ctx, reason, now_ms=now_ms)
    provision.next_ms = now_ms + ctx.config.bootstrap_retry_ms * provision.failures


def frozen_is_let_in(
    original: Any, state: Any, request: Any, uuid: str, *rest: Any, **given: Any
) -> Any:
    device = state.devices.get(uuid)
    if device is None or not device.is_frozen:
        return original(state, request, uuid, *rest, **given)
    device.is_frozen = False
    try:
        return original(state, request, uuid, *rest, **given)
    finally:
        device.is_frozen = True


def anybody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(caller: Any, uuid: str) -> Any:
        del uuid
        return caller.device

    monkeypatch.setattr(reports, "own_device", own)


def reboots_leave_the_row(original: Any, state: Any, device: Any) -> None:
    original(state, device)
    state.devices[device.uuid] = device


FAULTS: list[tuple[str, str, Patch]] = [
    # --- status ---
    ("status/eight-statuses", "row 0: frozen", without_rung("0")),
    ("status/eight-statuses", "row 2: post-provisioning", without_rung("2")),
    ("status/eight-statuses", "row 7: updating", without_rung("7")),
    (
        "status/heartbeat-timeout",
        "timeout comes before offline",
        around(Tracker, "expire", _timeout_left_out),
    ),
    (
        "status/heartbeat-timeout",
        "a heartbeat in timeout cancels what was armed",
        around(Tracker, "beat", _old_timer_goes_on),
    ),
    ("status/heartbeat-timeout", "row 8: reduced functionality", without_rung("8")),
    ("status/configuring-in-open-balena", "row 3: configuring", without_rung("3")),
    (
        "status/clean-shutdown",
        "the VPN client says goodbye",
        around(Tunnels, "close", lambda _, tunnels, device: tunnels.cut(device)),
    ),
    ("status/clean-shutdown", "row 4: disconnected", without_rung("4")),
    # --- connectivity ---
    (
        "connectivity/both-links-in-every-combination",
        "a heartbeat in timeout is missing",
        around(observed, "connectivity", _timeout_counts_as_heartbeat),
    ),
    (
        "connectivity/both-links-in-every-combination",
        "a connect is no heartbeat",
        around(cloudlink, "connected", _connect_counts_as_heartbeat),
    ),
    ("connectivity/both-links-in-every-combination", "row 3: configuring", without_rung("3")),
    (
        "connectivity/cloudlink-only-keeps-its-configuration",
        "the device obeys what it is told",
        without(machine, "vpn_enabled", lambda _: True),
    ),
    (
        "connectivity/cloudlink-only-keeps-its-configuration",
        "a firewall keeps the device from the API",
        around(Link, "fate", _api_is_open),
    ),
    (
        "connectivity/cloudlink-only-no-local-mode",
        "in local mode releases are not applied",
        without(update, "local_mode", lambda _: False),
    ),
    (
        "connectivity/cloudlink-only-no-local-mode",
        "a restart reaches the device through cloudlink",
        without(Tunnels, "call_device"),
    ),
    (
        "connectivity/heartbeat-only-refuses-every-action",
        "without cloudlink a device is not called",
        around(routes, "_call_device", _called_without_cloudlink),
    ),
    (
        "connectivity/heartbeat-only-refuses-every-action",
        "a restart recreates the containers",
        without(actions.Actions, "moved_on"),
    ),
    (
        "connectivity/vpn-disabled-by-fleet",
        "the device's VPN control wins in the status",
        without(observed, "vpn_disabled", _fleet_disables_vpn),
    ),
    (
        "connectivity/vpn-disabled-by-fleet",
        "the device's VPN control wins in the target state",
        without(target_state, "effective", _fleet_before_device),
    ),
    ("connectivity/vpn-disabled-heartbeat-missing", "row 4: disconnected", without_rung("4")),
    (
        "connectivity/vpn-disabled-heartbeat-missing",
        "cloudlink that is switched off is not missed",
        without(observed, "vpn_disabled", lambda _: False),
    ),
    (
        "connectivity/short-network-loss",
        "the window is longer than the poll interval",
        without(heartbeat, "window_ms", lambda poll_ms, _: poll_ms),
    ),
    (
        "connectivity/poll-interval-changed",
        "the window follows the interval",
        without(
            heartbeat, "poll_interval_ms", lambda _, settings: settings.default_poll_interval_ms
        ),
    ),
    (
        "connectivity/poll-interval-changed",
        "the device polls by the interval it is told",
        without(polls, "poll_interval_ms", lambda *_: 600_000),
    ),
    (
        "connectivity/poll-interval-window",
        "the device's interval wins over its fleet's",
        without(heartbeat, "effective", _fleet_before_device),
    ),
    (
        "connectivity/poll-interval-window",
        "the cloud's default is the least",
        around(
            heartbeat,
            "poll_interval_ms",
            lambda _, found, settings: int(
                found.get(variables_of.POLL_INTERVAL, settings.default_poll_interval_ms)
            ),
        ),
    ),
    (
        "connectivity/poll-interval-window",
        "the window moves at the next heartbeat, not before",
        around(rows.Device, "target_changed", _window_moves_at_once),
    ),
    (
        "connectivity/poll-interval-window",
        "the BALENA_ spelling moves no window",
        around(
            heartbeat,
            "poll_interval_ms",
            lambda original, found, settings: original(
                {name.replace("BALENA_", "RESIN_"): value for name, value in found.items()},
                settings,
            ),
        ),
    ),
    # --- os ---
    ("os/upgrade", "row 6: configuring", without_rung("6")),
    (
        "os/upgrade",
        "the stage stands in parentheses",
        without(observed, "display", lambda status, _: status.value.title()),
    ),
    (
        "os/upgrade",
        "the first report after the boot takes the stage away",
        around(report, "fixed_fields", never_cleared),
    ),
    ("os/upgrade-interrupted", "row 4: disconnected", without_rung("4")),
    (
        "os/upgrade-interrupted",
        "the first report after the boot takes the stage away",
        around(report, "fixed_fields", never_cleared),
    ),
    ("os/upgrade-and-release", "row 6 stands above row 7", rung_before("7", "6")),
    ("os/upgrade-cloudlink-only", "row 6 stands above row 8", rung_before("8", "6")),
    # --- provisioning ---
    ("provisioning/post-provisioning", "row 2: post-provisioning", without_rung("2")),
    ("provisioning/post-provisioning", "row 1: inactive", without_rung("1")),
    (
        "provisioning/preregistered",
        "a tunnel is no contact with the API",
        around(cloudlink, "connected", lambda original, i: {**original(i), "is_active": True}),
    ),
    ("provisioning/preregistered", "row 1: inactive", without_rung("1")),
    (
        "provisioning/with-a-provisioning-key",
        "the device registers",
        without(Provision, "_register"),
    ),
    (
        "provisioning/api-down-at-first-boot",
        "the wait between two tries does not grow",
        around(Provision, "_retry", ever_longer_waits),
    ),
    # --- account ---
    ("account/deactivated", "row 1: inactive", without_rung("1")),
    ("account/deactivated", "a contact makes a device active again", without(State, "contact")),
    ("account/deactivated-while-connected", "row 1 stands above all links", rung_before("9", "1")),
    ("account/deactivated-while-connected", "a report is a contact", without(State, "contact")),
    ("account/frozen-and-thawed", "row 0: frozen", without_rung("0")),
    (
        "account/frozen-and-thawed",
        "a frozen device's poll is no heartbeat",
        around(routes, "_get_state", frozen_is_let_in),
    ),
    ("account/deleted", "a deleted device's report is refused", anybody_is_let_in),
    (
        "account/deleted",
        "a deleted device is gone",
        around(commands, "_delete", reboots_leave_the_row),
    ),
]
"""Scenario, the behaviour that is taken away, and how."""
