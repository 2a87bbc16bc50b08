"""How devices get a row and keys: registration, preregistration, key exchange (``WIRE.md §3``)."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .answers import (
    BAD_REQUEST,
    UNAUTHORIZED,
    Refusal,
    html,
    json_answer,
    json_string,
)
from .auth import identify, with_api_key
from .device_types import DEVICE_TYPES
from .model import Key
from .names import name_of
from .report_body import cut_at_blank

if TYPE_CHECKING:
    from .auth import Caller
    from .messages import AddKey, Preregister, Request, Response
    from .model import Device
    from .state import State

CAUSE = "registration"
_UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{62}")
_UUID_RULE = "Device UUID must be a 32 or 62 character long lower case hex string."
UUID_TAKEN = html(409, '"uuid" must be unique.')
KEY_TAKEN = html(409, '"key" must be unique.')


def register(state: State, request: Request, *, now_ms: int) -> Response:
    """``POST /device/register`` with a provisioning key."""
    caller = with_api_key(state, request, now_ms=now_ms)
    if caller.kind != "provisioning" or caller.fleet is None:
        raise Refusal(UNAUTHORIZED)
    body = request.body if isinstance(request.body, dict) else {}
    uuid = body.get("uuid")
    if not uuid:
        raise Refusal(json_string(400, "UUID must be specified"))
    if not _is_integer(body.get("application")):
        raise Refusal(json_string(400, "Application ID must be a valid integer"))
    if not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
        raise Refusal(json_string(400, _UUID_RULE))
    fleet = caller.fleet
    if int(body["application"]) != fleet.id:
        raise Refusal(UNAUTHORIZED)
    device_type = body.get("device_type")
    if device_type != fleet.device_type and device_type not in DEVICE_TYPES:
        raise Refusal(json_string(404, f"Unknown device type {device_type}"))
    key = body.get("api_key") or _made_key(uuid, request)
    _check_free(state, uuid, key)
    device = state.add_device(uuid, name_of(uuid), fleet, str(device_type), key)
    _first_values(state, device, body, now_ms=now_ms)
    return json_answer(201, {"id": device.id, "uuid": uuid, "api_key": key})


def _is_integer(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    return isinstance(value, int) and not isinstance(value, bool)


def _made_key(uuid: str, request: Request) -> str:
    """A key for a device that brought none; nobody can tell it without the provisioning key."""
    secret = f"{request.headers.get('authorization', '')}{request.query.get('apikey', '')}"
    secret_key = blake2b(secret.encode()).digest()
    return blake2b(uuid.encode(), key=secret_key, digest_size=16).hexdigest()


def _check_free(state: State, uuid: str, key: str) -> None:
    if uuid in state.devices:
        raise Refusal(UUID_TAKEN)
    # recorded: a deleted device cannot be registered again, whichever key it brings
    if uuid in state.gone or state.owner(key) is not None:
        raise Refusal(KEY_TAKEN)


def _first_values(state: State, device: Device, body: dict[str, Any], *, now_ms: int) -> None:
    values: dict[str, Any] = {}
    for name, limit in (("os_version", 70), ("supervisor_version", 20)):
        if isinstance(body.get(name), str):
            values[name] = body[name][:limit]
    if body.get("os_variant") in ("dev", "prod"):
        values["os_variant"] = body["os_variant"]
    if isinstance(body.get("mac_address"), str):
        values["mac_address"] = cut_at_blank(body["mac_address"], 900)
    if values:
        # it says what it runs: the device itself speaks, not a person preregistering it
        state.write(device, values | {"is_active": True}, CAUSE, now_ms=now_ms)


def preregister(state: State, command: Preregister) -> Response:
    """A person registers a device; it stays Inactive until it speaks to the API."""
    fleet = state.fleets.get(command.fleet)
    if fleet is None:
        raise Refusal(json_string(404, f"Unknown fleet {command.fleet}"))
    if not _UUID.fullmatch(command.uuid):
        raise Refusal(json_string(400, _UUID_RULE))
    _check_free(state, command.uuid, command.api_key)
    device = state.add_device(
        command.uuid, command.name, fleet, command.device_type, command.api_key
    )
    return json_answer(201, {"id": device.id, "uuid": device.uuid, "api_key": command.api_key})


def find_device(state: State, request: Request, *, now_ms: int) -> Response:
    """``GET /v7/device?$select=id&$filter=uuid eq '…'``, which is how a device asks for its id."""
    caller = identify(state, request, now_ms=now_ms)
    if caller.kind in ("nobody", "vpn"):
        raise Refusal(UNAUTHORIZED)
    uuid = selected_uuid(request)
    if uuid is None or request.query.get("$select") != "id":
        raise Refusal(BAD_REQUEST)
    device = state.devices.get(uuid)
    if device is None or not may_see(caller, device):
        return json_answer(200, {"d": []})
    if caller.device is device and not device.is_frozen:
        state.contact(device, now_ms=now_ms)
    return json_answer(200, {"d": [{"id": device.id}]})


_UUID_FILTER = re.compile(r"\(?\s*uuid\s+eq\s+'([0-9a-f]*)'\s*\)?")


def selected_uuid(request: Request) -> str | None:
    """The uuid of ``$filter=uuid eq '…'``."""
    found = _UUID_FILTER.fullmatch(request.query.get("$filter", ""))
    return found.group(1) if found else None


def may_see(caller: Caller, device: Device) -> bool:
    """A device sees itself, a provisioning key its fleet, a user everything."""
    return (
        caller.kind == "user"
        or caller.device is device
        or (caller.kind == "provisioning" and caller.fleet is device.fleet)
    )


def exchange_key(state: State, request: Request, number: str, *, now_ms: int) -> Response:
    """``POST /api-key/device/<id>/device-key``: one more key for a device."""
    caller = identify(state, request, now_ms=now_ms)
    device = state.device_by_id(int(number)) if number.isascii() and number.isdigit() else None
    allowed = caller.kind in ("user", "provisioning")
    if device is None or not allowed or not may_see(caller, device):
        raise Refusal(UNAUTHORIZED)
    body = request.body if isinstance(request.body, dict) else {}
    key = body.get("apiKey") or _made_key(f"{device.uuid}{now_ms}", request)
    if not isinstance(key, str):
        raise Refusal(BAD_REQUEST)
    owner = state.owner(key)
    if owner is not None and owner is not device:
        raise Refusal(KEY_TAKEN)
    state.add_device_key(device, key)
    return json_string(200, key)


def add_key(state: State, command: AddKey) -> Response:
    """A new credential of a person's making."""
    if state.owner(command.key) is not None:
        raise Refusal(KEY_TAKEN)
    state.keys[state.seal(command.key)] = _key_for(state, command)
    return json_string(200, command.key)


def _key_for(state: State, command: AddKey) -> Key | Device:
    unknown = json_string(404, f"Unknown owner {command.owner}")
    expires_at_ms = command.expires_at_ms
    if command.kind == "provisioning":
        fleet = state.fleets.get(command.owner)
        if fleet is None:
            raise Refusal(unknown)
        return Key("provisioning", fleet=fleet, expires_at_ms=expires_at_ms)
    if command.kind == "device":
        device = state.devices.get(command.owner)
        if device is None:
            raise Refusal(unknown)
        if expires_at_ms is None:
            return device
        device.key_expires = True
        return Key("device", device=device, expires_at_ms=expires_at_ms)
    return Key(command.kind, expires_at_ms=expires_at_ms)
