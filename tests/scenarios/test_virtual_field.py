"""The verbs of the field in the virtual lab: portal, address, clone, move, incident and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scenarios.compile import compile_text
from scenarios.errors import InputErrors
from scenarios.virtual import run_virtual
from tests.histories import not_held

if TYPE_CHECKING:
    from scenarios.history import History

HOUR_MS = 3_600_000
BOOT = "at: 0s, do: power_on"


def run(timeline: str, top: str = "") -> History:
    """A run of a few steps, given as YAML flow maps without the list's dash."""
    steps = "\n".join(f"  - {{{line.strip()}}}" for line in timeline.strip().splitlines())
    return run_virtual(compile_text(f"scenario: Test\n{top}\ntimeline:\n{steps}\n"), seed=1)


def values(history: History, field: str, device: str = "device-1", after: int = -1) -> list[Any]:
    """What a field became, in order."""
    found = [c for c in history.changes if c.field == field and c.device == device]
    return [c.new for c in found if c.at_ms > after]


def notes(history: History) -> str:
    return "\n".join(note.text for note in history.notes)


def test_a_captive_portal_holds_the_tunnel_back_until_the_login() -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: captive_portal, state: on\n"
        "at: 2h, do: captive_portal, state: off\nat: 3h, do: end"
    )
    assert values(history, "is_connected_to_vpn", after=HOUR_MS) == [False, True]


def test_images_behind_a_captive_portal_wait() -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: release, commit: r2\n"
        "at: 1h + 2s, do: captive_portal, state: on\nat: 3h, do: end"
    )
    assert "image pull failed: timeout" in notes(history)


def test_a_power_cut_while_the_client_connects_leaves_nobody_connected() -> None:
    cut = "at: boot_time + 50ms, do: power_off"
    history = run(f"{BOOT}\n{cut}\nat: 1h, do: end")
    assert values(history, "is_connected_to_vpn")[-1:] in ([], [False])


def test_a_new_address_is_reported_and_its_old_tunnel_is_replaced_unseen() -> None:
    history = run(f"{BOOT}\nat: 1h, do: dhcp, address: 10.0.0.9\nat: 2h, do: end")
    assert values(history, "ip_address") == ["192.168.1.2", "10.0.0.9"]
    assert values(history, "is_connected_to_vpn", after=HOUR_MS) == []


def test_a_clone_is_the_same_device_to_the_cloud() -> None:
    history = run(
        "at: 0s, do: power_on, on: a\nat: 10m, do: clone, of: a, on: b\n"
        "at: 20m, do: power_on, on: b\nat: 30m, do: power_off, on: a\nat: 2h, do: end",
        "fleet: {names: [a, b]}",
    )
    assert values(history, "overall_status", "b") == ["operational"]
    assert values(history, "api_heartbeat_state", "a") == ["online"]


def test_a_clone_of_nobody_is_a_mistake_with_its_place() -> None:
    with pytest.raises(InputErrors, match="no device is called 'nobody'"):
        run(f"at: 0s, do: clone, of: nobody\n{BOOT}\nat: 1h, do: end")


def test_a_moved_device_runs_the_other_fleet_s_release_and_nothing_of_its_own() -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: move, fleet: y, on: m\nat: 2h, do: end",
        "fleets: {x: {names: [m]}, y: {names: [n], release: {commit: s1, services: [other]}}}",
    )
    assert values(history, "running_release", "m") == ["r1", "s1"]
    assert values(history, "services.main", "m")[-1] is None


def test_a_forgetful_card_comes_back_as_it_was() -> None:
    history = run(
        f"{BOOT}\nat: 10m, do: disk, state: forgets\nat: 20m, do: release, commit: r2\n"
        "at: 1h, do: reboot\nat: 2h, do: end"
    )
    assert values(history, "running_release") == ["r1", "r2", "r1", "r2"]


@pytest.mark.parametrize(("fault", "seen"), [("off", []), ("on", [False])])
def test_a_stale_disconnect_counts_only_with_the_fault_of_2019(fault: str, seen: list[Any]) -> None:
    history = run(
        f'at: 0s, do: incident, name: stale-disconnect, state: "{fault}"\n'
        "at: 0s, do: cloudlink_up, service: A\nat: 1m, do: cloudlink_up, service: B\n"
        "at: 2m, do: cloudlink_down, service: A\nat: 5m, do: end",
        "fleet: {scripted: true}",
    )
    assert values(history, "is_connected_to_vpn", after=60_000) == seen


def test_an_idle_timeout_longer_than_a_ping_closes_nothing() -> None:
    history = run(f"{BOOT}\nat: 10m, do: impair, idle_timeout: 11s\nat: 2h, do: end")
    assert values(history, "is_connected_to_vpn") == [True]


def test_a_wrong_clock_stops_the_tunnel_and_images_too() -> None:
    history = run(
        f"at: 0s, do: firewall, block: ntp\nat: 0s, do: clock, jump: -365d\n{BOOT}\nat: 1h, do: end"
    )
    assert "cloudlink down: tls" in notes(history)
    assert values(history, "is_connected_to_vpn") == []


REFUSED = """
scenario: One of two VPN servers refuses everybody
fleet: {devices: 6}
timeline:
  - {at: 0s, do: vpn_server, name: vpn2, state: up}
  - {at: 1s, do: power_on}
  - {at: 30m, do: vpn_server, name: vpn1, state: error, id: refusing}
  - {at: 40m, do: reboot}
  - {at: 1h, do: end}
expect:
  - eventually: {is_managed_by__service_instance: 1}
    until: refusing
    for: any
  # a refused client is told after 10 s and started again 10 s later
  - always: {is_connected_to_vpn: true, is_managed_by__service_instance: 2}
    from: reboot + reboot_delay + boot_time + 20s + 5s
"""


def test_a_client_that_one_vpn_server_refuses_is_sent_to_the_next() -> None:
    assert not_held(compile_text(REFUSED)) == []
