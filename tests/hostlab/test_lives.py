"""The host lab's other verbs: first boots, clocks, upgrades, fleets, raw primitives.

One run for each theme, all begun together: they mostly wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.daemon.boxes import START_LABEL
from scenarios.compile import compile_text
from scenarios.hostlab.fleets import ways_of
from scenarios.pulls import Times
from scenarios.verbs.updates import ReleaseService
from tests.histories import not_held
from tests.hostlab.lab import Run, at_once, needs_host

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK = """
scenario: A wrong clock
cloud: {poll_interval: 1m}
fleet: {devices: 2}
timeline:
  - {at: 0s, do: power_on}
  - {at: 5m, do: firewall, block: ntp}
  - {at: 6m, do: clock, jump: -365d, on: device-1, id: jumped}
  - {at: 6m, do: clock, jump: 1h, on: device-2}
  - {at: 15m, do: firewall, allow: ntp, id: open}
  - {at: 23m, do: end}
expect:
  - eventually: {overall_status: operational}
    after: power_on
    within: 5m
  - eventually: {connectivity: Cloudlink Only}
    after: jumped
    within: 5m
    for: device-1
  - always: {is_connected_to_vpn: true}
    from: jumped
  - eventually: {overall_status: operational}
    after: jumped + 4m
    within: 3m
    for: device-2
  - eventually: {overall_status: operational}
    after: open
    within: 6m
    for: device-1
"""
BOOT = """
scenario: First boots and an upgrade
cloud: {poll_interval: 1m}
fleets:
  fresh: {names: [own, pre], fresh: true}
  known: {names: [flashed]}
timeline:
  - {at: 1m, do: provision, release: r1, on: own}
  - {at: 1m, do: preregister, on: pre}
  - {at: 1m, do: post_provision, flash_time: 1m, on: flashed, id: flash}
  - {at: 4m, do: power_on}
  - {at: 11m, do: os_update, version: balenaOS 6.3.0, id: upgrade, on: flashed}
  - {at: 26m, do: end}
expect:
  - always: {is_active: null}
    until: power_on - 1s
    for: own
  - always: {overall_status: inactive}
    from: preregister + 20s
    until: power_on - 1s
    for: pre
  - eventually: {overall_status: configuring}
    after: flash
    within: 1m
    for: flashed
  - eventually: {overall_status: post-provisioning, provisioning_state: Post-Provisioning}
    after: flash
    within: 2m
    for: flashed
  - eventually: {overall_status: operational, running_release: r1}
    after: power_on
    within: 6m
  - eventually: {overall_status: configuring, provisioning_state: OS update in progress}
    after: upgrade
    within: 1m
    for: flashed
  - eventually: {overall_status: operational, os_version: balenaOS 6.3.0}
    after: upgrade
    within: 14m
    for: flashed
"""
SCRIPTED = """
scenario: Raw primitives
fleet: {scripted: true}
timeline:
  - {at: 1m, do: heartbeat}
  - {at: 2m, do: cloudlink_up}
  - at: 4m
    do: report
    id: reported
    body: {apps: {$APP: {releases: {r1: {update_status: downloading}}}}}
  - {at: 8m, do: cloudlink_down, id: down}
  - {at: 9m, do: end}
expect:
  - eventually: {api_heartbeat_state: online}
    after: heartbeat
    within: 10s
  - always: {is_connected_to_vpn: true}
    from: cloudlink_up + 10s
    until: down - 1s
  - always: {update_status: downloading, last_update_status_event: reported}
    from: reported + 10s
  - always: {is_connected_to_vpn: false}
    from: down + 10s
"""
FLEETS = """
scenario: Fleets, variables and disks
cloud: {poll_interval: 1m}
fleets:
  first: {names: [mover, copy]}
  second: {names: [settled], release: {commit: s1, services: [other]}}
timeline:
  - {at: 0s, do: power_on, on: [mover, settled]}
  # before the first report of mere readings, 5 min after the boot's: for 10 s none may follow it
  - {at: 4m, do: environment, name: SPEED, value: fast, service: main, on: mover, id: changed}
  - {at: 9m, do: lock, state: hold, service: main, on: mover}
  - {at: 10m, do: move, fleet: second, on: mover, id: moved}
  - {at: 16m, do: action, name: reboot, expect: 423, on: mover}
  - {at: 10m, do: disk, state: forgets, on: settled}
  - at: 12m
    do: release
    fleet: second
    commit: s2
    services: {other: {size: 1 MB, requires: sw.supervisor >=99}}
    id: unfit
  - {at: 17m, do: release, fleet: second, commit: s3, services: [other], id: released}
  - {at: 22m, do: power_off, on: [mover, settled], id: cut}
  - {at: 23m, do: clone, of: mover, on: copy}
  - {at: 24m, do: power_on, on: [copy, settled], id: again}
  - {at: 31m, do: end}
expect:
  - eventually: {overall_status: operational, running_release: r1}
    after: power_on
    within: 5m
    for: mover
  - eventually: {update_status: applying changes}
    after: changed
    within: 2m
    for: mover
  - eventually: {running_release: s1, services.other: Running}
    after: moved
    within: 4m
    for: mover
  - eventually: {update_status: rejected, running_release: s1}
    after: unfit
    within: 4m
    for: settled
  - eventually: {running_release: s3, update_status: done}
    after: released
    within: 5m
    for: [mover, settled]
  - eventually: {running_release: s1}
    after: again
    within: 6m
    for: settled
  - eventually: {overall_status: operational, running_release: s3}
    after: again
    within: 6m
    for: [mover, copy]
