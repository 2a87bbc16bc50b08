"""The fields of a device that people can see, stored and computed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .model import IDENTITY, PLATFORM
from .status import StatusInputs, connectivity, display, overall_progress, overall_status
from .variables import vpn_disabled

if TYPE_CHECKING:
    from .model import Device
    from .settings import Profile

FIELDS: tuple[str, ...] = (
    "overall_status",
    "overall_progress",
    "status_display",
    "connectivity",
    "api_heartbeat_state",
    "changed_api_heartbeat_state_on__date",
    "is_online",
    "is_connected_to_vpn",
    "last_connectivity_event",
    "last_vpn_event",
    "is_managed_by__service_instance",
    "status",
    "download_progress",
    "provisioning_state",
    "provisioning_progress",
    "update_status",
    "last_update_status_event",
    "is_active",
    "is_frozen",
    "running_release",
    "should_be_running_release",
    "os_version",
    "supervisor_version",
    "is_undervolted",
    "ip_address",
    "deleted",
)
"""Besides these there is ``services.<name>``: the status of a service's newest image install."""
SERVICE_PREFIX = "services."

_OS_VERSION = PLATFORM.index("os_version")
_SUPERVISOR_VERSION = PLATFORM.index("supervisor_version")
_IP_ADDRESS = IDENTITY.index("ip_address")
_IS_UNDERVOLTED = PLATFORM.index("is_undervolted")


def inputs_of(device: Device) -> StatusInputs:
    """What the status rules look at."""
    return StatusInputs(  # by position: every report comes here three times
        device.heartbeat,
        device.is_connected_to_vpn,
        device.last_connectivity_event_ms is not None,
        vpn_disabled(device),
        device.is_active,
        device.is_frozen,
        device.provisioning_state,
        device.provisioning_progress,
        device.status,
        device.download_progress,
        device.status_installs(),
    )


class Judged(NamedTuple):
    """What follows from the inputs alone; the first three as the API gives them."""

    overall_status: str
    overall_progress: int | None
    status_display: str
    connectivity: str


@lru_cache(maxsize=4_096)
def judged(inputs: StatusInputs, profile: Profile) -> Judged:
    """The status rules' answer; kept, as most devices of a fleet have the same few inputs."""
    status = overall_status(inputs, profile)
    return Judged(
        overall_status=status.value,
        overall_progress=overall_progress(inputs, profile),
        status_display=display(status, inputs),
        connectivity=connectivity(inputs),
    )


def observe(device: Device, profile: Profile) -> dict[str, Any]:
    """Every visible field; times are ms, ``None`` is null."""
    status, progress, words, links = judged(inputs_of(device), profile)
    running, target = device.running_release, device.should_run
    seen: dict[str, Any] = {
        "overall_status": status,
        "overall_progress": progress,
        "status_display": words,
        "connectivity": links,
        "api_heartbeat_state": device.heartbeat.value,
        "changed_api_heartbeat_state_on__date": device.heartbeat_changed_ms,
        "is_online": device.is_online,
        "is_connected_to_vpn": device.is_connected_to_vpn,
        "last_connectivity_event": device.last_connectivity_event_ms,
        "last_vpn_event": device.last_vpn_event_ms,
        "is_managed_by__service_instance": device.managed_by,
        "status": device.status,
        "download_progress": device.download_progress,
        "provisioning_state": device.provisioning_state,
        "provisioning_progress": device.provisioning_progress,
        "update_status": device.update_status,
        "last_update_status_event": device.last_update_status_event_ms,
        "is_active": device.is_active,
        "is_frozen": device.is_frozen,
        "running_release": running.commit if running else None,
        "should_be_running_release": target.commit if target else None,
        "os_version": device.platform[_OS_VERSION],
        "supervisor_version": device.platform[_SUPERVISOR_VERSION],
        "is_undervolted": device.platform[_IS_UNDERVOLTED],
        "ip_address": device.identity[_IP_ADDRESS],
        "deleted": device.deleted,
    }
    _services(device, seen)
    return seen


@lru_cache(maxsize=1024)
def _field_of(service: str) -> str:
    """One shared name a service: every change of its status carries it."""
    return SERVICE_PREFIX + service


def _services(device: Device, seen: dict[str, Any]) -> None:
    """A service shows its install of the release the device should run, else the newest one."""
    target = device.should_run
    settled: set[str] = set()
    for row in device.installs:
        name = _field_of(row.image.service)
        if row.release is target:
            seen[name] = row.status
            settled.add(name)
        elif name not in settled and row.status != "deleted":
            seen[name] = row.status
