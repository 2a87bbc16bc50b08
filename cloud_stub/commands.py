"""People's commands: fleets, releases, variables, and what can be done to a device."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, assert_never

from .answers import OK, Refusal, json_answer, json_string
from .columns import COLUMNS
from .messages import (
    AddKey,
    Command,
    CreateFleet,
    CreateRelease,
    DeleteDevice,
    DeleteFleet,
    DeleteRelease,
    DeviceSpoke,
    MoveDevice,
    PinDevice,
    Preregister,
    RenameFleet,
    RevokeKey,
    SetActive,
    SetEnvironment,
    SetFault,
    SetFrozen,
    SetVariable,
    TrackRelease,
    WriteDevice,
)
from .model import Device, Fleet, Image, Key, Release
from .observe import observe
from .register import add_key, preregister
from .status import HeartbeatState, UpdateStatus
from .target_state import fleet_changed, variables_changed
from .variables import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .messages import Response
    from .state import State

FleetCommand = RenameFleet | DeleteFleet | CreateRelease | DeleteRelease | TrackRelease
DeviceCommand = (
    PinDevice | MoveDevice | SetFrozen | SetActive | DeleteDevice | DeviceSpoke | WriteDevice
)
_CONSTRAINT = "Check constraint violated"


def carry_out(state: State, command: Command, *, now_ms: int) -> Response:
    """Do it; a command that cannot be done raises ``Refusal`` and changes nothing."""
    match command:
        case CreateFleet():
            return _create_fleet(state, command)
        case RenameFleet() | DeleteFleet() | CreateRelease() | DeleteRelease() | TrackRelease():
            return _change_fleet(state, command, _fleet(state, command.fleet), now_ms=now_ms)
        case AddKey():
            return add_key(state, command)
        case RevokeKey():
            state.keys.pop(command.sealed, None)
        case Preregister():
            return preregister(state, command)
        case SetVariable():
            return _set_variable(state, command, now_ms=now_ms)
        case SetFault():
            state.faults.add(command.fault) if command.on else state.faults.discard(command.fault)
        case SetEnvironment():
            _set_environment(state, command, now_ms=now_ms)
        case _:
            _change_device(state, command, _device(state, command.uuid), now_ms=now_ms)
    return OK


def _change_fleet(state: State, command: FleetCommand, fleet: Fleet, *, now_ms: int) -> Response:
    match command:
        case CreateRelease():
            return _create_release(state, fleet, command, now_ms=now_ms)
        case DeleteRelease():
            _delete_release(state, fleet, _release(fleet, command.commit), now_ms=now_ms)
        case TrackRelease():
            release = None if command.commit is None else _release(fleet, command.commit)
            _track(state, fleet, release, now_ms=now_ms)
        case RenameFleet():
            fleet.name = command.name
            fleet_changed(fleet)
            _targets_changed(state, state.devices_of(fleet), now_ms=now_ms)
        case DeleteFleet():
            for device in state.devices_of(fleet):
                _delete(state, device)
            state.fleets = {key: kept for key, kept in state.fleets.items() if kept is not fleet}
            del state.fleets_by_uuid[fleet.uuid]
            _revoke_keys(state, fleet)
        case _:
            assert_never(command)
    return OK


def _change_device(state: State, command: DeviceCommand, device: Device, *, now_ms: int) -> None:
    match command:
        case PinDevice():
            _pin(state, device, command.commit, now_ms=now_ms)
        case MoveDevice():
            _move(state, device, _fleet(state, command.fleet), now_ms=now_ms)
        case SetFrozen():
            cause = "frozen" if command.frozen else "thawed"
            state.write(device, {"is_frozen": command.frozen}, cause, now_ms=now_ms)
        case SetActive():
            cause = "activated" if command.active else "deactivated"
            state.write(device, {"is_active": command.active}, cause, now_ms=now_ms)
        case DeleteDevice():
            _delete(state, device)
        case DeviceSpoke():
            if not device.is_frozen:
                state.contact(device, now_ms=now_ms)
        case WriteDevice():
            write_device(state, device, dict(command.fields), now_ms=now_ms)
        case _:
            assert_never(command)


def _device(state: State, uuid: str) -> Device:
    device = state.devices.get(uuid)
    if device is None:
        raise Refusal(json_string(404, f"Unknown device {uuid}"))
    return device


def _fleet(state: State, name: str) -> Fleet:
    fleet = state.fleets.get(name) or state.fleets_by_uuid.get(name)
    if fleet is None:
        raise Refusal(json_string(404, f"Unknown fleet {name}"))
    return fleet


def _release(fleet: Fleet, commit: str) -> Release:
    release = fleet.releases.get(commit)
    if release is None:
        raise Refusal(json_string(404, f"Unknown release {commit}"))
    return release


# --- fleets and releases ------------------------------------------------------------------------


def _create_fleet(state: State, command: CreateFleet) -> Response:
    if command.name in state.fleets or command.uuid in state.fleets_by_uuid:
        raise Refusal(json_string(409, '"app_name" and "organization" must be unique.'))
    number = command.number or state.next_number()
    fleet = Fleet(number, command.name, command.uuid, command.device_type)
    # who gives numbers of its own may have several fleets of one name: of different people
    state.fleets[fleet.uuid if command.number else fleet.name] = fleet
    state.fleets_by_uuid[fleet.uuid] = fleet
    return json_answer(201, {"id": fleet.id})


def _create_release(state: State, fleet: Fleet, command: CreateRelease, *, now_ms: int) -> Response:
    known = fleet.releases.get(command.commit)
    if known is not None and known.id != command.number:
        raise Refusal(json_string(409, '"commit" and "belongs_to__application" must be unique.'))
    number = command.number or state.next_number()
    release = known or Release(number, fleet, command.commit)
    release.services, release.images = {}, {}
    for spec in command.services:
        location, _, digest = spec.image.partition("@")
        if spec.name not in fleet.service_ids:
            fleet.service_ids[spec.name] = spec.service_id or state.next_number()
        release.services[spec.name] = spec
        release.images[spec.name] = Image(
            id=spec.image_id or state.next_number(),
            service=spec.name,
            service_id=fleet.service_ids[spec.name],
            location=location,
            digest=digest,
        )
    fleet.releases[release.commit] = release
    if known is not None:
        fleet_changed(fleet)
        changed = [device for device in state.devices_of(fleet) if device.should_run is known]
        _targets_changed(state, changed, now_ms=now_ms)
    if command.track:
        _track(state, fleet, release, now_ms=now_ms)
    return json_answer(201, {"id": release.id})


def _revoke_keys(state: State, fleet: Fleet) -> None:
    """Nothing registers into a fleet that is gone."""
    for sealed in [
        sealed
        for sealed, owner in state.keys.items()
        if isinstance(owner, Key) and owner.fleet is fleet
    ]:
        del state.keys[sealed]


def _delete_release(state: State, fleet: Fleet, release: Release, *, now_ms: int) -> None:
    for device in state.devices_of(fleet):
        if device.pinned is release:
            _pin(state, device, None, now_ms=now_ms)
        if device.running_release is release or any(
            row.release is release for row in device.installs
        ):
            state.touch(device, "release deleted")
            device.installs = tuple(row for row in device.installs if row.release is not release)
            if device.running_release is release:
                device.running_release = None
    if fleet.tracks is release:
        _track(state, fleet, None, now_ms=now_ms)
    del fleet.releases[release.commit]
    fleet_changed(fleet)


def _track(state: State, fleet: Fleet, release: Release | None, *, now_ms: int) -> None:
    if fleet.tracks is release:
        return
    following = [device for device in state.devices_of(fleet) if device.pinned is None]
    for device in following:
        state.touch(device, "release")
    fleet.tracks = release
    _targets_changed(state, following, now_ms=now_ms)


def _targets_changed(state: State, devices: Iterable[Device], *, now_ms: int) -> None:
    """New ETags, and a push through cloudlink a little later (``SUPERVISOR.md §10``)."""
    changed = tuple(devices)
    for device in changed:
        device.target_changed()
    if changed:
        state.calls.push(changed, now_ms=now_ms)


# --- a device -----------------------------------------------------------------------------------


def _pin(state: State, device: Device, commit: str | None, *, now_ms: int) -> None:
    release = None if commit is None else _release(device.fleet, commit)
    if device.pinned is not release:
        state.touch(device, "pin")
        device.pinned = release
        _targets_changed(state, [device], now_ms=now_ms)


def _move(state: State, device: Device, fleet: Fleet, *, now_ms: int) -> None:
    if device.fleet is not fleet:
        state.touch(device, "move")
        device.fleet = fleet
        device.pinned = None  # a pin is to a release of the fleet it leaves
        _targets_changed(state, [device], now_ms=now_ms)


def _delete(state: State, device: Device) -> None:
    state.touch(device, "deleted")
    device.deleted = True
    device.target_changed()
    device.heartbeat_due_ms = -1
    del state.devices[device.uuid]
    state.gone[device.uuid] = observe(device, state.settings.profile)


def _set_variable(state: State, command: SetVariable, *, now_ms: int) -> Response:
    wrong = refusal(command.name)
    if wrong is not None:
        raise Refusal(json_string(400, wrong))
    cause = "configuration"
    if command.level == "device":
        device = _device(state, command.target)
        old = device.variables.get(command.name)
        if old != command.value:
            state.touch(device, cause)
            variables = dict(device.variables)
            _put(variables, command)
            device.variables = _shared(tuple(sorted(variables.items())))
            _targets_changed(state, [device], now_ms=now_ms)
    else:
        fleet = _fleet(state, command.target)
        old = fleet.variables.get(command.name)
        if old != command.value:
            devices = state.devices_of(fleet)
            for device in devices:
                state.touch(device, cause)
            _put(fleet.variables, command)
            variables_changed(fleet)
            _targets_changed(state, devices, now_ms=now_ms)
    if command.value is None or old is not None:
        return OK
    return json_answer(201, {"name": command.name, "value": command.value})


def _set_environment(state: State, command: SetEnvironment, *, now_ms: int) -> None:
    service, name, value = command.service, command.name, command.value
    if command.level == "device":
        device = _device(state, command.target)
        device.environment = device.environment.changed(service, name, value)
        _targets_changed(state, [device], now_ms=now_ms)
    else:
        fleet = _fleet(state, command.target)
        fleet.environment = fleet.environment.changed(service, name, value)
        fleet_changed(fleet)
        _targets_changed(state, state.devices_of(fleet), now_ms=now_ms)


@lru_cache(maxsize=4096)
def _shared(variables: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """One value for all devices with the same variables; nobody changes it."""
    return MappingProxyType(dict(variables))


def _put(variables: dict[str, str], command: SetVariable) -> None:
    if command.value is None:
        variables.pop(command.name, None)
    else:
        variables[command.name] = command.value


def write_device(
    state: State,
    device: Device,
    fields: dict[str, Any],
    *,
    now_ms: int,
    cause: str = "written by hand",
) -> None:
    """A direct write through the resource API: it always writes, and so moves the events.

    Writing ``api_heartbeat_state`` moves neither its date nor a timer (recorded).
    """
    unknown = [name for name in fields if name not in COLUMNS]
    if unknown:
        raise Refusal(json_string(400, f"Unknown field {unknown[0]}"))
    values = dict(fields)
    if "api_heartbeat_state" in values:
        if values["api_heartbeat_state"] not in tuple(HeartbeatState):
            raise Refusal(json_string(400, _CONSTRAINT))
        values["api_heartbeat_state"] = HeartbeatState(values["api_heartbeat_state"])
    if values.get("update_status") not in (None, *UpdateStatus):
        raise Refusal(json_string(400, _CONSTRAINT))
    state.write(device, values, cause, now_ms=now_ms)
