"""Configuration variables as a supervisor reads them (``SUPERVISOR.md §6``).

Names come with the prefix ``BALENA_`` or ``RESIN_``; where both are there ``BALENA_`` wins.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

POLL_INTERVAL = "SUPERVISOR_POLL_INTERVAL"
VPN_CONTROL = "SUPERVISOR_VPN_CONTROL"
HARDWARE_METRICS = "SUPERVISOR_HARDWARE_METRICS"
INSTANT_UPDATES = "SUPERVISOR_INSTANT_UPDATE_TRIGGER"
LOCAL_MODE = "SUPERVISOR_LOCAL_MODE"
DELTA = "SUPERVISOR_DELTA"
LOG_CONTROL = "SUPERVISOR_LOG_CONTROL"
_OVERRIDE_LOCK = ("SUPERVISOR_OVERRIDE_LOCK", "OVERRIDE_LOCK")
_NEEDS_REBOOT = (
    "HOST_CONFIG_",
    "HOST_EXTLINUX_",
    "HOST_ODMDATA_",
    "HOST_SPLASH_",
    "SUPERVISOR_PERSISTENT_LOGGING",
)
_PREFIXES = ("RESIN_", "BALENA_")
"""Later wins."""
_TRUE = frozenset(("1", "true", "on"))
_FALSE = frozenset(("0", "false", "off"))
_INTEGER = re.compile(r"\s*([0-9]+)")
SHARED_CONFIGS = 256


def without_prefix(variables: Mapping[str, Any]) -> Mapping[str, str]:
    """The variables of a target state under the supervisor's own names; equal ones are shared."""
    texts = {
        str(name): str(value) for name, value in variables.items() if isinstance(value, str | int)
    }
    return _shared(tuple(sorted(texts.items())))


@lru_cache(maxsize=SHARED_CONFIGS)
def _shared(variables: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for prefix in _PREFIXES:
        for name, value in variables:
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = value
    return MappingProxyType(dict(sorted(found.items())))


def poll_interval_ms(applied: Mapping[str, str], default_ms: int) -> int:
    """``appUpdatePollInterval``; a value that is no positive integer leaves the default."""
    return _positive(applied.get(POLL_INTERVAL, ""), default_ms)


@lru_cache(maxsize=256)
def _positive(text: str, default_ms: int) -> int:
    match = _INTEGER.match(text)
    return (int(match.group(1)) or default_ms) if match else default_ms


def _flag(value: str | None, *, default: bool) -> bool:
    if value is None:
        return default
    lowered = value.strip().lower()
    return lowered in _TRUE or (default and lowered not in _FALSE)


def vpn_enabled(applied: Mapping[str, str]) -> bool:
    """Whether the VPN client shall run."""
    return _flag(applied.get(VPN_CONTROL), default=True)


def instant_updates(applied: Mapping[str, str]) -> bool:
    """Whether the target state is fetched at start and on ``POST /v1/update``, at once."""
    return _flag(applied.get(INSTANT_UPDATES), default=True)


def hardware_metrics(applied: Mapping[str, str]) -> bool:
    """Whether the board's load and temperature are reported."""
    return _flag(applied.get(HARDWARE_METRICS), default=True)


def local_mode(applied: Mapping[str, str]) -> bool:
    """Whether a person develops on the device: its apps are not the cloud's."""
    return _flag(applied.get(LOCAL_MODE), default=False)


def delta_updates(applied: Mapping[str, str]) -> bool:
    """Whether images are fetched as differences from older ones."""
    return _flag(applied.get(DELTA), default=False)


def logs_wanted(applied: Mapping[str, str]) -> bool:
    """Whether lines of services and of the supervisor go to the cloud."""
    return _flag(applied.get(LOG_CONTROL), default=True)


def overrides_locks(applied: Mapping[str, str]) -> bool:
    """Whether users' update locks are removed (``SUPERVISOR.md §4``)."""
    return any(_flag(applied.get(name), default=False) for name in _OVERRIDE_LOCK)


def needs_reboot(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether a changed variable takes effect at boot only."""
    names = sorted({*old, *new})
    return any(name.startswith(_NEEDS_REBOOT) and old.get(name) != new.get(name) for name in names)
