"""What clients ask besides resources and keys: about this cloud, and a device's ``config.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..device_types import DEVICE_TYPES
from ..variables import NAMESPACES
from .wire import Answer, body_of, empty, json_response, refused

if TYPE_CHECKING:
    from aiohttp import web

    from .app import Server

DEVICE_PORT = 48_484
"""Of the supervisor API."""
MINUTE_MS = 60_000
_FLAG = {"type": "string", "enum": ["0", "1", "true", "false"]}
_WHOLE = {"type": "string", "pattern": "^[0-9]+$"}
VARIABLES: dict[str, dict[str, Any]] = {
    "BALENA_SUPERVISOR_CONNECTIVITY_CHECK": _FLAG,
    "BALENA_SUPERVISOR_HARDWARE_METRICS": _FLAG,
    "BALENA_SUPERVISOR_INSTANT_UPDATE_TRIGGER": _FLAG,
    "BALENA_SUPERVISOR_LOCAL_MODE": _FLAG,
    "BALENA_SUPERVISOR_LOG_CONTROL": _FLAG,
    "BALENA_SUPERVISOR_OVERRIDE_LOCK": _FLAG,
    "BALENA_SUPERVISOR_POLL_INTERVAL": _WHOLE,
    "BALENA_SUPERVISOR_VPN_CONTROL": _FLAG,
}
"""Configuration variables that supervisors act on (``SUPERVISOR.md`` §6); others are taken too."""


class ClientApi:
    """Answers what clients and hosts want to know of this cloud."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def device_types(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """``GET /device-types/v1``."""
        return json_response(
            [
                {"slug": slug, "name": kind.name, "arch": kind.architecture, "state": "RELEASED"}
                for slug, kind in DEVICE_TYPES.items()
            ]
        )

    async def config(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """``GET /config``: what clients are told of this cloud."""
        types = [{"slug": slug, "name": kind.name} for slug, kind in DEVICE_TYPES.items()]
        host = self._server.registry
        return json_response(
            {
                "deployment": None,
                "deviceUrlsBase": f"devices.{host}",
                "adminUrl": f"admin.{host}",
                "gitServerUrl": f"git.{host}",
                "ga": None,
                "mixpanelToken": "",
                "deviceTypes": types,
            }
        )

    async def variables(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """``GET /config/vars``: which names variables may have."""
        return json_response(
            {
                "reservedNames": ["BALENA", "RESIN", "USER"],
                "reservedNamespaces": list(NAMESPACES),
                "invalidRegex": {},
                "whiteListedNames": [],
                "whiteListedNamespaces": [],
                "blackListedNames": [],
                "configVarSchema": {
                    "type": "object",
                    "$schema": "http://json-schema.org/draft-06/schema#",
                    "properties": VARIABLES,
                },
            }
        )

    async def os_config(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """``GET /os/v1/config``: what ``os-config`` applies on a host (nothing to change here)."""
        services = {"openvpn": {"config": ""}, "ssh": {"authorized_keys": ""}}
        return json_response({"services": services, "schema_version": "1.0.0"})

    async def download_config(self, request: web.Request) -> web.Response:
        """``POST /download-config``: a new device's ``config.json``, with a new provisioning key.

        Raises:
            Answer: not their fleet, or the body is wrong.
        """
        server = self._server
        body = await body_of(request)
        caller = server.caller(request)
        if caller.person is None:
            raise Answer(empty(401))
        number = _whole(body, "appId")
        if number is None:
            raise Answer(refused(400, "An app id is required."))
        kind = body.get("deviceType")
        if kind is not None and kind not in DEVICE_TYPES:
            raise Answer(refused(404, f"Unknown device type {str(kind)[:60]}"))
        given = {
            "name": body.get("provisioningKeyName"),
            "description": "Key of a downloaded config.json",
            "expiryDate": body.get("provisioningKeyExpiryDate"),
        }
        row = await server.keys.reachable(caller, "application", number)
        fleet = server.desk.cloud.fleet_of(row["uuid"])
        assert fleet is not None
        key = await server.keys.new(request, "provisioning", number, given)
        minutes = _whole(body, "appUpdatePollInterval")
        interval_ms = server.settings.cloud.default_poll_interval_ms
        found = {
            "applicationId": number,
            "applicationName": fleet.name,
            "deviceType": kind or fleet.device_type,
            "userId": caller.person.id,
            "username": caller.person.username,
            "appUpdatePollInterval": interval_ms if minutes is None else minutes * MINUTE_MS,
            "listenPort": DEVICE_PORT,
            "apiEndpoint": f"{request.scheme}://{request.host}",
            "registryEndpoint": server.registry,
            "deltaEndpoint": f"{request.scheme}://{request.host}",
            "apiKey": key,
            **self._cloudlink(request),
            **_network(body),
        }
        if body.get("developmentMode") is True:
            found["developmentMode"] = True
        return json_response(found)

    def _cloudlink(self, request: web.Request) -> dict[str, Any]:
        """Where the first VPN service instance is; nothing where there is none."""
        for service in self._server.vpn.running.values():
            host = request.host.rpartition(":")[0] if ":" in request.host else request.host
            return {"vpnEndpoint": host, "vpnPort": service.port}
        return {}


def _whole(body: Any, name: str) -> int | None:
    """A whole number of a body, also in quotes, as forms send it."""
    value = body.get(name) if isinstance(body, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _network(body: dict[str, Any]) -> dict[str, Any]:
    """WLAN, where the body says so; ethernet needs nothing."""
    if body.get("network") != "wifi" or not isinstance(body.get("wifiSsid"), str):
        return {}
    key = body.get("wifiKey")
    return {"wifiSsid": body["wifiSsid"]} | ({"wifiKey": key} if isinstance(key, str) else {})
