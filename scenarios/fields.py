"""The fields an expectation may name, and the values each can have."""

from __future__ import annotations

from typing import Any, Literal

from cloud_stub.observe import FIELDS, SERVICE_PREFIX
from cloud_stub.status import HeartbeatState, OverallStatus, UpdateStatus

Kind = Literal["text", "flag", "number", "moment"]

CHOICES: dict[str, tuple[Any, ...]] = {
    "overall_status": tuple(str(value) for value in OverallStatus),
    "api_heartbeat_state": tuple(str(value) for value in HeartbeatState),
    "update_status": (*(str(value) for value in UpdateStatus), None),
    "connectivity": ("", "Heartbeat Only", "Cloudlink Only", None),
}
"""Field → every value it can have."""
SERVICE_STATUSES = (
    *("Downloading", "Downloaded", "Installing", "Installed", "Starting", "Running", "Idle"),
    *("Handing over", "Awaiting handover", "Stopping", "Stopped", "exited", "Deleting", "deleted"),
    *("Dead", "paused", "restarting", "removing", "configuring", "Unknown", None),
)
"""``STATUS.md §8``."""
_FLAGS = frozenset(
    {"is_online", "is_connected_to_vpn", "is_active", "is_frozen", "is_undervolted", "deleted"}
)
_NUMBERS = frozenset(
    {
        *("overall_progress", "download_progress", "provisioning_progress"),
        "is_managed_by__service_instance",
    }
)
_MOMENTS = frozenset(
    {
        *("changed_api_heartbeat_state_on__date", "last_connectivity_event", "last_vpn_event"),
        "last_update_status_event",
    }
)


def is_field(name: str) -> bool:
    """Whether an expectation may name it."""
    return name in FIELDS or (name.startswith(SERVICE_PREFIX) and name != SERVICE_PREFIX)


def kind_of(name: str) -> Kind:
    """What sort of value a field has."""
    if name in _FLAGS:
        return "flag"
    if name in _NUMBERS:
        return "number"
    return "moment" if name in _MOMENTS else "text"


def choices_of(name: str) -> tuple[Any, ...] | None:
    """Every value of a field, where they are known."""
    return SERVICE_STATUSES if name.startswith(SERVICE_PREFIX) else CHOICES.get(name)
