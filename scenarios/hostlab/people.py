"""What people do in the cloud, as requests of the public API: accounts, variables, pins, moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..history import Unmet
from ..simulation.steps import ACTION_PATHS

if TYPE_CHECKING:
    from .. import verbs
    from ..model import Step
    from .cloud import CloudProcess
    from .device import LabDevice
    from .lab import HostWorld


def row(device: LabDevice) -> str:
    """The place of a device in the API."""
    return f"/v7/device(uuid='{device.uuid}')"


async def _id(cloud: CloudProcess, device: LabDevice) -> int:
    found = await cloud.rows(f"device(uuid='{device.uuid}')?$select=id")
    return int(found[0]["id"])


async def tell(world: HostWorld, device: LabDevice, method: str, body: Any, what: str) -> None:
    """A change of a device's row; a refusal is worth a note."""
    status, found = await world.cloud.ask(method, row(device), body)
    if status >= 400:
        world.note(device, f"{what} answered {status} {found or ''}".strip())


async def account(world: HostWorld, device: LabDevice, standing: str) -> None:
    """The device's standing changes."""
    match standing:
        case "frozen" | "thawed":
            await tell(world, device, "PATCH", {"is_frozen": standing == "frozen"}, standing)
        case "active" | "deactivated":
            await tell(world, device, "PATCH", {"is_active": standing == "active"}, standing)
        case _:
            await tell(world, device, "DELETE", None, standing)


async def pin(world: HostWorld, device: LabDevice, commit: str | None) -> None:
    """The device is pinned to a release of the fleet it is in, or tracks it again."""
    release = None if commit is None else device.present.releases.get(commit)
    if commit is not None and release is None:
        world.note(device, f"there is no release {commit} to pin it to")
        return
    await tell(world, device, "PATCH", {"is_pinned_on__release": release}, "pin")


async def move(world: HostWorld, device: LabDevice, fleet: str) -> None:
    """The device is in another fleet."""
    device.present = world.fleets[fleet]
    await tell(world, device, "PATCH", {"belongs_to__application": device.present.id}, "move")


# --- variables ----------------------------------------------------------------------------------


async def device_config(world: HostWorld, device: LabDevice, action: verbs.Config) -> None:
    """A configuration variable of a device."""
    owner = {"device": await _id(world.cloud, device)}
    await _variable(world.cloud, "device_config_variable", owner, action.name, action.value)


async def fleet_config(world: HostWorld, fleet: str, action: verbs.Config) -> None:
    """A configuration variable of a fleet."""
    owner = {"application": world.fleets[fleet].id}
    await _variable(world.cloud, "application_config_variable", owner, action.name, action.value)


async def device_environment(
    world: HostWorld, device: LabDevice, action: verbs.Environment
) -> None:
    """A variable of a device's services."""
    cloud, number = world.cloud, await _id(world.cloud, device)
    resource, owner = "device_environment_variable", {"device": number}
    if action.service is not None:
        services = {device.present.services[action.service]}
        query = f"service_install?$filter=device/id eq {number}&$select=id,installs__service"
        installs = [
            install["id"]
            for install in await cloud.rows(query)
            if install["installs__service"]["__id"] in services
        ]
        if not installs:
            world.note(device, f"it has no service {action.service} to set {action.name} of")
            return
        resource, owner = "device_service_environment_variable", {"service_install": installs[0]}
    await _variable(cloud, resource, owner, action.name, action.value)


async def fleet_environment(world: HostWorld, fleet: str, action: verbs.Environment) -> None:
    """A variable of a fleet's services."""
    resource, owner = "application_environment_variable", {"application": world.fleets[fleet].id}
    if action.service is not None:
        service = world.fleets[fleet].services[action.service]
        resource, owner = "service_environment_variable", {"service": service}
    await _variable(world.cloud, resource, owner, action.name, action.value)


async def _variable(
    cloud: CloudProcess, resource: str, owner: dict[str, int], name: str, value: str | None
) -> None:
    (of_whom, number), *_ = owner.items()
    rows = await cloud.rows(f"{resource}?$filter=name eq '{name}' and {of_whom}/id eq {number}")
    if value is None:
        for found in rows:
            await cloud.must("DELETE", f"/v7/{resource}({found['id']})")
    elif rows:
        await cloud.must("PATCH", f"/v7/{resource}({rows[0]['id']})", {"value": value})
    else:
        await cloud.post(resource, **owner, name=name, value=value)


# --- through cloudlink --------------------------------------------------------------------------


async def force_update(world: HostWorld, device: LabDevice) -> None:
    """``/v1/update`` with ``force``."""
    await world.cloud.act(ACTION_PATHS["update"], _call(device, force=True))


def _call(device: LabDevice, *, force: bool, cancel: bool = False) -> dict[str, Any]:
    flags = {"force": force, "cancel": cancel}
    data = {"appId": device.fleet.id, **{name: True for name, given in flags.items() if given}}
    return {"uuid": device.uuid, "method": "POST", "data": data}


async def act(world: HostWorld, device: LabDevice, step: Step, action: verbs.DoAction) -> None:
    """An action of the dashboard, and whether it was answered as it should be."""
    call, wanted = _call(device, force=action.force, cancel=action.cancel), action.expect
    asked = device.spec.name, world.now_ms(), step.id
    if wanted is not None:
        text = f"{action.name} has no answer by the end of the run, expected {wanted}"
        world.unanswered[asked] = Unmet(asked[1], asked[0], text, step.where.line)
    status, body = await world.cloud.act(ACTION_PATHS[action.name], call) or (None, None)
    world.unanswered.pop(asked, None)
    world.note(device, action.told(status))
    detail = action.unmet(status, body)
    if detail is not None:
        world.history.unmet.append(Unmet(world.now_ms(), device.spec.name, detail, step.where.line))
