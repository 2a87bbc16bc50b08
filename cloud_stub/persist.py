"""A device's row as a store keeps it, and back: plain columns, times in ms, ``None`` for null.

Pure: a store writes what ``stored`` gives and hands it to ``restore`` after a restart.  Computed
columns (``overall_status``, …) are written along so that they can be queried; they are computed
anew from the rest and never read back.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .model import IDENTITY, METRICS, PLATFORM, Device, ImageInstall, Key
from .observe import inputs_of, judged
from .status import HeartbeatState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Fleet, KeyKind, Release
    from .settings import Profile
    from .state import State

PLAIN = (
    *(
        "id",
        "uuid",
        "name",
        "device_type",
        "managed_by",
        "is_active",
        "is_frozen",
        "is_connected_to_vpn",
        "is_online",
    ),
    *("provisioning_state", "provisioning_progress", "status", "download_progress"),
    *("update_status", "last_update_status_event_ms", "last_vpn_event_ms"),
    *("last_connectivity_event_ms", "heartbeat_changed_ms", "metrics_written_ms"),
)
"""Attributes of ``Device`` stored as they are."""


_plain = attrgetter(*PLAIN)
_LINKED = ("fleet", "heartbeat", "running_release", "pinned", "should_run")
COLUMNS = (*PLAIN, *_LINKED, *PLATFORM, *IDENTITY, *METRICS, "overall_status", "overall_progress")
"""What ``stored`` gives, in order."""


INSTALL = ("device", "image", "release", "status", "download_progress", "written_ms")
"""What ``stored_installs`` gives of each, in order."""


def stored(device: Device, profile: Profile) -> tuple[Any, ...]:
    """Every column of a device's row, without its image installs."""
    running, pinned, target = device.running_release, device.pinned, device.should_run
    status = judged(inputs_of(device), profile)
    values: tuple[Any, ...] = _plain(device)
    return (
        *values,
        device.fleet.id,
        device.heartbeat.value,
        running.id if running else None,
        pinned.id if pinned else None,
        target.id if target else None,
        *device.platform,
        *device.identity,
        *device.metrics,
        status.overall_status,
        status.overall_progress,
    )


def stored_installs(device: Device) -> list[tuple[Any, ...]]:
    """The device's image installs, each in the order of ``INSTALL``."""
    number = device.id
    return [
        (
            number,
            install.image.id,
            install.release.id,
            install.status,
            install.download_progress,
            install.written_ms,
        )
        for install in device.installs
    ]


def restore(
    state: State,
    row: Mapping[str, Any],
    installs: Iterable[Mapping[str, Any]],
    *,
    releases: Mapping[int, Release],
    fleets: Mapping[int, Fleet],
) -> Device:
    """Put a device back as ``stored`` and ``stored_installs`` gave it; without timers and keys."""
    fleet = fleets[row["fleet"]]
    device = Device(row["id"], row["uuid"], row["name"], fleet, row["device_type"])
    for name in PLAIN:
        setattr(device, name, row[name])
    device.heartbeat = HeartbeatState(row["heartbeat"])
    device.running_release = releases.get(row["running_release"])
    device.pinned = releases.get(row["pinned"])
    device.platform = tuple(row[name] for name in PLATFORM)
    device.identity = tuple(row[name] for name in IDENTITY)
    device.metrics = tuple(row[name] for name in METRICS)
    device.installs = tuple(
        ImageInstall(image, release, item["status"], item["download_progress"], item["written_ms"])
        for item in installs
        if (release := releases.get(item["release"])) is not None
        for image in release.images.values()
        if image.id == item["image"]
    )
    while len(state.rows) < device.id:
        state.rows.append(None)
    state.rows[device.id - 1] = device
    state.devices[device.uuid] = device
    return device


def restore_key(
    state: State, sealed: str, kind: KeyKind, owner: str | None, *, expires_at_ms: int | None
) -> None:
    """Put back a key; one whose owner is gone is left out."""
    device = fleet = None
    if kind == "device":
        device = state.devices.get(owner or "")
        if device is None:
            return
        if expires_at_ms is None:
            state.keys[sealed] = device
            return
        device.key_expires = True
    elif kind == "provisioning":
        fleet = state.fleets_by_uuid.get(owner or "")
        if fleet is None:
            return
    state.keys[sealed] = Key(kind, device=device, fleet=fleet, expires_at_ms=expires_at_ms)
