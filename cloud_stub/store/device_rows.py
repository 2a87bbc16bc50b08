"""Between the core's device rows and the tables of devices and their installs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import persist

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
_KINDS = "device_type"
"""Kept as a reference to the resource, which the core does not know."""
_UNDERVOLTED = persist.COLUMNS.index("is_undervolted")
COLUMNS = tuple(_NAMES.get(name, name) for name in persist.COLUMNS)
"""Columns of the device table that the core owns, in the order of ``device_values``."""
UNSTORED = _KINDS
"""The one of ``COLUMNS`` that the table does not have."""


INSTALL_COLUMNS = (
    *("device", "installs__image", "is_provided_by__release"),
    *("status", "download_progress", "install_date", "written_ms"),
    *("created_at", "modified_at"),
)


def device_values(device: Device, profile: Profile) -> tuple[Any, ...]:
    """The values of ``COLUMNS`` for one device."""
    row = persist.stored(device, profile)
    if row[_UNDERVOLTED] is None:
        return (*row[:_UNDERVOLTED], False, *row[_UNDERVOLTED + 1 :])
    return row


def install_values(device: Device) -> list[tuple[Any, ...]]:
    """The values of ``INSTALL_COLUMNS`` for each image install of a device."""
    return [
        (number, image, release, status, progress, at_ms, at_ms, at_ms, at_ms)
        for number, image, release, status, progress, at_ms in persist.stored_installs(device)
    ]


def core_row(stored: Mapping[str, Any], slugs: Mapping[int, str]) -> dict[str, Any]:
    """What ``persist.restore`` takes, of a row of the device table."""
    names = [name for name in persist.COLUMNS if name != _KINDS]
    row = {name: stored[_NAMES.get(name, name)] for name in names}
    row[_KINDS] = slugs.get(stored["is_of__device_type"], "unknown")
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
