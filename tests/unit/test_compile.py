"""The compiler: order, selection, anchors, windows, overrides, includes and hints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scenarios.compile import compile_file, compile_text
from scenarios.errors import InputErrors
from scenarios.model import Quantifier, Scenario

if TYPE_CHECKING:
    from pathlib import Path

END = "  - {at: 1h, do: end}\n"


def scenario(
    timeline: str = "", expect: str = "", top: str = "", devices: int | None = None
) -> Scenario:
    text = f"scenario: Test\n{top}timeline:\n  - {{at: 0s, do: power_on}}\n{timeline}{END}"
    if expect:
        text += f"expect:\n{expect}"
    return compile_text(text, devices=devices)


def test_a_silent_file_has_the_documented_defaults() -> None:
    made = scenario()
    assert [device.name for device in made.devices] == ["device-1"]
    assert not made.devices[0].fresh
    assert made.releases["fleet"].commit == "r1"
    assert list(made.releases["fleet"].services) == ["main"]
    assert made.releases["fleet"].services["main"].size_bytes == 20_000_000
    assert made.cloud.profile == "balena-cloud"
    assert made.cloud.default_poll_interval_ms == 600_000
    assert made.end_ms == 3_600_000
    assert made.seed == 1


def test_steps_are_sorted_by_time_and_equal_times_keep_file_order() -> None:
    made = scenario(
        "  - {at: 20m, do: power_on, id: c}\n"
        "  - {at: 10m, do: power_off, id: a}\n"
        "  - {at: 20m, do: reboot, id: d}\n"
        "  - {at: 10m, do: undervolt, state: on, id: b}\n"
    )
    assert [step.id for step in made.steps] == ["power_on", "a", "b", "c", "d", "end"]
    assert made.steps[1].where.line == 5


def test_settings_go_to_the_part_they_belong_to() -> None:
    made = scenario(
        top="cloud: {profile: open-balena, poll_interval: 20m, vpn_server_timeout: 1m}\n"
        "links: {latency: 5ms, registry_rate: 8mbit, boot_time: 40s}\n"
        "fleet: {behaviour: supervisor-19, fresh: true, device_type: raspberrypi5, release: v7}\n"
    )
    assert made.cloud.profile == "open-balena"
    assert made.cloud.default_poll_interval_ms == 1_200_000
    assert made.vpn.server_timeout_ms == 60_000
    assert made.vpn.client_timeout_ms == 60_000
    assert made.links.registry_bytes_per_second == 1_000_000
    assert (made.links.latency_ms, made.links.boot_ms) == (5, 40_000)
    device = made.devices[0]
    assert (device.behaviour, device.fresh, device.device_type) == (
        "supervisor-19",
        True,
        "raspberrypi5",
    )
    assert made.releases["fleet"].commit == "v7"


def test_names_of_durations_follow_the_settings_of_the_file() -> None:
    made = scenario(
        "  - {at: heartbeat_window + heartbeat_timeout, do: power_off}\n",
        top="cloud: {poll_interval: 10.5m, heartbeat_timeout: 2s}\n",
    )
    # 630 s × 1.5 = 945 s, a whole number of seconds; + 2 s
    assert made.steps[1].at_ms == 947_000


def test_a_step_may_be_placed_by_an_earlier_one() -> None:
    made = scenario(
        "  - {at: 10m, do: power_off, id: cut}\n  - {at: cut + 90s, do: power_on, id: back}\n"
    )
    assert [(step.id, step.at_ms) for step in made.steps[1:3]] == [
        ("cut", 600_000),
        ("back", 690_000),
    ]


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("all", 10),
        ('"30%"', 3),
        ('"25%"', 3),  # 2.5 rounds up
        ('"1%"', 1),
        ('"0%"', 0),
        ('"100%"', 10),
        ("device-10", 1),
        ("[device-3, device-2]", 2),
    ],
)
def test_a_step_selects_its_devices(on: str, expected: int) -> None:
    made = scenario(f"  - {{at: 1m, do: power_off, on: {on}}}\n", top="fleet: {devices: 10}\n")
    chosen = made.steps[1].devices
    assert len(chosen) == expected
    fleet = [device.name for device in made.devices]
    assert list(chosen) == sorted(chosen, key=fleet.index)
    if "%" in on:
        assert list(chosen) == fleet[:expected]


def test_the_size_of_the_fleet_can_be_overridden() -> None:
    top = "fleet: {names: [alpha, beta, gamma]}\n"
    assert [d.name for d in scenario(top=top).devices] == ["alpha", "beta", "gamma"]
    assert [d.name for d in scenario(top=top, devices=2).devices] == ["alpha", "beta"]
    more = scenario(top=top, devices=5)
    assert [d.name for d in more.devices] == ["alpha", "beta", "gamma", "device-4", "device-5"]
    with pytest.raises(InputErrors, match="no device is called 'gamma'"):
        scenario("  - {at: 1m, do: power_off, on: gamma}\n", top=top, devices=2)


def test_windows_become_absolute() -> None:
    made = scenario(
        "  - {at: 30m, do: firewall, block: vpn, id: blocked}\n",
        "  - eventually: {overall_status: operational}\n"
        "  - eventually: {overall_status: operational}\n"
        "    after: blocked\n"
        "    within: vpn_server_timeout + 2s\n"
        "  - always: {api_heartbeat_state: online}\n"
        "    from: blocked - 1m\n"
        "    until: end\n"
        "  - never: {overall_status: frozen}\n"
        "    until: 10m\n"
        "  - sequence: {overall_status: [operational, reduced-functionality]}\n"
        "    after: start + 2m\n",
    )
    windows = [(e.kind, e.from_ms, e.until_ms) for e in made.expectations]
    assert windows == [
        ("eventually", 0, None),
        ("eventually", 1_800_000, 1_922_000),
        ("always", 1_740_000, 3_600_000),
        ("never", 0, 600_000),
        ("sequence", 120_000, None),
    ]
    assert made.expectations[1].text == (
        "eventually: {overall_status: operational}, after: blocked, within: vpn_server_timeout + 2s"
    )
    assert made.expectations[1].where.line == 8
    assert made.expectations[4].sequence == ("operational", "reduced-functionality")


def test_a_shared_verb_is_an_anchor_while_its_moment_is_one() -> None:
    made = scenario(
        "  - {at: 5m, do: power_off, on: device-1}\n  - {at: 5m, do: power_off, on: device-2}\n",
        "  - eventually: {overall_status: disconnected}\n    after: power_off\n",
        top="fleet: {devices: 2}\n",
    )
    assert made.expectations[0].from_ms == 300_000


def test_conditions_hold_accepted_values() -> None:
    made = scenario(
        expect="  - always: {overall_status: [operational, updating], update_status: null,\n"
        "      is_online: true, overall_progress: 50, services.main: Running,\n"
        "      last_vpn_event: power_on + 27s, running_release: 123}\n"
    )
    assert dict(made.expectations[0].condition) == {
        "overall_status": ("operational", "updating"),
        "update_status": (None,),
        "is_online": (True,),
        "overall_progress": (50,),
        "services.main": ("Running",),
        "last_vpn_event": (27_000,),
        "running_release": ("123",),
    }


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("all", Quantifier()),
        ("any", Quantifier(mode="any")),
        ("none", Quantifier(mode="none")),
        ('"80%"', Quantifier(mode="at_least", fraction=0.8)),
        ("[device-2]", Quantifier(devices=("device-2",))),
    ],
)
def test_an_expectation_says_over_which_devices_it_speaks(
    written: str, expected: Quantifier
) -> None:
    made = scenario(
        expect=f"  - never: {{overall_status: frozen}}\n    for: {written}\n",
        top="fleet: {devices: 3}\n",
    )
    assert made.expectations[0].quantifier == expected


def test_fragments_come_first_and_the_file_wins(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "base.yaml").write_text(
        "cloud: {poll_interval: 20m, heartbeat_timeout: 5s}\n"
        "timeline: [{at: 0s, do: power_on}]\n"
        "expect: [{never: {overall_status: frozen}, after: cut}]\n"
    )
    path = tmp_path / "main.scenario.yaml"
    path.write_text(
        "scenario: Main\ninclude: [parts/base.yaml, parts/base.yaml]\n"
        "cloud: {poll_interval: 15m}\n"
        "timeline:\n  - {at: 0s, do: power_off, id: cut}\n  - {at: 1h, do: end}\n"
    )
    made = compile_file(path)
    assert [step.verb for step in made.steps] == ["power_on", "power_off", "end"]
    assert made.cloud.default_poll_interval_ms == 900_000
    assert made.cloud.heartbeat_timeout_ms == 5_000
    fragment = made.expectations[0].where.file
    assert fragment is not None
    assert fragment.name == "base.yaml"


@pytest.mark.parametrize(
    ("timeline", "expect", "hint"),
    [
        ("", "", "there is no expectation"),
        (
            "  - {at: 5m, do: power_off}\n",
            "  - eventually: {overall_status: operational}\n    until: power_off\n",
            "nothing is expected after the last fault (power_off, line 4)",
        ),
        (
            "",
            "  - eventually: {overall_status: operational}\n    within: 2h\n",
            "line 6: the window reaches beyond the run's end",
        ),
        (
            "",
            "  - eventually: {overall_status: operational}\n    after: 2h\n",
            "line 6: the window starts after the run's end",
        ),
    ],
)
def test_what_is_odd_but_no_mistake_is_a_hint(timeline: str, expect: str, hint: str) -> None:
    hints = scenario(timeline, expect).hints
    assert any(hint in text for text in hints), hints


@pytest.mark.parametrize(
    ("window", "hinted"), [("from: cut + 20m", False), ("until: cut", True), ("from: 0s", False)]
)
def test_what_must_be_all_the_time_after_the_last_fault_says_how_it_settles(
    window: str, hinted: bool
) -> None:
    made = scenario(
        "  - {at: 5m, do: power_off, id: cut}\n",
        f"  - {{always: {{is_active: true}}, {window}}}\n",
    )
    assert any("does the fleet settle?" in hint for hint in made.hints) is hinted


def test_without_an_end_the_run_ends_with_its_last_step() -> None:
    made = compile_text(
        "scenario: Open\ntimeline:\n  - {at: 0s, do: power_on}\n  - {at: 9m, do: reboot}\n"
    )
    assert made.end_ms == 540_000
    assert any("there is no 'end'" in hint for hint in made.hints)


def test_a_vpn_server_that_never_runs_is_a_mistake() -> None:
    with pytest.raises(InputErrors, match=r"no VPN server is called 'vnp1' \(did you mean 'vpn1'"):
        scenario("  - {at: 1m, do: vpn_server, name: vnp1, state: down}\n")
    scenario(
        "  - {at: 1m, do: vpn_server, name: west, state: up}\n"
        "  - {at: 2m, do: vpn_server, name: west, state: killed}\n"
    )
