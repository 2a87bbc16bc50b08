"""The virtual lab: every verb does what it says, and the shortcut changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scenarios.compile import compile_file, compile_text
from scenarios.virtual import World, run_virtual

if TYPE_CHECKING:
    from scenarios.history import History

LIBRARY = sorted((Path(__file__).parents[2] / "scenarios" / "library").rglob("*.scenario.yaml"))


def run(timeline: str, top: str = "", *, seed: int = 1, devices: int | None = None) -> History:
    """A run of a few steps, given as YAML flow maps without the list's dash."""
    steps = "\n".join(f"  - {{{line.strip()}}}" for line in timeline.strip().splitlines())
    text = f"scenario: Test\n{top}\ntimeline:\n{steps}\n"
    return run_virtual(compile_text(text, devices=devices), seed=seed)


def values(history: History, field: str, device: str = "device-1") -> list[Any]:
    """The values a field had, in order, from the start."""
    later = [c.new for c in history.changes if c.device == device and c.field == field]
    return [history.initial[device].get(field), *later]


def since(history: History, field: str, at_ms: int, device: str = "device-1") -> list[Any]:
    """The value of a field at a moment, and those after it."""
    current, later = history.initial[device].get(field), []
    for change in history.changes:
        if change.device == device and change.field == field:
            if change.at_ms <= at_ms:
                current = change.new
            else:
                later.append(change.new)
    return [current, *later]


def notes(history: History) -> str:
    return "\n".join(note.text for note in history.notes)


HOUR_MS = 3_600_000
BOOT = "at: 0s, do: power_on"


# --- the shortcut -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name.split(".")[0])
@pytest.mark.parametrize("devices", [3])
def test_the_shortcut_gives_the_history_of_the_walked_way(path: Path, devices: int) -> None:
    scenario = compile_file(path)
    if len({device.fleet for device in scenario.devices}) == 1:
        # a file that names its devices needs them all
        scenario = compile_file(path, devices=max(devices, len(scenario.devices)))
    short, long = (World(scenario, seed=5, shortcut=shortcut).run() for shortcut in (True, False))
    assert list(short.changes) == list(long.changes)
    assert short.notes == long.notes
    assert short.heartbeats == long.heartbeats
    assert short.marks == long.marks


def test_the_shortcut_is_taken() -> None:
    scenario = compile_text(f"scenario: Test\ntimeline: [{{{BOOT}}}, {{at: 4h, do: end}}]")
    world = World(scenario, seed=1)
    world.run()
    assert world.cloudside.quick_heartbeats > 3


# --- verbs --------------------------------------------------------------------------------------


def test_a_reboot_brings_the_device_back_without_losing_its_heartbeat() -> None:
    history = run(f"{BOOT}\nat: 1h, do: reboot\nat: 2h, do: end")
    assert since(history, "api_heartbeat_state", HOUR_MS) == ["online"]
    assert since(history, "is_connected_to_vpn", HOUR_MS) == [True, False, True]


@pytest.mark.parametrize(
    "step", ["do: reboot", "do: service, name: main, state: restart"], ids=["reboot", "restart"]
)
def test_a_start_of_the_application_begins_the_update_status_duration_anew(step: str) -> None:
    history = run(f"{BOOT}\nat: 1h, {step}\nat: 2h, do: end")
    before, *after = since(history, "last_update_status_event", HOUR_MS)
    assert before < HOUR_MS < after[-1] < HOUR_MS + 120_000
    assert since(history, "update_status", HOUR_MS) == ["done"]


@pytest.mark.parametrize(("mode", "reason"), [("drop", "timeout"), ("reject", "refused")])
def test_a_dropped_packet_times_out_and_a_rejected_one_is_refused(mode: str, reason: str) -> None:
    history = run(f"{BOOT}\nat: 1h, do: firewall, block: api, mode: {mode}\nat: 2h, do: end")
    assert f"poll failed: {reason}" in notes(history)


def test_dns_that_fails_takes_the_api_away() -> None:
    history = run(f"{BOOT}\nat: 1h, do: dns, state: down\nat: 3h, do: end")
    assert "poll failed: dns" in notes(history)
    assert since(history, "api_heartbeat_state", HOUR_MS) == ["online", "timeout", "offline"]
    assert since(history, "is_connected_to_vpn", HOUR_MS) == [True], "an open tunnel needs no name"


