"""Verbs: what a file may say, and the base units it becomes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from scenarios import verbs
from scenarios.language import VERBS

ACTION: TypeAdapter[verbs.Action] = TypeAdapter(verbs.Action)
NAMES = {"poll_interval": 600_000}


def parsed(**step: Any) -> Any:
    return ACTION.validate_python(step, context={"file": True, "names": NAMES})


@pytest.mark.parametrize(
    ("step", "attributes"),
    [
        ({"do": "firewall", "block": "vpn"}, {"block": ("vpn",), "mode": "drop"}),
        ({"do": "firewall", "block": ["api", "api"]}, {"block": ("api",)}),
        ({"do": "firewall", "allow": "all"}, {"allow": verbs.CHANNELS, "block": None}),
        ({"do": "impair", "latency": "200ms", "loss": "20%"}, {"latency_ms": 200, "loss": 0.2}),
        ({"do": "impair", "rate": "2mbit"}, {"rate_bytes_per_second": 250_000}),
        ({"do": "impair", "rate": "500 kB/s"}, {"rate_bytes_per_second": 500_000}),
        ({"do": "impair", "rate": "8 kB/s", "mtu": 1280}, {"rate_bytes_per_second": 8_000}),
        ({"do": "impair", "clear": True}, {"latency_ms": None, "clear": True}),
        ({"do": "api", "status": 429, "retry_after": "20s"}, {"state": "error", "status": 429}),
        ({"do": "api", "latency": "2s"}, {"state": "up", "latency_ms": 2_000}),
        ({"do": "registry", "state": "down", "share": 0.3}, {"share": 0.3}),
        ({"do": "vpn_server", "state": "killed"}, {"name": None}),
        ({"do": "cloud_restart", "down_for": "1.5 * poll_interval"}, {"down_for_ms": 900_000}),
        ({"do": "pin", "commit": "latest"}, {"commit": None, "latest": True}),
        ({"do": "lock", "state": "hold"}, {"service": None, "override": None, "force": False}),
        ({"do": "config", "name": "A", "value": 5000}, {"value": "5000", "level": "device"}),
        ({"do": "config", "name": "A", "value": False}, {"value": "false"}),
        ({"do": "config", "name": "A", "value": None}, {"value": None}),
        ({"do": "action", "name": "reboot", "expect": "ok"}, {"expect": "ok"}),
        ({"do": "clock", "set": "1970-01-01T00:00:01Z"}, {"set_ms": 1_000}),
        ({"do": "clock", "jump": "-5m"}, {"jump_ms": -300_000}),
        ({"do": "os_update"}, {"steps": verbs.DEFAULT_OS_UPDATE}),
        ({"do": "move", "fleet": 2}, {"fleet": "2"}),
        ({"do": "environment", "name": "A", "value": 1}, {"value": "1", "service": None}),
        ({"do": "action", "name": "update", "cancel": True}, {"cancel": True}),
        ({"do": "cloudlink_up", "service": 2}, {"service": "2"}),
    ],
)
def test_parameters_become_base_units(step: dict[str, Any], attributes: dict[str, Any]) -> None:
    action = parsed(**step)
    assert {name: getattr(action, name) for name in attributes} == attributes


def test_a_release_says_its_services_in_full_in_short_or_not_at_all() -> None:
    full = parsed(
        do="release",
        commit="r2",
        services={
            "main": {"size": "1 GiB", "strategy": "hand-over", "requires": "sw.supervisor >=20"},
            "side": None,
        },
    )
    main = full.services["main"]
    assert (main.size_bytes, main.strategy) == (2**30, "hand-over")
    assert main.requires == (verbs.Requirement(type="sw.supervisor", version=">=20"),)
    assert full.services["side"] == verbs.ReleaseService()
    assert list(parsed(do="release", commit="r", services=["a", "b"]).services) == ["a", "b"]
    assert list(parsed(do="release", commit="r").services) == ["main"]
    arch = parsed(do="release", commit="r", services={"m": {"requires": ["arch.sw aarch64"]}})
    assert arch.services["m"].requires[0].slug == "aarch64"


@pytest.mark.parametrize(
    "step",
    [
        {"do": "power_on", "state": "up"},
        {"do": "firewall"},
        {"do": "firewall", "block": []},
        {"do": "firewall", "allow": "vpn", "mode": "drop"},
        {"do": "impair"},
        {"do": "impair", "mtu": 10},
        {"do": "impair", "rate": "2 parsecs"},
        {"do": "api"},
        {"do": "api", "state": "down", "status": 503},
        {"do": "api", "status": 200},
        {"do": "pin"},
        {"do": "pin", "commit": "r1", "latest": True},
        {"do": "lock"},
        {"do": "config", "name": "A"},
        {"do": "clock"},
        {"do": "clock", "skew": "1s", "jump": "1s"},
        {"do": "clock", "set": "yesterday"},
        {"do": "disk"},
        {"do": "dhcp", "address": "here"},
        {"do": "environment", "name": "A"},
        {"do": "action", "name": "reboot", "cancel": True},
        {"do": "incident", "name": "unknown", "state": "on"},
        {"do": "release", "commit": "r", "services": {}},
        {"do": "cloud_restart", "down_for": "-1s"},
        {"do": "cloud_restart", "down_for": 5},
    ],
)
def test_nonsense_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parsed(**step)


def test_code_may_use_attribute_names_and_integers() -> None:
    assert verbs.Impair(latency_ms=200).latency_ms == 200
    assert verbs.ReleaseService(size_bytes=5).size_bytes == 5


def test_values_are_frozen() -> None:
    action = verbs.Network(state="up")
    with pytest.raises(ValidationError):
        action.state = "down"  # type: ignore[misc]  # this is what is tested


def test_the_table_of_verbs_is_complete() -> None:
    assert list(VERBS) == [
        *("power_on", "power_off", "reboot", "network", "firewall", "impair", "api", "registry"),
        *("dns", "vpn_server", "cloud_restart", "captive_portal", "release", "pin", "lock"),
        *("handover_complete", "config", "os_update", "preregister", "provision"),
        *("post_provision", "account", "action", "clock", "disk", "undervolt", "service"),
        *("supervisor", "heartbeat", "cloudlink_up", "cloudlink_down", "report"),
        *("clone", "move", "environment", "dhcp", "delta", "incident", "end"),
    ]
