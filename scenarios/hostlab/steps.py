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
from ..roster import fleets_of
from ..simulation.steps import flash_script, os_script
from . import host_os, people
from .scripted import Primitive, primitive
from .wire import can_have_wires

if TYPE_CHECKING:
    from ..model import Scenario, Step
    from .device import LabDevice
    from .lab import HostWorld

_OF_THE_CLOUD = (
    *(verbs.Release, verbs.Pin, verbs.Config, verbs.Environment, verbs.Account, verbs.Move),
    *(verbs.Api, verbs.Registry, verbs.VpnServer, verbs.Incident, verbs.Delta, verbs.CloudRestart),
)
OVERRIDE = "BALENA_SUPERVISOR_OVERRIDE_LOCK"
_TAKE = "import os, sys; os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_WRONLY))"


def refuse_what_cannot_be(scenario: Scenario) -> None:
    """Raise ``LabError`` naming every verb this lab cannot do."""
    unable = sorted({_unable(step.action) for step in scenario.steps} - {""})
    if unable:
        raise LabError(f"the host lab cannot do: {', '.join(unable)}; use --lab virtual")


def _unable(action: Any) -> str:
    match action:
        case verbs.Impair():
            why = can_have_wires()
            return f"impair ({why})" if why else ""
        case _:
            return ""


async def carry_out(world: HostWorld, step: Step) -> None:
    """Do what a step says; what is asked of a cloud that restarts is done when it is back, and the
    timeline goes on."""
    if world.cloud.away_s() > 0 and isinstance(step.action, _OF_THE_CLOUD):
        world.spawn(_carry_out(world, step))
    else:
        await _carry_out(world, step)


async def _carry_out(world: HostWorld, step: Step) -> None:
    action: Any = step.action
    devices = [world.devices[name] for name in step.devices]
    match action:
        case verbs.End():
            pass
        case verbs.VpnServer():
            await world.vpn_servers.change(action.name, action.state)
        case verbs.Release():
            await _in_fleets(world, step, action)
        case verbs.Config() | verbs.Environment() if action.level == "fleet":
            await _in_fleets(world, step, action)
        case verbs.DoAction():
            for device in devices:
                world.spawn(people.act(world, device, step, action))
        case verbs.PostProvision() | verbs.OsUpdate():
            for device in devices:
                world.spawn(_host_program(world, device, action))
        case _:
            if not await _at_cloud(world, action):
                await asyncio.gather(*(_on_device(world, device, action) for device in devices))


async def _at_cloud(world: HostWorld, action: Any) -> bool:
    """Whether it is a fault of the cloud's, which it has now."""
    match action:
        case verbs.Api():
            await world.cloud.fault("api", action)
        case verbs.Registry():
            await world.cloud.fault("registry", action)
        case verbs.CloudRestart():
            await world.cloud.restart(action.down_for_ms)
        case verbs.Incident():
            await world.cloud.incident(action)
        case verbs.Delta():
            await world.cloud.delta(action.state)
        case _:
            return False
    return True


async def _in_fleets(
    world: HostWorld, step: Step, action: verbs.Release | verbs.Config | verbs.Environment
) -> None:
    """In the fleet that is named, or in those of the step's devices."""
    members: dict[str, list[str]] = {}
    for spec in world.scenario.devices:
        members.setdefault(spec.fleet, []).append(spec.name)
    named = getattr(action, "fleet", None)
    for name in (named,) if named else fleets_of(step.devices, members):
        match action:
            case verbs.Release():
                await world.fleets[name].release(action)
            case verbs.Config():
                await people.fleet_config(world, name, action)
            case verbs.Environment():
                await people.fleet_environment(world, name, action)


async def _on_device(world: HostWorld, device: LabDevice, action: Any) -> None:
    match action:
        case verbs.PowerOn():
            await device.power_on()
        case verbs.PowerOff():
            await device.power_off()
        case verbs.Reboot():
            await device.reboot()
        case verbs.Pin():
            await people.pin(world, device, None if action.latest else action.commit)
        case verbs.Config():
            await people.device_config(world, device, action)
        case verbs.Environment():
            await people.device_environment(world, device, action)
        case verbs.Account():
            await people.account(world, device, action.set)
        case verbs.Move():
            await people.move(world, device, action.fleet)
        case verbs.Preregister() | verbs.Provision() | verbs.Clone():
            await _to_its_disk(world, device, action)
        case _ if isinstance(action, Primitive):
            await primitive(world, device, action)
        case _:
            await _at_site(world, device, action)


async def _to_its_disk(
    world: HostWorld, device: LabDevice, action: verbs.Preregister | verbs.Provision | verbs.Clone
) -> None:
    """What is written to its disk from outside."""
    cause = "cloned" if isinstance(action, verbs.Clone) else "written anew"
    world.flashed(device, cause, registered=isinstance(action, verbs.Preregister))
    match action:
        case verbs.Preregister():
            await device.preregister(
                world.seed, preload=action.release, configured=action.configured
            )
        case verbs.Provision():
            await device.provision(preload=action.release, configured=action.configured)
        case verbs.Clone():
            device.clone(world.devices[action.of])


async def _host_program(
    world: HostWorld, device: LabDevice, action: verbs.PostProvision | verbs.OsUpdate
) -> None:
    if isinstance(action, verbs.OsUpdate):
        script, version = os_script(action), action.version
    else:
        script, version = flash_script(action), None
        if device.uuid is None:
            world.flashed(device, "written anew", registered=True)
            await device.preregister(world.seed, preload=None)
        device.works.power(on=True)
    await host_os.run_program(world, device, script, version=version)


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
            for pid in device.processes_of(action.name):
                os.killpg(pid, _signal(device, action))
        case verbs.Disk():
            if action.state is not None:  # wear is said of a card: it does nothing in any lab
                assert device.card is not None
                await device.card.change(action.state)
        case verbs.Undervolt():
            host_os.undervolt(device, on=action.state == "on")
        case verbs.Clock():
            world.clocks[device.spec.name].change(
                shown_ms=action.set_ms, skew_ms=action.skew_ms, jump_ms=action.jump_ms
            )
        case verbs.HandoverComplete():
            for path in device.handover_files(action.service, world.services):
                if path.parent.is_dir():
                    path.touch()
        case verbs.Lock():
            await _lock(world, device, action)
        case _:
            raise AssertionError(f"no verb of this lab: {action!r}")


def _signal(device: LabDevice, action: verbs.Service) -> signal.Signals:
    """How user code ends: of its own will with status 0, which SIGTERM asks for, or not."""
    if action.state == "crash":
        return signal.SIGSEGV
    for_good = action.state == "exit" or action.name not in device.fleet.mortal
    return signal.SIGTERM if for_good else signal.SIGKILL


def _met(world: HostWorld, device: LabDevice, name: str, count: int) -> None:
    world.note(device, f"the site firewall met {count} packets of {name}")


async def _lock(world: HostWorld, device: LabDevice, action: verbs.Lock) -> None:
    """Lock files are made by a process of their own, as user code does it (``O_EXCL``)."""
    if action.override is not None:
        value = "1" if action.override else None
        await people.device_config(world, device, verbs.Config(name=OVERRIDE, value=value))
    for path in device.lock_files(action.service, world.services):
        if action.state == "hold":
            command = (sys.executable, "-c", _TAKE, str(path))
            done = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
            if await done.wait():
                world.note(device, f"the lock {path.name} could not be taken")
        elif action.state == "release":
            path.unlink(missing_ok=True)
    if action.force:
        await people.force_update(world, device)