def test_a_captive_portal_answers_polls_with_html() -> None:
    history = run(f"{BOOT}\nat: 1h, do: captive_portal, state: on\nat: 3h, do: end")
    assert "poll failed: the answer is no JSON object" in notes(history)
    assert since(history, "api_heartbeat_state", HOUR_MS)[-1] == "offline"


@pytest.mark.parametrize(
    ("state", "reason"), [("down", "refused"), ("hang", "timeout"), ("error", "HTTP 503")]
)
def test_a_failing_api_is_seen_as_it_fails(state: str, reason: str) -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: api, state: {state}\nat: 2h, do: api, state: up\nat: 3h, do: end"
    )
    assert f"poll failed: {reason}" in notes(history)
    assert since(history, "api_heartbeat_state", 2 * HOUR_MS)[-1] == "online"


def test_timers_survive_a_restart_of_the_cloud_and_nobody_flaps() -> None:
    history = run(f"{BOOT}\nat: 1h, do: cloud_restart, down_for: 3m\nat: 3h, do: end")
    assert since(history, "api_heartbeat_state", HOUR_MS) == ["online"]
    assert since(history, "overall_status", HOUR_MS) == ["operational"]


def test_an_outage_longer_than_the_window_ends_in_timeout_when_the_cloud_is_back() -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: power_off\nat: 1h1m, do: cloud_restart, down_for: 1h\nat: 3h, do: end"
    )
    changes = [
        (change.at_ms, change.new)
        for change in history.changes
        if change.field == "api_heartbeat_state" and change.at_ms > HOUR_MS
    ]
    back_ms = 2 * HOUR_MS + 60_000
    assert changes == [(back_ms, "timeout"), (back_ms + 15_000, "offline")]


@pytest.mark.parametrize(("state", "down_after_ms"), [("killed", None), ("down", 5_000)])
def test_a_vpn_server_that_stops_reports_and_one_that_is_killed_does_not(
    state: str, down_after_ms: int | None
) -> None:
    history = run(f"{BOOT}\nat: 1h, do: vpn_server, state: {state}\nat: 1h10m, do: end")
    seen = since(history, "is_connected_to_vpn", HOUR_MS)
    assert seen == ([True, False] if down_after_ms else [True])


def test_a_second_vpn_server_takes_over_from_a_killed_one() -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: vpn_server, name: vpn2, state: up\n"
        "at: 1h1m, do: vpn_server, name: vpn1, state: killed\nat: 2h, do: end"
    )
    assert since(history, "is_managed_by__service_instance", HOUR_MS)[-1] == 2
    assert since(history, "is_connected_to_vpn", HOUR_MS) == [True]


def test_a_slow_registry_slows_a_download_and_a_broken_one_stops_it() -> None:
    release = "at: 10m, do: release, commit: r2"
    slow = run(f"{BOOT}\nat: 5m, do: impair, rate: 1mbit\n{release}\nat: 20m, do: end")
    fast = run(f"{BOOT}\n{release}\nat: 20m, do: end")
    broken = run(f"{BOOT}\nat: 5m, do: registry, state: error\n{release}\nat: 20m, do: end")
    done = [
        next(c.at_ms for c in h.changes if c.field == "running_release" and c.new == "r2")
        for h in (fast, slow)
    ]
    assert done[1] - done[0] > 100_000
    assert values(broken, "update_status")[-1] == "downloading"
    assert "image pull failed: HTTP 503" in notes(broken)


def test_a_full_disk_keeps_the_update_downloading() -> None:
    history = run(
        f"{BOOT}\nat: 5m, do: disk, state: full\nat: 10m, do: release, commit: r2\nat: 20m, do: end"
    )
    assert values(history, "update_status")[-1] == "downloading"
    assert "no space left" in notes(history)


def test_undervoltage_is_reported_at_once() -> None:
    history = run(f"{BOOT}\nat: 10m, do: undervolt, state: on\nat: 11m, do: end")
    assert values(history, "is_undervolted") == [None, False, True]


