"""The HTTP routes of devices and of the VPN service: path to answer (``WIRE.md``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import cloudlink, register, report, target_state
from .answers import (
    BAD_REQUEST,
    NO_CONTENT,
    NOT_FOUND,
    NOT_MODIFIED,
    OK,
    UNAUTHORIZED,
    Refusal,
    is_fresh,
    json_answer,
    json_string,
    plain,
)
from .auth import identify, own_device, with_api_key
from .commands import carry_out, write_device
from .messages import Response, SetVariable

if TYPE_CHECKING:
    from .messages import Request
    from .model import Device
    from .state import State

NO_ONLINE_DEVICE = json_string(404, "No online device(s) found")
_STATE_PATH = 5  # /device/v3/<uuid>/state


def answer(state: State, request: Request, *, now_ms: int) -> Response | None:
    """The answer, or ``None`` where a device has to be asked first.

    Raises:
        Refusal: with the answer; nothing was stored.
    """
    parts = request.path.split("/")
    match parts:
        case ["", "device", "v3" | "v2", uuid, "state"] if request.method in ("GET", "HEAD"):
            return _get_state(state, request, uuid, parts[2], now_ms=now_ms)
        case ["", "device", "v2", uuid, "state"] if request.method == "PATCH":
            return report.patch_v2(state, request, uuid, now_ms=now_ms)
        case ["", "device", "v3", "fleet", uuid, "state"] if request.method == "GET":
            return _get_fleet_state(state, request, uuid, now_ms=now_ms)
        case ["", "supervisor", *rest] if request.method == "POST":
            return _call_device(state, request, "/" + "/".join(rest), now_ms=now_ms)
        case ["", "services", "vpn", "auth", uuid] if request.method == "GET":
            own_device(with_api_key(state, request, now_ms=now_ms), uuid)
            return OK
        case ["", "api-key", "device", number, "device-key"] if request.method == "POST":
            return register.exchange_key(state, request, number, now_ms=now_ms)
    return _fixed(state, request, now_ms=now_ms)


def _fixed(state: State, request: Request, *, now_ms: int) -> Response:
    """Routes without a variable in their path."""
    match request.method, request.path:
        case "PATCH", "/device/v3/state":
            return report.patch_v3(state, request, now_ms=now_ms)
        case "POST", "/services/vpn/client-connect":
            return _vpn_event(state, request, up=True, now_ms=now_ms)
        case "POST", "/services/vpn/client-disconnect":
            return _vpn_event(state, request, up=False, now_ms=now_ms)
        case "POST", "/device/register":
            return register.register(state, request, now_ms=now_ms)
        case "GET", "/v7/device":
            return register.find_device(state, request, now_ms=now_ms)
        case "POST", "/v7/device_config_variable":
            return _device_variable(state, request, now_ms=now_ms)
        case "PATCH", "/v6/device":
            return _host_progress(state, request, now_ms=now_ms)
        case "PATCH", "/device/v3/tags":
            with_api_key(state, request, now_ms=now_ms)
            return OK
        case "POST", "/v7/service_instance":
            _as_vpn_service(state, request, now_ms=now_ms)
            state.instances += 1
            return json_answer(201, {"id": state.instances})
        case "GET", "/ping":
            return plain(200, "OK")
        case "GET", "/connectivity-check":
            return NO_CONTENT
        case _:
            return NOT_FOUND


# --- target states ------------------------------------------------------------------------------


def _get_state(state: State, request: Request, uuid: str, version: str, *, now_ms: int) -> Response:
    device = state.devices.get(uuid)
    if device is None or device.is_frozen:
        return NOT_MODIFIED  # before any look at the key (STATUS.md §7)
    caller = identify(state, request, now_ms=now_ms)
    if caller.device is device:
        state.heartbeat(device, now_ms=now_ms)
        state.contact(device, now_ms=now_ms)
    elif caller.kind != "user":
        return UNAUTHORIZED
    settings = state.settings
    if version == "v3":
        etag = target_state.etag_v3(device, settings)
    else:
        etag = target_state.etag_v2(device, settings)
    headers = {"etag": etag}
    if is_fresh(request.headers.get("if-none-match"), etag):
        return Response(status=304, headers=headers)
    if request.method == "HEAD":
        length = int(etag.partition("-")[0].removeprefix('W/"'), 16)
        kind = "application/json; charset=utf-8"
        return Response(
            status=200, headers={**headers, "content-type": kind, "content-length": str(length)}
        )
    build = target_state.body_v3 if version == "v3" else target_state.body_v2
    return Response(status=200, body=build(device, settings), headers=headers)


def _get_fleet_state(state: State, request: Request, uuid: str, *, now_ms: int) -> Response:
    """Not a heartbeat."""
    fleet = state.fleets_by_uuid.get(uuid)
    caller = identify(state, request, now_ms=now_ms)
    owns = caller.device is not None and not caller.device.deleted and caller.device.fleet is fleet
    if fleet is None or not (owns or caller.kind == "user"):
        return UNAUTHORIZED
    etag = target_state.fleet_etag(fleet, state.settings)
    headers = {"etag": etag}
    if is_fresh(request.headers.get("if-none-match"), etag):
        return Response(status=304, headers=headers)
    return Response(
        status=200, body=target_state.fleet_body(fleet, state.settings), headers=headers
    )


# --- the VPN service ----------------------------------------------------------------------------


def _as_vpn_service(state: State, request: Request, *, now_ms: int) -> None:
    if with_api_key(state, request, now_ms=now_ms).kind != "vpn":
        raise Refusal(UNAUTHORIZED)


def _vpn_event(state: State, request: Request, *, up: bool, now_ms: int) -> Response:
    _as_vpn_service(state, request, now_ms=now_ms)
    body = request.body if isinstance(request.body, dict) else {}
    uuids, instance = body.get("uuids"), body.get("serviceId")
    if not isinstance(uuids, list) or not uuids or not all(isinstance(u, str) for u in uuids):
        raise Refusal(BAD_REQUEST)
    if not isinstance(instance, int) or isinstance(instance, bool):
        raise Refusal(BAD_REQUEST)
    if up and not 0 < instance <= state.instances:
        text = "Data is referenced by is_managed_by__service_instance."
        raise Refusal(json_string(409, text))
    for uuid in dict.fromkeys(uuids):
        device = state.devices.get(uuid)
        if device is None:
            continue
        if up:
            columns = cloudlink.connected(instance)
            state.write(device, columns, cloudlink.UP, now_ms=now_ms)
        elif cloudlink.takes_down(
            device, instance, believe_stale="stale-disconnect" in state.faults
        ):
            columns = cloudlink.disconnected()
            state.write(device, columns, cloudlink.DOWN, now_ms=now_ms)
    return OK


# --- the host and the first environment ---------------------------------------------------------


def _host_progress(state: State, request: Request, *, now_ms: int) -> Response:
    """The flasher and the OS updater write how far they are (``SUPERVISOR.md §3``)."""
    caller = with_api_key(state, request, now_ms=now_ms)
    uuid = register.selected_uuid(request)
    device = state.devices.get(uuid) if uuid else None
    body = request.body
    if uuid is None or not isinstance(body, dict):
        raise Refusal(BAD_REQUEST)
    if device is None or device.is_frozen or not register.may_see(caller, device):
        return OK  # a write whose filter finds no row
    known = ("provisioning_progress", "provisioning_state", "status")
    values: dict[str, Any] = {name: body[name] for name in known if name in body}
    progress = values.get("provisioning_progress")
    if isinstance(progress, str):
        values["provisioning_progress"] = _form_number(progress)
    if isinstance(values.get("status"), str):
        values["status"] = values["status"][:50]
    cause = "host progress"
    state.contact(device, now_ms=now_ms)
    write_device(state, device, values, now_ms=now_ms, cause=cause)
    return OK


def _form_number(text: str) -> int | None:
    """A number of a form field; an empty one or ``null`` is null."""
    if text in ("", "null"):
        return None
    try:
        return int(text)
    except ValueError:
        raise Refusal(BAD_REQUEST) from None


def _device_variable(state: State, request: Request, *, now_ms: int) -> Response:
    """A device (or a person) adds one configuration variable; it must not exist yet."""
    caller = identify(state, request, now_ms=now_ms)
    body = request.body if isinstance(request.body, dict) else {}
    device = state.device_by_id(body.get("device"))
    if device is None or device.is_frozen or caller.kind not in ("user", "device"):
        raise Refusal(UNAUTHORIZED)
    if not register.may_see(caller, device):
        raise Refusal(UNAUTHORIZED)
    name, value = body.get("name"), body.get("value")
    if not isinstance(name, str) or not isinstance(value, str):
        raise Refusal(BAD_REQUEST)
    if name in device.variables:
        raise Refusal(json_string(409, '"device" and "name" must be unique.'))
    command = SetVariable(level="device", target=device.uuid, name=name, value=value)
    carry_out(state, command, now_ms=now_ms)
    if caller.device is device:
        state.contact(device, now_ms=now_ms)
    made = {"device": {"__id": device.id}, "name": name, "value": value}
    return json_answer(201, {**made, "id": state.next_number()})


# --- actions ------------------------------------------------------------------------------------


def _call_device(state: State, request: Request, path: str, *, now_ms: int) -> Response | None:
    """``POST /supervisor/<url>``: an action through cloudlink, or nobody to take it."""
    caller = identify(state, request, now_ms=now_ms)
    if caller.kind != "user":
        raise Refusal(UNAUTHORIZED)
    body = request.body if isinstance(request.body, dict) else {}
    device = _called(state, body)
    if device is None or not device.is_connected_to_vpn or device.is_frozen:
        return NO_ONLINE_DEVICE
    method = body.get("method", "POST")
    given = body.get("data")
    call = state.calls.start(
        device,
        method if isinstance(method, str) else "POST",
        path,
        given if isinstance(given, dict) else {},
        request=request.id,
        now_ms=now_ms,
    )
    state.effects.append(call)
    return None


def _called(state: State, body: dict[str, Any]) -> Device | None:
    uuid = body.get("uuid")
    if isinstance(uuid, str):
        return state.devices.get(uuid)
    return state.device_by_id(body.get("deviceId"))
