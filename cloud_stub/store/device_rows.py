"""Between the core's device rows and the tables of devices and their installs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import persist
from ..model import IDENTITY, METRICS, PLATFORM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model import Device
    from ..settings import Profile

_NAMES = {
    "name": "device_name",
    "fleet": "belongs_to__application",
    "heartbeat": "api_heartbeat_state",
    "heartbeat_changed_ms": "changed_api_heartbeat_state_on__date",
    "managed_by": "is_managed_by__service_instance",
    "running_release": "is_running__release",
    "pinned": "is_pinned_on__release",
    "should_run": "should_be_running__release",
    "last_update_status_event_ms": "last_update_status_event",
    "last_vpn_event_ms": "last_vpn_event",
    "last_connectivity_event_ms": "last_connectivity_event",
}
"""The core's names to the columns', where they differ."""
_CORE = (
    *persist.PLAIN,
    *("id", "name", "fleet", "heartbeat", "managed_by", "running_release", "pinned"),
    "should_run",
    *(*PLATFORM, *IDENTITY, *METRICS),
    *("overall_status", "overall_progress"),
)
_KEYS = tuple(dict.fromkeys(_CORE))
COLUMNS = tuple(_NAMES.get(name, name) for name in _KEYS)
"""Columns of the device table that the core owns."""
INSTALL_COLUMNS = (
    *("device", "installs__image", "is_provided_by__release"),
    *("status", "download_progress", "install_date", "written_ms"),
    *("created_at", "modified_at"),
)


def device_values(device: Device, profile: Profile) -> dict[str, Any]:
    """The values of ``COLUMNS`` for one device."""
    row = persist.stored(device, profile)
    row["is_undervolted"] = bool(row["is_undervolted"])
    return dict(zip(COLUMNS, map(row.__getitem__, _KEYS), strict=True))


def install_values(device: Device) -> list[dict[str, Any]]:
    """The values of ``INSTALL_COLUMNS`` for each image install of a device."""
    return [
        {
            "device": device.id,
            "installs__image": row["image"],
            "is_provided_by__release": row["release"],
            "status": row["status"],
            "download_progress": row["download_progress"],
            **dict.fromkeys(
                ("install_date", "written_ms", "created_at", "modified_at"), row["written_ms"]
            ),
        }
        for row in persist.stored_installs(device)
    ]


def core_row(stored: Mapping[str, Any], slugs: Mapping[int, str]) -> dict[str, Any]:
    """What ``persist.restore`` takes, of a row of the device table."""
    row = {key: stored[_NAMES.get(key, key)] for key in _KEYS}
    row["device_type"] = slugs.get(stored["is_of__device_type"], "unknown")
    return row


def core_install(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The same for an image install."""
    return {
        "image": stored["installs__image"],
        "release": stored["is_provided_by__release"],
        "status": stored["status"],
        "download_progress": stored["download_progress"],
        "written_ms": stored["written_ms"],
    }
