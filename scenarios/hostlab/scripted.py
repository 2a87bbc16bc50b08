"""Raw primitives for devices without an agent: requests with the keys of whoever sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import verbs
from ..errors import LabError
from ..simulation.steps import IMAGE_NAME
from ..streams import digest

if TYPE_CHECKING:
    from .device import LabDevice
    from .lab import HostWorld

Primitive = verbs.Heartbeat | verbs.Report | verbs.CloudlinkUp | verbs.CloudlinkDown


class VpnInstances:
    """VPN service instances as the API knows them: registered when they first speak."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    async def number(self, world: HostWorld, name: str) -> int:
        """What the API calls one.

        Raises:
            LabError: it is not registered.
        """
        if name not in self._numbers:
            cloud = world.cloud
            status, made = await cloud.ask("POST", "/v7/service_instance", {}, key=cloud.vpn_key)
            if status >= 400:
                raise LabError(f"the cloud refused a VPN service instance: {status} {made}")
            self._numbers[name] = made["id"]
        return self._numbers[name]


async def primitive(world: HostWorld, device: LabDevice, action: Primitive) -> None:
    """Send the request a primitive stands for; how it was answered is a line of the history."""
    cloud, (uuid, key) = world.cloud, device.identity
    match action:
        case verbs.Heartbeat():
            status, _ = await cloud.ask("GET", f"/device/v3/{uuid}/state", key=key)
            world.note(device, f"heartbeat answered {status}")
        case verbs.Report():
            body = {uuid: _with_names(action.body, device)}
            status, _ = await cloud.ask("PATCH", "/device/v3/state", body, key=key)
            world.note(device, f"report answered {status}")
        case verbs.CloudlinkUp() | verbs.CloudlinkDown():
            word = "connect" if isinstance(action, verbs.CloudlinkUp) else "disconnect"
            number = await world.instances.number(world, action.service)
            body = {"uuids": [uuid], "serviceId": number}
            path = f"/services/vpn/client-{word}"
            status, _ = await cloud.ask("POST", path, body, key=cloud.vpn_key)
            world.note(device, f"client-{word} by {action.service} answered {status}")


def _with_names(value: Any, device: LabDevice) -> Any:
    """The body with ``$APP`` as the fleet's uuid and ``$IMAGE/r1/main`` as that image's place."""
    if isinstance(value, dict):
        return {
            (device.fleet.uuid if name == "$APP" else name): _with_names(item, device)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_with_names(item, device) for item in value]
    if isinstance(value, str) and value.startswith(IMAGE_NAME):
        commit, _, service = value.removeprefix(IMAGE_NAME).partition("/")
        known = device.fleet.images.get(commit, {}).get(service)
        # of an image there is not: a name that no row has
        return known or f"registry.invalid/v2/{digest('location', commit, service)}"
    return value
