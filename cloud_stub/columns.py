"""Writing a device's row: the columns by the API's names, and what each write brings with it.

Every write of a device goes through ``write``, whoever asked for it: the rules of the events
(``STATUS.md §1, §3, §5``) stand here once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .model import IDENTITY, METRICS, PLATFORM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Device

_OWN = {
    "device_name": "name",
    "api_heartbeat_state": "heartbeat",
    "is_connected_to_vpn": "is_connected_to_vpn",
    "is_managed_by__service_instance": "managed_by",
    "is_online": "is_online",
    "provisioning_state": "provisioning_state",
    "provisioning_progress": "provisioning_progress",
    "status": "status",
    "download_progress": "download_progress",
    "update_status": "update_status",
    "is_running__release": "running_release",
    "is_active": "is_active",
    "is_frozen": "is_frozen",
}
_SHARED = {
    name: (attribute, index)
    for attribute, names in (
        ("platform", PLATFORM),
        ("identity", IDENTITY),
        ("metrics", METRICS),
    )
    for index, name in enumerate(names)
}
COLUMNS = frozenset({*_OWN, *_SHARED})
"""Everything ``write`` knows."""

_SHARED_MAX = 4_096
"""Bound of the table of shared tuples; past it the table begins anew."""


def read(device: Device, column: str) -> Any:
    """What a column holds; ``None`` is null."""
    own = _OWN.get(column)
    if own is not None:
        return getattr(device, own)
    attribute, index = _SHARED[column]
    return getattr(device, attribute)[index]


def differs(device: Device, values: Mapping[str, Any]) -> bool:
    """Whether a write of these values would change any."""
    return any(read(device, column) != value for column, value in values.items())


class Writer:
    """Writes columns; keeps one copy of tuples that many rows hold."""

    __slots__ = ("_shared",)

    def __init__(self) -> None:
        self._shared: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def write(self, device: Device, values: Mapping[str, Any], *, now_ms: int) -> None:
        """Store the values, and move the events that any write of them moves."""
        changed: dict[str, list[Any]] = {}
        for column, value in values.items():
            own = _OWN.get(column)
            if own is not None:
                setattr(device, own, value)
                continue
            attribute, index = _SHARED[column]
            if attribute not in changed:
                changed[attribute] = list(getattr(device, attribute))
            changed[attribute][index] = value
        for attribute, items in changed.items():
            stored = tuple(items)
            # addresses and secrets are a device's own
            setattr(device, attribute, stored if attribute == "identity" else self._share(stored))
        if "is_connected_to_vpn" in values:
            # the legacy flag follows (STATUS.md §1)
            device.is_online = values["is_connected_to_vpn"]
            device.last_vpn_event_ms = now_ms
        if "is_online" in values or "is_connected_to_vpn" in values:
            device.last_connectivity_event_ms = now_ms
        if "update_status" in values:
            device.last_update_status_event_ms = now_ms
        if "device_name" in values:
            device.target_changed()

    def _share(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(self._shared) >= _SHARED_MAX:
            self._shared.clear()
        # the types are part of the key: 1 and True are equal, and not the same reading
        key = (*items, *map(type, items))
        return self._shared.setdefault(key, items)
