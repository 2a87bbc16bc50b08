"""What each verb does in the host lab; the same words as in ``simulation.steps``."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import verbs
from ..errors import LabError
from ..history import Unmet
from ..simulation.steps import ACTION_PATHS
from .wire import can_have_wires

if TYPE_CHECKING:
    from ..model import Scenario, Step
    from .device import LabDevice
    from .lab import HostWorld

OVERRIDE = "BALENA_SUPERVISOR_OVERRIDE_LOCK"
_TAKE = "import os, sys; os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_WRONLY))"
_WHOLE = (
    verbs.PowerOn
    | verbs.PowerOff
    | verbs.Reboot
    | verbs.Network
    | verbs.Firewall
    | verbs.Dns
    | verbs.CaptivePortal
    | verbs.Dhcp
    | verbs.Registry
    | verbs.Supervisor
    | verbs.Disk
    | verbs.Undervolt
    | verbs.HandoverComplete
    | verbs.Account
    | verbs.Pin
    | verbs.Lock
    | verbs.DoAction
    | verbs.End
)


def refuse_what_cannot_be(scenario: Scenario) -> None:
    """Raise ``LabError`` naming every verb this lab cannot do."""
    unable = sorted({_unable(step.action) for step in scenario.steps} - {""})
    home = scenario.devices[0].fleet
    named = {getattr(step.action, "fleet", None) for step in scenario.steps} - {None, home}
    unable += [f"a fleet of the name {name}" for name in sorted(map(str, named))]
    if any(device.scripted for device in scenario.devices):
        unable.append("fleet: {scripted: true}")
    if unable:
        raise LabError(f"the host lab cannot do: {', '.join(unable)}; use --lab virtual")


def _unable(action: Any) -> str:
    match action:
        case verbs.Release():
            services = action.services.values()
            if any(s.requires or s.start_time_ms or s.stop_time_ms for s in services):
                return "release with requires, start_time or stop_time"
        case verbs.Impair() if action.idle_timeout_ms is not None:
            return "impair idle_timeout"
        case verbs.Impair():
            why = can_have_wires()
            return f"impair ({why})" if why else ""
        case verbs.Disk() if action.wear is not None or action.state == "forgets":
            return f"disk {action.state or 'wear'}"
        case verbs.Service() if action.state == "exit":
            return "service exit (the restart policy is always)"
        case verbs.Config() | verbs.Api() | verbs.VpnServer() | verbs.Service():
            pass
        case _:
            return "" if isinstance(action, _WHOLE) else str(action.do)
    return ""


async def carry_out(world: HostWorld, step: Step) -> None:
    """Do what a step says."""
    action: Any = step.action
    devices = [world.devices[name] for name in step.devices]
    match action:
        case verbs.End():
            pass
        case verbs.Release():
            await world.fleet.release(action)
        case verbs.Api() | verbs.Registry():
            await world.cloud.fault("api" if isinstance(action, verbs.Api) else "registry", action)
        case verbs.VpnServer():
            names = [action.name] if action.name else ["vpn1"]
            for name in names:
                await world.cloud.must("PUT", f"/fieldbeat/v1/vpn/{name}", {"state": action.state})
        case verbs.Config() if action.level == "fleet":
            where = f"application/id eq {world.fleet.id}"
            await _variable(world, "application", where, world.fleet.id, action)
        case verbs.DoAction():
            for device in devices:
                world.spawn(_through_cloudlink(world, device, step, action))
        case _:
            await asyncio.gather(*(_on_device(world, device, action) for device in devices))


async def _on_device(world: HostWorld, device: LabDevice, action: Any) -> None:
    match action:
        case verbs.PowerOn():
            await device.power_on()
        case verbs.PowerOff():
            await device.power_off()
        case verbs.Reboot():
            await device.reboot()
        case verbs.Pin():
            release = None if action.latest else world.fleet.releases[action.commit or ""]
            await world.cloud.must("PATCH", _row(device), {"should_be_running__release": release})
        case verbs.Config():
            await _device_variable(world, device, action)
        case verbs.Account():
            await _account(world, device, action.set)
        case _:
            await _at_site(world, device, action)


async def _at_site(world: HostWorld, device: LabDevice, action: Any) -> None:
    """What happens to the cable, the router and what stands beside it."""
    match action:
        case verbs.Network():
            device.works.network(up=action.state == "up")
        case verbs.Firewall():
            device.works.firewall(action, partial(_met, world, device))
        case verbs.Impair():
            device.works.impair(action)
        case verbs.Dns():
            await device.works.resolver.change(action)
        case verbs.Dhcp():
            device.works.readdress(action.address)
        case verbs.CaptivePortal():
            await device.works.captive(on=action.state == "on")
        case _:
            await _on_board(world, device, action)


async def _on_board(world: HostWorld, device: LabDevice, action: Any) -> None:
    """What happens on the board itself."""
    match action:
        case verbs.Supervisor():
            await device.supervisor(action.state)
        case verbs.Service():
            number = signal.SIGTERM if action.state == "restart" else signal.SIGSEGV
            for pid in device.processes_of(action.name):
                os.killpg(pid, number)
        case verbs.Disk():
            assert device.card is not None
            await device.card.change(action.state or "ok")
        case verbs.Undervolt():
            device.undervolt(on=action.state == "on")
        case verbs.HandoverComplete():
            for path in device.handover_files(action.service, world.services):
                if path.parent.is_dir():
                    path.touch()
        case verbs.Lock():
            await _lock(world, device, action)
        case _:
            raise AssertionError(f"no verb of this lab: {action!r}")


def _met(world: HostWorld, device: LabDevice, name: str, count: int) -> None:
    world.note(device, f"the site firewall met {count} packets of {name}")


def _row(device: LabDevice) -> str:
    return f"/v7/device(uuid='{device.uuid}')"


# --- the cloud's side ---------------------------------------------------------------------------


async def _account(world: HostWorld, device: LabDevice, standing: str) -> None:
    match standing:
        case "frozen" | "thawed":
            await world.cloud.must("PATCH", _row(device), {"is_frozen": standing == "frozen"})
        case "active" | "deactivated":
            await world.cloud.must("PATCH", _row(device), {"is_active": standing == "active"})
        case _:
            await world.cloud.must("DELETE", _row(device))


async def _device_variable(world: HostWorld, device: LabDevice, action: verbs.Config) -> None:
    found = await world.cloud.rows(f"device(uuid='{device.uuid}')?$select=id")
    where = f"device/uuid eq '{device.uuid}'"
    await _variable(world, "device", where, found[0]["id"], action)


async def _variable(
    world: HostWorld, owner: str, where: str, number: int, action: verbs.Config
) -> None:
    """A configuration variable of a device or of the fleet."""
    resource = f"{owner}_config_variable"
    rows = await world.cloud.rows(f"{resource}?$filter=name eq '{action.name}' and {where}")
    if action.value is None:
        for row in rows:
            await world.cloud.must("DELETE", f"/v7/{resource}({row['id']})")
    elif rows:
        path = f"/v7/{resource}({rows[0]['id']})"
        await world.cloud.must("PATCH", path, {"value": action.value})
    else:
        given = {owner: number, "name": action.name, "value": action.value}
        await world.cloud.post(resource, **given)


async def _lock(world: HostWorld, device: LabDevice, action: verbs.Lock) -> None:
    """Lock files are made by a process of their own, as user code does it (``O_EXCL``)."""
    if action.override is not None:
        value = "1" if action.override else None
        await _device_variable(world, device, verbs.Config(name=OVERRIDE, value=value))
    for path in device.lock_files(action.service, world.services):
        if action.state == "hold":
            command = (sys.executable, "-c", _TAKE, str(path))
            done = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
            if await done.wait():
                world.note(device, f"the lock {path.name} could not be taken")
        elif action.state == "release":
            path.unlink(missing_ok=True)
    if action.force:
        await world.cloud.ask("POST", ACTION_PATHS["update"], _call(world, device, force=True))


def _call(
    world: HostWorld, device: LabDevice, *, force: bool, cancel: bool = False
) -> dict[str, Any]:
    flags = {"force": force, "cancel": cancel}
    data = {"appId": world.fleet.id, **{name: True for name, given in flags.items() if given}}
    return {"uuid": device.uuid, "method": "POST", "data": data}


async def _through_cloudlink(
    world: HostWorld, device: LabDevice, step: Step, action: verbs.DoAction
) -> None:
    call = _call(world, device, force=action.force, cancel=action.cancel)
    status, body = await world.cloud.ask("POST", ACTION_PATHS[action.name], call)
    text = f"{action.name} answered {status}"
    world.note(device, text)
    wanted = action.expect
    if wanted is None or wanted == status or (wanted == "ok" and status < 300):
        return
    said = f" ({body})" if isinstance(body, str) and body else ""
    world.history.unmet.append(
        Unmet(
            world.now_ms(),
            device.spec.name,
            f"{text}{said}, expected {wanted}",
            step.where.line,
        )
    )
