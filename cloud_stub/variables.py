"""Configuration variables: which one counts, and what it means (``STATUS.md §2, §4``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Device
    from .settings import CloudSettings

POLL_INTERVAL = "RESIN_SUPERVISOR_POLL_INTERVAL"
"""Only this name moves the heartbeat window; ``BALENA_…`` is passed on and nothing more."""
VPN_CONTROL = ("BALENA_SUPERVISOR_VPN_CONTROL", "RESIN_SUPERVISOR_VPN_CONTROL")
"""In order of preference."""
NAMESPACES = ("RESIN_", "BALENA_")

_LEADING_INTEGER = re.compile(r"\s*([+-]?\d+)")


def _leading_integer(text: str) -> int | None:
    found = _LEADING_INTEGER.match(text)
    return int(found.group(1)) if found else None


def poll_interval_ms(variables: Mapping[str, str], settings: CloudSettings) -> int:
    """A leading integer, never below the cloud's default; what is no number counts as 0."""
    number = _leading_integer(variables.get(POLL_INTERVAL, ""))
    return max(number or 0, settings.default_poll_interval_ms)


def effective(device: Device) -> dict[str, str]:
    """The variables of a device over those of its fleet."""
    return {**device.fleet.variables, **device.variables}


def config_of(variables: Mapping[str, str], settings: CloudSettings) -> dict[str, str]:
    """What a target state carries: every variable, the poll interval always and clamped.

    One that is no number goes out as ``NaN`` (recorded).
    """
    text = variables.get(POLL_INTERVAL)
    not_a_number = text is not None and _leading_integer(text) is None
    sent = "NaN" if not_a_number else str(poll_interval_ms(variables, settings))
    return dict(sorted((dict(variables) | {POLL_INTERVAL: sent}).items()))


def vpn_disabled(device: Device) -> bool:
    """``SUPERVISOR_VPN_CONTROL`` is the string ``false``, device before fleet."""
    for level in (device.variables, device.fleet.variables):
        if level:
            for name in VPN_CONTROL:
                if name in level:
                    return level[name] == "false"
    return False


def refusal(name: str) -> str | None:
    """Why a variable of this name cannot be set (``WIRE.md §8``)."""
    if name.startswith(NAMESPACES):
        return None
    spaces = ", ".join(NAMESPACES)
    return f"Configuration variables must be part of one of the following namespaces: {spaces}"
