"""The rows the cloud stores; plain values, changed only by the modules of this package.

A steady fleet of thousands is all rows, so they are slotted, and what many devices have in common
(platform, readings, configuration) is one shared tuple.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .status import HeartbeatState, Install

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .messages import ServiceSpec

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
"""Shared by every row that has no variables of its own."""

PLATFORM = (
    "os_version",
    "os_variant",
    "supervisor_version",
    "api_port",
    "is_undervolted",
    "logs_channel",
    "note",
)
"""Reported fields that most devices of a fleet have in common."""
IDENTITY = ("ip_address", "mac_address", "api_secret")
METRICS = (
    "cpu_usage",
    "memory_usage",
    "memory_total",
    "storage_usage",
    "storage_total",
    "storage_block_device",
    "cpu_temp",
    "cpu_id",
)
"""Reported fields that alone are no reason to write a row (``STATUS.md §8``)."""


def _nothing(names: tuple[str, ...]) -> tuple[Any, ...]:
    return (None,) * len(names)


NO_PLATFORM, NO_IDENTITY, NO_METRICS = map(_nothing, (PLATFORM, IDENTITY, METRICS))


class Image(NamedTuple):
    """One image of a release."""

    id: int
    service: str
    service_id: int
    location: str
    digest: str
    """Empty where the release was made without one."""


class Release:
    """A finished release of a fleet."""

    __slots__ = ("commit", "fleet", "id", "images", "services")

    def __init__(self, number: int, fleet: Fleet, commit: str) -> None:
        self.id = number
        self.fleet = fleet
        self.commit = commit
        self.services: dict[str, ServiceSpec] = {}
        self.images: dict[str, Image] = {}
        """By service."""

    def image(self, reference: str) -> Image | None:
        """The image of ``location[@digest]``; a digest must be right if given."""
        location, _, digest = reference.partition("@")
        for image in self.images.values():
            if image.location == location and digest in ("", image.digest):
                return image
        return None


class Environment(NamedTuple):
    """Environment variables, of all services and of single ones."""

    every: Mapping[str, str] = NO_VARIABLES
    services: Mapping[str, Mapping[str, str]] = MappingProxyType({})

    def of(self, service: str) -> dict[str, str]:
        """What a service of this name gets."""
        return {**self.every, **self.services.get(service, NO_VARIABLES)}

    def changed(self, service: str | None, name: str, value: str | None) -> Environment:
        """With one variable set, or deleted with ``None``."""
        if service is None:
            return self._replace(every=_put(self.every, name, value))
        own = _put(self.services.get(service, NO_VARIABLES), name, value)
        others = {key: item for key, item in self.services.items() if key != service}
        return self._replace(services={**others, service: own} if own else others)


NO_ENVIRONMENT = Environment()


def _put(variables: Mapping[str, str], name: str, value: str | None) -> Mapping[str, str]:
    others = {key: item for key, item in variables.items() if key != name}
    return others if value is None else {**others, name: value}


class Fleet:
    """An application."""

    __slots__ = (
        "device_type",
        "environment",
        "id",
        "name",
        "releases",
        "service_ids",
        "shared",
        "tracks",
        "uuid",
        "variables",
    )

    def __init__(self, number: int, name: str, uuid: str, device_type: str) -> None:
        self.id = number
        self.name = name
        self.uuid = uuid
        self.device_type = device_type
        self.releases: dict[str, Release] = {}
        """By commit."""
        self.service_ids: dict[str, int] = {}
        self.tracks: Release | None = None
        self.variables: dict[str, str] = {}
        self.environment = NO_ENVIRONMENT
        self.shared: dict[tuple[Any, ...], Any] = {}
        """Parts of target states that the fleet's devices share; see ``target_state``."""


class ImageInstall:
    """What a device last said of one image."""

    __slots__ = ("download_progress", "image", "release", "status", "written_ms")

    def __init__(
        self, image: Image, release: Release, status: str, progress: int | None, now_ms: int
    ) -> None:
        self.image = image
        self.release = release
        self.status = status
        self.download_progress = progress
        self.written_ms = now_ms


