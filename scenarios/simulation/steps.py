"""A scenario's verbs, carried out: each becomes a call of a machine, a link or the cloud."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from agent.host_os import ProgressScript, ProgressStep, flasher, os_update
from cloud_stub.messages import (
    DeleteDevice,
    MoveDevice,
    PinDevice,
    Response,
    SetActive,
    SetEnvironment,
    SetFault,
    SetFrozen,
    SetVariable,
)

from .. import verbs
from ..history import Mark, Unmet
from ..roster import fleets_of
from .cloudside import OPEN, FrontDoor
from .links import Rule
from .releases import image_name, publish

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model import Step
    from ..virtual import World
    from .device import Device

IMAGE_NAME = "$IMAGE/"
"""Before commit and service in the body of a scripted report."""
OVERRIDE_VARIABLE = "BALENA_SUPERVISOR_OVERRIDE_LOCK"
ACTION_PATHS = {
    "reboot": "/supervisor/v1/reboot",
    "restart": "/supervisor/v1/restart",
    "shutdown": "/supervisor/v1/shutdown",
    "purge": "/supervisor/v1/purge",
    "update": "/supervisor/v1/update",
    "blink": "/supervisor/v1/blink",
}

CloudVerb = (
    verbs.Api | verbs.Registry | verbs.VpnServer | verbs.CloudRestart | verbs.Delta | verbs.Incident
)
"""Verbs that act on no device."""


def carry_out(world: World, step: Step) -> None:
    """Mark the step in the history and do it."""
    now_ms = world.agenda.now_ms
    world.history.marks.append(Mark(now_ms, step.id, describe(step.action), step.devices))
    devices = [world.devices[name] for name in step.devices]
    action = step.action
    match action:
        case verbs.End():
            pass
        case verbs.Firewall() | verbs.Network() | verbs.Impair() | verbs.CaptivePortal():
            _change_links(world, devices, action)
        case verbs.Dns():
            for device in devices:
                resolver = replace(
                    device.link,
                    dns=action.state,
                    dns_latency_ms=action.latency_ms,
                    dns_share=action.share,
                )
                world.conditions.set_link(device, resolver)
        case _ if isinstance(action, CloudVerb):
            _cloud_fault(world, action)
        case verbs.Release():
            _release(world, step, action)
        case verbs.Heartbeat() | verbs.CloudlinkUp() | verbs.CloudlinkDown() | verbs.Report():
            for device in devices:
                _primitive(world, device, action)
        case verbs.DoAction():
            for device in devices:
                _through_cloudlink(world, device, step, action)
        case _:
            for device in devices:
                _on_device(world, device, action)


def _release(world: World, step: Step, action: verbs.Release) -> None:
    for fleet in [action.fleet] if action.fleet else fleets_of(step.devices, world.fleets):
        publish(world, action, fleet=fleet)


def describe(action: Any) -> str:
    """A verb with the parameters that were given, on one line."""
    given = action.model_dump(exclude_unset=True, exclude={"do"}, by_alias=True)
    words = ", ".join(f"{name}: {_short(value)}" for name, value in given.items())
    return f"{action.do}({words})" if words else str(action.do)


def _short(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple | dict) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


# --- links --------------------------------------------------------------------------------------


def _change_links(
    world: World,
    devices: Iterable[Device],
    action: verbs.Firewall | verbs.Network | verbs.Impair | verbs.CaptivePortal,
) -> None:
    for device in devices:
        link = device.link
        match action:
            case verbs.Firewall():
                if action.block is not None:
                    rule = Rule(
                        mode=action.mode,
                        outward=action.direction != "in",
                        inward=action.direction != "out",
                    )
                    link = link.block(action.block, rule)
                else:
                    link = link.allow(action.allow or ())
            case verbs.Network():
                link = replace(link, up=action.state == "up")
            case verbs.CaptivePortal():
                link = replace(link, captive=action.state == "on")
            case verbs.Impair():
                if action.clear:
                    link = link.unimpaired()
                link = link.impaired(
                    extra_latency_ms=action.latency_ms,
                    jitter_ms=action.jitter_ms,
                    loss=action.loss,
                    rate_bytes_per_second=action.rate_bytes_per_second,
                    mtu=action.mtu,
                    nat_timeout_ms=action.nat_timeout_ms,
                    idle_timeout_ms=action.idle_timeout_ms,
                )
        world.conditions.set_link(device, link)


# --- the cloud's side ---------------------------------------------------------------------------


def _cloud_fault(world: World, action: CloudVerb) -> None:
    match action:
        case verbs.Api():
            door = FrontDoor(
                state=action.state,
                status=action.status,
                retry_after_s=_seconds(action.retry_after_ms),
                latency_ms=action.latency_ms,
                share=action.share,
            )
            world.cloudside.door = OPEN if door.open else door
        case verbs.Registry():
            world.set_registry(action)
        case verbs.CloudRestart():
            world.cloudside.restart(action.down_for_ms)
        case verbs.Incident():
            world.command(SetFault(fault=action.name, on=action.state == "on"))
        case verbs.Delta():
            world.set_delta(action.state)
        case verbs.VpnServer():
            names = [action.name] if action.name else sorted(world.tunnels.hosts.by_name)
            for name in names:
                _vpn_server(world, name, action.state)


def _vpn_server(
    world: World, name: str, state: Literal["up", "down", "hang", "error", "killed"]
) -> None:
    hosts = world.tunnels.hosts
    known = hosts.by_name.get(name)
    match state:
        case "up":
            if known is not None and known.state in ("hang", "error"):
                hosts.resume(name)
            elif known is None or known.state == "down":
                hosts.start(name)
        case "killed":
            if known is not None:
                hosts.kill(name)
        case "down":
            if known is not None:
                hosts.stop(name)
        case "hang":
            if known is not None and known.state != "down":
                hosts.hang(name)
        case "error":
            if known is not None and known.state != "down":
                known.state = state


def _seconds(span_ms: int | None) -> int | None:
    return None if span_ms is None else -(-span_ms // 1_000)


# --- a device -----------------------------------------------------------------------------------


def _on_device(world: World, device: Device, action: Any) -> None:
    machines = world.machines
    match action:
        case verbs.PowerOn():
            machines.power_on(device)
        case verbs.PowerOff():
            machines.power_off(device)
        case verbs.Reboot():
            machines.reboot(device)
        case verbs.Supervisor():
            machines.supervisor(device, action.state)
        case verbs.Service():
            world.conditions.misbehave(device, action.name, action.state)
        case verbs.Disk() | verbs.Undervolt() | verbs.Clock() | verbs.Dhcp():
            _on_board(world, device, action)
        case verbs.HandoverComplete():
            world.conditions.handover_complete(device, action.service)
        case verbs.Lock():
            _lock(world, device, action)
        case _:
            _on_account(world, device, action)


def _on_board(
    world: World,
    device: Device,
    action: verbs.Disk | verbs.Undervolt | verbs.Clock | verbs.Dhcp,
) -> None:
    match action:
        case verbs.Disk():
            if action.state is not None:
                world.conditions.set_disk(device, action.state)
        case verbs.Undervolt():
            world.conditions.undervolt(device, on=action.state == "on")
        case verbs.Clock():
            world.conditions.set_clock(
                device, shown_ms=action.set_ms, skew_ms=action.skew_ms, jump_ms=action.jump_ms
            )
        case verbs.Dhcp():
            world.conditions.new_address(device, action.address)


def _on_account(world: World, device: Device, action: Any) -> None:
    """What people do to a device's entry in the cloud, and what is written to its media."""
    match action:
        case verbs.Config():
            by_device = action.level == "device"
            target = device.uuid or "" if by_device else action.fleet or device.spec.fleet
            variable = SetVariable(
                level=action.level, target=target, name=action.name, value=action.value
            )
            world.tell(variable, device)
        case verbs.Environment():
            by_device = action.level == "device"
            environment = SetEnvironment(
                level=action.level,
                target=device.uuid or "" if by_device else device.spec.fleet,
                service=action.service,
                name=action.name,
                value=action.value,
            )
            world.tell(environment, device)
        case verbs.Move():
            world.tell(MoveDevice(uuid=device.uuid or "", fleet=action.fleet), device)
        case verbs.Clone():
            world.clone(device, world.devices[action.of])
        case verbs.Pin():
            world.tell(PinDevice(uuid=device.uuid or "", commit=action.commit), device)
        case verbs.Account():
            _account(world, device, action.set)
        case verbs.Preregister():
            world.preregister(device, preload=action.release, configured=action.configured)
        case verbs.Provision():
            world.provision(device, preload=action.release, configured=action.configured)
        case verbs.PostProvision():
            world.flash(device, flash_script(action))
        case verbs.OsUpdate():
            world.conditions.run_host_program(device, os_script(action), os_version=action.version)
        case _:
            raise AssertionError(f"no such verb: {action!r}")