def test_undervoltage_outlives_a_reboot_on_the_same_supply() -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: undervolt, state: 'on'\nat: 2h, do: reboot\nat: 3h, do: end"
    )
    assert since(history, "is_undervolted", HOUR_MS)[-1] is True


def test_a_crashed_service_is_started_again_by_the_engine() -> None:
    history = run(f"{BOOT}\nat: 10m, do: service, name: main, state: crash\nat: 20m, do: end")
    assert values(history, "services.main")[-1] == "Running"


def test_a_service_that_exited_is_shown_so_and_the_update_stays_done() -> None:
    history = run(f"{BOOT}\nat: 10m, do: service, name: main, state: exit\nat: 20m, do: end")
    assert values(history, "services.main")[-1] == "exited"
    assert values(history, "update_status")[-1] == "done"


@pytest.mark.parametrize("state", ["stop", "hang"])
def test_without_its_supervisor_a_device_keeps_its_cloudlink(state: str) -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: supervisor, state: {state}\nat: 2h, do: supervisor, state: start\n"
        "at: 3h, do: end"
    )
    assert since(history, "api_heartbeat_state", HOUR_MS) == [
        "online",
        "timeout",
        "offline",
        "online",
    ]
    assert since(history, "is_connected_to_vpn", HOUR_MS)[0] is True


def test_a_clock_in_1970_breaks_tls_until_ntp_gets_through() -> None:
    history = run(
        f"{BOOT}\nat: 30m, do: firewall, block: ntp\nat: 1h, do: clock, set: 1970-01-01T00:00:00Z\n"
        "at: 2h, do: firewall, allow: ntp\nat: 3h, do: end"
    )
    assert "poll failed: tls" in notes(history)
    assert since(history, "api_heartbeat_state", HOUR_MS) == [
        "online",
        "timeout",
        "offline",
        "online",
    ]


@pytest.mark.parametrize("behaviour", ["documented", "supervisor-19"])
@pytest.mark.parametrize(
    "strategy", ["download-then-kill", "kill-then-download", "delete-then-download", "hand-over"]
)
def test_every_strategy_ends_on_the_new_release(strategy: str, behaviour: str) -> None:
    history = run(
        f"{BOOT}\n"
        f"at: 10m, do: release, commit: r2, services: {{main: {{size: 40 MB, "
        f"strategy: {strategy}}}}}\n"
        "at: 30m, do: end",
        f"fleet: {{behaviour: {behaviour}}}",
    )
    assert values(history, "running_release")[-1] == "r2"
    assert values(history, "update_status")[-1] == "done"
    assert values(history, "services.main")[-1] == "Running"


def test_a_hand_over_waits_for_the_file_its_service_writes() -> None:
    services = "{main: {strategy: hand-over, handover_timeout: 10m}}"
    release = f"at: 10m, do: release, commit: r2, services: {services}"
    quick = run(
        f"{BOOT}\n{release}\nat: 11m, do: handover_complete, service: main\nat: 30m, do: end"
    )
    slow = run(f"{BOOT}\n{release}\nat: 30m, do: end")
    done = [
        next(c.at_ms for c in h.changes if c.field == "running_release" and c.new == "r2")
        for h in (quick, slow)
    ]
    assert done[1] - done[0] > 300_000


def test_an_unmet_contract_is_rejected() -> None:
    services = "{main: {requires: ['sw.supervisor >=99']}}"
    history = run(
        f"{BOOT}\nat: 10m, do: release, commit: r2, services: {services}\nat: 30m, do: end"
    )
    assert values(history, "update_status")[-1] == "rejected"
    assert values(history, "running_release")[-1] == "r1"


def test_a_pinned_device_keeps_its_release() -> None:
    history = run(
        f"{BOOT}\nat: 10m, do: pin, commit: r1\nat: 20m, do: release, commit: r2\n"
        f"at: 40m, do: pin, commit: latest\n"
        "at: 1h, do: end"
    )
    moved = next(c.at_ms for c in history.changes if c.field == "running_release" and c.new == "r2")
    assert moved > 40 * 60_000


