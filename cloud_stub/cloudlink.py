"""Cloudlink as the API sees it: what VPN service instances say of tunnels (``STATUS.md §3``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Device

UP = "cloudlink up"
DOWN = "cloudlink down"


def connected(instance: int) -> Mapping[str, Any]:
    """The columns of a connect: up, and managed by the instance that says so from now on."""
    return {"is_managed_by__service_instance": instance, "is_connected_to_vpn": True}


def disconnected() -> Mapping[str, Any]:
    """The columns of a disconnect: down, and managed by nobody."""
    return {"is_managed_by__service_instance": None, "is_connected_to_vpn": False}


def takes_down(device: Device, instance: int, *, believe_stale: bool = False) -> bool:
    """A disconnect counts only from the instance that manages the device; others are stale.

    ``believe_stale``: the fault of October 2019, any instance's disconnect counts.
    """
    return device.managed_by == instance or (believe_stale and device.is_connected_to_vpn)