def flash_script(action: verbs.PostProvision) -> ProgressScript:
    """What the flasher reports, in the time that is said."""
    steps = flasher().steps
    span = action.flash_time_ms // max(1, len(steps) - 1)
    paced = [replace(step, after_ms=span if step.after_ms else 0) for step in steps]
    return ProgressScript(steps=tuple(paced), ends_with="power_off")


def os_script(action: verbs.OsUpdate) -> ProgressScript:
    """What the updater reports."""
    steps, wait = [], 0
    for stage in action.steps:
        steps.append(ProgressStep(after_ms=wait, state=stage.state, progress=stage.progress))
        wait = stage.lasts_ms
    return replace(os_update(tuple(steps)), linger_ms=wait)


def _lock(world: World, device: Device, action: verbs.Lock) -> None:
    if action.state is not None:
        world.conditions.user_lock(device, action.service, hold=action.state == "hold")
    if action.override is not None:
        variable = SetVariable(
            level="device",
            target=device.uuid or "",
            name=OVERRIDE_VARIABLE,
            value="1" if action.override else "0",
        )
        world.tell(variable, device)
    if action.force:
        world.ask_device(device, "/supervisor/v1/update", {"force": True}, lambda _: None)


def _account(world: World, device: Device, standing: str) -> None:
    uuid = device.uuid or ""
    match standing:
        case "frozen" | "thawed":
            world.tell(SetFrozen(uuid=uuid, frozen=standing == "frozen"), device)
        case "active" | "deactivated":
            world.tell(SetActive(uuid=uuid, active=standing == "active"), device)
        case _:
            world.tell(DeleteDevice(uuid=uuid), device)