def test_an_os_update_shows_its_steps_in_parentheses_and_ends_on_the_new_version() -> None:
    history = run(f"{BOOT}\nat: 10m, do: os_update, version: balenaOS 6.5.0\nat: 1h, do: end")
    shown = values(history, "status_display")
    assert any(str(text).startswith("Configuring (") for text in shown)
    assert values(history, "os_version")[-1] == "balenaOS 6.5.0"
    assert values(history, "overall_status")[-1] == "operational"


def test_a_fresh_device_registers_downloads_and_becomes_operational() -> None:
    history = run(f"{BOOT}\nat: 1h, do: end", "fleet: {fresh: true}\nlinks: {registry_rate: 2mbit}")
    assert values(history, "overall_status")[-1] == "operational"
    assert "downloading" in values(history, "update_status")
    assert values(history, "running_release")[-1] == "r1"


def test_a_flashed_device_is_post_provisioning_until_it_boots_from_its_own_disk() -> None:
    history = run(
        "at: 0s, do: post_provision\nat: 30m, do: power_on\nat: 1h, do: end",
        "fleet: {fresh: true}",
    )
    shown = values(history, "overall_status")
    assert "post-provisioning" in shown
    assert shown[-1] == "operational"


@pytest.mark.parametrize(
    ("standing", "status"),
    [("frozen", "frozen"), ("deactivated", "inactive")],
)
def test_what_people_do_to_the_account_is_shown(standing: str, status: str) -> None:
    history = run(f"{BOOT}\nat: 1h, do: account, set: {standing}\nat: 1h1m, do: end")
    assert since(history, "overall_status", HOUR_MS + 1)[0] == status


def test_a_thawed_device_comes_back() -> None:
    history = run(
        f"{BOOT}\nat: 1h, do: account, set: frozen\nat: 2h, do: account, set: thawed\n"
        f"at: 3h, do: end"
    )
    assert values(history, "overall_status")[-1] == "operational"


def test_a_deleted_device_polls_on_and_is_refused_its_tunnel() -> None:
    history = run(f"{BOOT}\nat: 1h, do: account, set: deleted\nat: 3h, do: end")
    assert values(history, "deleted")[-1] is True
    assert "state report failed" not in notes(history)


@pytest.mark.parametrize("name", ["reboot", "restart", "purge", "update", "blink", "shutdown"])
def test_actions_go_through_cloudlink(name: str) -> None:
    good = run(f"{BOOT}\nat: 1h, do: action, name: {name}, expect: ok\nat: 2h, do: end")
    assert not good.unmet
    refused = run(
        f"{BOOT}\nat: 30m, do: firewall, block: vpn\n"
        f"at: 1h, do: action, name: {name}, expect: 404\n"
        "at: 2h, do: end"
    )
    assert not refused.unmet
    wrong = run(f"{BOOT}\nat: 1h, do: action, name: {name}, expect: 418\nat: 2h, do: end")
    assert len(wrong.unmet) == 1


def test_an_action_without_an_answer_is_unmet() -> None:
    history = run(f"{BOOT}\nat: 1h, do: action, name: restart, expect: ok\nat: 1h, do: end")
    assert len(history.unmet) == 1
    assert "no answer" in history.unmet[0].text


def test_a_lossy_slow_link_keeps_the_device_operational() -> None:
    history = run(
        f"{BOOT}\nat: 10m, do: impair, latency: 2s, jitter: 500ms, loss: 20%\nat: 6h, do: end"
    )
    assert since(history, "api_heartbeat_state", 600_000) == ["online"]


def test_a_scripted_device_does_only_what_the_steps_say() -> None:
    history = run(
        "at: 0s, do: heartbeat\nat: 1m, do: cloudlink_up\nat: 2m, do: cloudlink_down\n"
        "at: 3m, do: report, body: {status: Idle, provisioning_state: ''}\nat: 1h, do: end",
        "fleet: {scripted: true}",
    )
    assert values(history, "is_connected_to_vpn") == [False, True, False]
    assert values(history, "status")[-1] == "Idle"
    window = [(c.at_ms, c.new) for c in history.changes if c.field == "api_heartbeat_state"]
    assert window == [(0, "online"), (900_000, "timeout"), (915_000, "offline")]
    assert history.heartbeats == 1