class Device:
    """A device, as ``STATUS.md §1`` lists its fields; times in ms, ``None`` for never."""

    __slots__ = (
        "deleted",
        "device_type",
        "download_progress",
        "environment",
        "etag",
        "fleet",
        "heartbeat",
        "heartbeat_changed_ms",
        "heartbeat_due_ms",
        "heartbeat_queued_ms",
        "id",
        "identity",
        "installs",
        "is_active",
        "is_connected_to_vpn",
        "is_frozen",
        "is_online",
        "key_expires",
        "last_connectivity_event_ms",
        "last_update_status_event_ms",
        "last_vpn_event_ms",
        "managed_by",
        "metrics",
        "metrics_written_ms",
        "name",
        "pinned",
        "platform",
        "provisioning_progress",
        "provisioning_state",
        "running_release",
        "status",
        "update_status",
        "uuid",
        "variables",
        "window_ms",
    )

    def __init__(self, number: int, uuid: str, name: str, fleet: Fleet, device_type: str) -> None:
        self.id = number
        self.uuid = uuid
        self.name = name
        self.fleet = fleet
        self.device_type = device_type
        self.deleted = False
        """The row is kept for those who look back; nothing changes it any more."""
        self.is_active = False
        self.is_frozen = False
        self.key_expires = False
        """A key of this device has an end, so each use of it must be looked at."""
        self.heartbeat = HeartbeatState.UNKNOWN
        self.heartbeat_changed_ms: int | None = None
        self.heartbeat_due_ms = -1
        """When the armed timer ends; −1: none is armed."""
        self.heartbeat_queued_ms = -1
        """The queue's entry for this device; it may be earlier than the timer."""
        self.window_ms = 0
        """The heartbeat window; 0: to be resolved at the next heartbeat."""
        self.is_connected_to_vpn = False
        self.managed_by: int | None = None
        self.is_online = False
        self.last_vpn_event_ms: int | None = None
        self.last_connectivity_event_ms: int | None = None
        self.provisioning_state: str | None = None
        self.provisioning_progress: int | None = None
        self.status: str | None = None
        self.download_progress: int | None = None
        self.update_status: str | None = None
        self.last_update_status_event_ms: int | None = None
        self.running_release: Release | None = None
        self.pinned: Release | None = None
        self.platform = NO_PLATFORM
        self.identity = NO_IDENTITY
        self.metrics = NO_METRICS
        self.metrics_written_ms: int | None = None
        self.installs: tuple[ImageInstall, ...] = ()
        self.variables: Mapping[str, str] = NO_VARIABLES
        self.environment = NO_ENVIRONMENT
        self.etag: str | None = None
        """Of the target state; ``None``: to be made anew."""

    @property
    def should_run(self) -> Release | None:
        """The release the device should run: its pin, else what its fleet tracks."""
        return self.pinned or self.fleet.tracks

    def status_installs(self) -> tuple[Install, ...]:
        """The installs as the status rules see them."""
        target = self.pinned or self.fleet.tracks
        return tuple(
            [
                Install(row.status, row.download_progress, row.release is target)
                for row in self.installs
            ]
        )

    def target_changed(self) -> None:
        """What the device should be is not what it was: its ETag and window are made anew."""
        self.etag = None
        self.window_ms = 0


KeyKind = Literal["provisioning", "user", "vpn", "device"]


class Key:
    """A credential: what it is, whose, and until when."""

    __slots__ = ("device", "expires_at_ms", "fleet", "kind")

    def __init__(
        self,
        kind: KeyKind,
        *,
        device: Device | None = None,
        fleet: Fleet | None = None,
        expires_at_ms: int | None = None,
    ) -> None:
        self.kind = kind
        self.device = device
        self.fleet = fleet
        self.expires_at_ms = expires_at_ms