# --- through cloudlink, and raw primitives ------------------------------------------------------


def _through_cloudlink(world: World, device: Device, step: Step, action: verbs.DoAction) -> None:
    asked_ms = world.agenda.now_ms
    if action.expect is not None:
        text = f"{action.name} has no answer by the end of the run, expected {action.expect}"
        world.unanswered[device.name, asked_ms, step.id] = Unmet(
            asked_ms, device.name, text, step.where.line
        )

    def judge(response: Response | None) -> None:
        world.unanswered.pop((device.name, asked_ms, step.id), None)
        status, body = (None, None) if response is None else (response.status, response.body)
        world.cloudside.note(device.name, action.told(status), of_lab=True)
        detail = action.unmet(status, body)
        if detail is not None:
            world.history.unmet.append(
                Unmet(world.agenda.now_ms, device.name, detail, step.where.line)
            )

    app = world.cloudside.cloud.fleet_id(device.spec.fleet)
    flags = {"force": action.force, "cancel": action.cancel}
    body = {"appId": app, **{name: True for name, given in flags.items() if given}}
    world.ask_device(device, ACTION_PATHS[action.name], body, judge)


def _primitive(world: World, device: Device, action: Any) -> None:
    def note(text: str) -> None:
        world.cloudside.note(device.name, text, of_lab=True)

    match action:
        case verbs.Heartbeat():
            status = world.as_device(device, "GET", f"/device/v3/{device.uuid}/state", None)
            note(f"heartbeat answered {status}")
        case verbs.Report():
            names = world.fleet_uuid(device.spec.fleet), device.spec.fleet
            body = {device.uuid: _with_names(action.body, *names)}
            status = world.as_device(device, "PATCH", "/device/v3/state", body)
            note(f"report answered {status}")
        case verbs.CloudlinkUp() | verbs.CloudlinkDown():
            word = "connect" if isinstance(action, verbs.CloudlinkUp) else "disconnect"
            status = world.as_vpn(action.service, f"/services/vpn/client-{word}", device)
            note(f"client-{word} by {action.service} answered {status}")
        case _:
            raise AssertionError(f"no primitive: {action!r}")


def _with_names(value: Any, fleet_uuid: str, fleet: str) -> Any:
    """The body with ``$APP`` as the fleet's uuid and ``$IMAGE/r1/main`` as that image's place."""
    if isinstance(value, dict):
        return {
            (fleet_uuid if name == "$APP" else name): _with_names(item, fleet_uuid, fleet)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_with_names(item, fleet_uuid, fleet) for item in value]
    if isinstance(value, str) and value.startswith(IMAGE_NAME):
        commit, _, service = value.removeprefix(IMAGE_NAME).partition("/")
        return image_name(fleet, commit, service)
    return value