"""
SERVICES = """
scenario: A restarted API, a closing proxy, a service that ends
cloud: {poll_interval: 1m}
fleet: {release: {commit: r1, services: {main: {start_time: 40s, stop_time: 8s}, side: {}}}}
timeline:
  - {at: 0s, do: power_on}
  - {at: 6m, do: service, name: side, state: exit, id: ended}
  - {at: 8m, do: environment, name: SPEED, value: fast, service: main, id: changed}
  - {at: 12m, do: cloud_restart, down_for: 4m, id: restarted}
  - {at: 20m, do: impair, idle_timeout: 4s, id: placed}
  - {at: 22m, do: impair, clear: true, id: removed}
  - {at: 27m, do: end}
expect:
  - eventually: {overall_status: operational, services.side: Running}
    after: power_on
    within: 5m
  - eventually: {services.side: exited}
    after: ended
    within: 1m
  # it takes 8 s to stop and 40 s to start
  - eventually: {update_status: applying changes}
    after: changed
    within: 40s
  - always: {update_status: applying changes}
    from: changed + 25s
    until: changed + 45s
  - always: {is_connected_to_vpn: true}
    from: 6m
    until: placed - 1s
  - eventually: {api_heartbeat_state: [timeout, offline]}
    after: restarted + 4m - 1s
    within: 3s
  - eventually: {overall_status: operational}
    after: restarted + 4m
    within: 3m
  - measure: entered(is_connected_to_vpn, false) >= 3
    after: placed
    until: removed
  - eventually: {overall_status: operational}
    after: removed
    within: 4m
  - always: {services.side: exited}
    from: ended + 1m
"""
TRAFFIC = """
scenario: What is counted at the API
cloud: {poll_interval: 2m}
fleet: {names: [plain, moved]}
timeline:
  - {at: 0s, do: power_on}
  - {at: 6m, do: firewall, block: api, on: plain, id: blocked}
  - {at: 6m, do: dhcp, address: 10.77.0.9, on: moved}
  - {at: 12m, do: firewall, allow: api, on: plain, id: open}
  - {at: 16m, do: release, commit: r2, services: {main: {size: 3 MB}}, id: released}
  - {at: 21m, do: power_off, id: cut}
  - {at: 24m, do: end}
expect:
  - measure: heartbeats >= 2
    until: blocked
  - measure: heartbeats <= 8
    until: blocked
  # a try that no answer came to is none that arrived
  - measure: requests == 0
    after: blocked + 10s
    until: open
    for: plain
  - measure: bytes_received == 0
    after: blocked + 10s
    until: open
    for: plain
  - measure: heartbeats >= 2
    after: blocked + 1m
    until: open
    for: moved
  - measure: requests >= 2
    after: blocked + 1m
    until: open
    for: moved
  - measure: total(heartbeats) >= 2
    after: open
    until: released
  - measure: bytes_received >= 3 MB
    after: released
    until: cut
  - measure: bytes_received < 3.1 MB
    after: released
    until: cut
  - measure: bytes_sent > 2 kB
    until: cut
  - measure: bytes_sent < 60 kB
    until: cut
  - measure: peak_heartbeats_per_second >= 1
    until: cut
  - measure: peak_requests_per_second <= 12
    until: cut
  - measure: total(requests) == 0
    after: cut + 5s
"""
HUNG = """
scenario: A supervisor that hangs when its board reboots
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 5m, do: supervisor, state: hang, id: hung}
  - {at: 10m, do: reboot, id: rebooted}
  - {at: 15m, do: end}
expect:
  - eventually: {api_heartbeat_state: [timeout, offline]}
    after: hung
    within: 4m
  - eventually: {overall_status: operational}
    after: rebooted
    within: 4m
"""
RUNS = {
    "hung": HUNG,
    "services": SERVICES,
    "clock": CLOCK,
    "boot": BOOT,
    "scripted": SCRIPTED,
    "fleets": FLEETS,
    "traffic": TRAFFIC,
}
SPEED = "30"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All of them at once."""
    needs_host()
    with at_once(tmp_path_factory.mktemp("lives"), RUNS, "--speed", SPEED) as begun:
        yield begun


@pytest.mark.parametrize("name", RUNS)
def test_what_is_done_for_real_is_seen_by_the_cloud(runs: dict[str, Run], name: str) -> None:
    said = runs[name].held()
    (scenario,) = runs[name].results()["scenarios"]
    clocks = {"source": "injected", "speed": 30, "steered": name == "clock", "devices": "all"}
    assert scenario["clocks"] == [clocks]
    assert "clock: injected, 30 times as fast" in said


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS)
def test_the_model_says_the_same(text: str) -> None:
    assert not_held(compile_text(text)) == []


@pytest.mark.parametrize(
    ("service", "start_ms"),
    [
        pytest.param(ReleaseService(), Times().start_ms, id="as in the model"),
        pytest.param(ReleaseService(start_time="40s"), 40_000, id="as the scenario says"),  # type: ignore[call-arg]  # as in a file
    ],
)
def test_a_container_takes_its_time_to_start(service: ReleaseService, start_ms: int) -> None:
    assert float(ways_of(service, 1.0)[START_LABEL]) * 1_000 == start_ms