def test_a_poll_interval_pushed_by_the_fleet_moves_the_window_and_the_polls() -> None:
    name = "RESIN_SUPERVISOR_POLL_INTERVAL"
    history = run(
        f"{BOOT}\nat: 1h, do: config, level: fleet, name: {name}, value: '3600000'\n"
        "at: 12h, do: power_off\nat: 16h, do: end"
    )
    off = 12 * HOUR_MS
    timeout = next(c.at_ms for c in history.changes if c.new == "timeout" and c.at_ms > off)
    assert 1_800_000 - 60_000 <= timeout - off <= 5_400_000
    assert since(history, "api_heartbeat_state", 2 * HOUR_MS)[:2] == ["online", "timeout"]


def test_a_seed_gives_every_device_a_life_of_its_own() -> None:
    history = run(f"{BOOT}\nat: 1h, do: power_off\nat: 3h, do: end", devices=20)
    times = {
        change.at_ms
        for change in history.changes
        if change.field == "api_heartbeat_state" and change.new == "timeout"
    }
    assert len(times) == 20


def test_a_stuck_vpn_server_is_noticed_by_its_clients_and_not_by_the_api() -> None:
    stuck = "at: 1h, do: vpn_server, state: hang\nat: 1h10m, do: vpn_server, state: up"
    history = run(f"{BOOT}\n{stuck}\nat: 2h, do: end")
    assert "no ping from the server" in notes(history)
    seen = [c for c in history.changes if c.field == "is_connected_to_vpn" and c.at_ms > HOUR_MS]
    assert all(change.at_ms >= HOUR_MS + 600_000 for change in seen)
    assert values(history, "is_connected_to_vpn")[-1] is True


def test_the_next_connection_goes_past_a_vpn_server_that_hangs() -> None:
    """A stuck process has a kernel that accepts: its turn is over when the client gives up."""
    second = "do: vpn_server, name: vpn2, state:"
    hanging = f"at: 1h, {second} up\nat: 61m, {second} hang"
    history = run(f"{BOOT}\n{hanging}\nat: 62m, do: reboot\nat: 2h, do: end")
    assert since(history, "is_connected_to_vpn", HOUR_MS) == [True, False, True]
    assert since(history, "is_managed_by__service_instance", HOUR_MS)[-1] == 1
    (up,) = [
        c
        for c in history.changes
        if c.field == "is_connected_to_vpn" and c.new and c.at_ms > HOUR_MS
    ]
    # the time-out of a try to connect
    assert up.at_ms >= 62 * 60_000 + 120_000


def test_a_vpn_server_that_refuses_log_ins_keeps_the_tunnels_it_has() -> None:
    refusing = "at: 1h, do: vpn_server, state: error"
    history = run(f"{BOOT}\n{refusing}\nat: 2h, do: reboot\nat: 3h, do: end")
    assert since(history, "is_connected_to_vpn", HOUR_MS) == [True, False]
    assert "refused this device's key" in notes(history)


def test_a_share_of_a_fault_hits_some_requests_and_not_all() -> None:
    fault = "at: 1h, do: api, state: error, status: 500, share: 50%"
    history = run(f"{BOOT}\n{fault}\nat: 1d, do: end")
    failures = sum(note.text.startswith("poll failed: HTTP 500") for note in history.notes)
    assert 10 < failures < 100
    assert history.heartbeats > 50


def test_slow_names_and_a_slow_registry_only_take_longer() -> None:
    slow = "at: 5m, do: dns, latency: 3s\nat: 5m, do: registry, latency: 30s"
    release = "at: 1h, do: release, commit: r2"
    fast = run(f"{BOOT}\n{release}\nat: 2h, do: end")
    late = run(f"{BOOT}\n{slow}\n{release}\nat: 2h, do: end")
    done = [
        next(c.at_ms for c in h.changes if c.field == "running_release" and c.new == "r2")
        for h in (fast, late)
    ]
    assert 25_000 <= done[1] - done[0] < 60_000
    assert since(late, "api_heartbeat_state", HOUR_MS) == ["online"]
