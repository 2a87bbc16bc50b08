"""Every route of the server in one table: dispatch and ``docs/openapi.yaml`` are made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from .device_tags import DeviceTags
from .wire import empty, json_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .app import Server

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """One route."""

    method: str
    path: str
    handler: Handler
    about: str
    answers: tuple[int, ...] = (200,)
    """Statuses besides 400 (the body cannot be read), 413 and 503 (the store takes nothing)."""
    body: bool = False
    bare: bool = False
    """Without the guard: it must be as fast as can be."""


def routes(server: Server) -> list[Route]:
    """All routes, in order of precedence."""
    return [
        *_of_devices(server),
        *_of_cloudlink(server),
        *_of_accounts(server),
        *_of_troubles(server),
        *_of_this_program(server),
        *_of_the_registry(server),
        *_of_resources(server),
    ]


def _of_devices(server: Server) -> list[Route]:
    devices = server.devices

    return [
        Route(
            "GET",
            "/device/{version:v2|v3}/{uuid:[^/]+}/state",
            server.quick(devices.state),
            "Target state; a heartbeat if the device itself asks",
            (200, 304, 401),
            bare=True,
        ),
        Route(
            "PATCH",
            "/device/v3/state",
            devices.report,
            "State report, of one or more devices",
            (200, 401),
            body=True,
        ),
        Route(
            "PATCH",
            "/device/v2/{uuid:[^/]+}/state",
            devices.report,
            "State report in the format of v2",
            (200, 401),
            body=True,
        ),
        Route(
            "PATCH",
            "/device/v3/tags",
            DeviceTags(server).take,
            "Tags of a device",
            (200, 401),
            body=True,
        ),
        Route(
            "GET",
            "/device/v3/fleet/{fleet:[^/]+}/state{slash:/?}",
            devices.plain,
            "Target state of a fleet",
            (200, 304, 401),
        ),
        Route(
            "POST",
            "/device/register",
            devices.register,
            "Registration with a provisioning key",
            (201, 401, 404, 409),
            body=True,
        ),
        Route(
            "POST",
            "/device/v2/{uuid:[^/]+}/{kind:logs|log-stream}",
            devices.take_logs,
            "Log lines of a device",
            (201, 401),
            body=True,
        ),
        Route(
            "GET",
            "/device/v2/{uuid:[^/]+}/logs",
            devices.give_logs,
            "The newest log lines of a device",
            (200, 401),
        ),
    ]


def _of_cloudlink(server: Server) -> list[Route]:
    devices = server.devices

    async def vpn(request: web.Request) -> web.StreamResponse:
        if server.injector.faults.vpn_server == "down":
            return empty(503)
        return await devices.plain(request)

    return [
        Route(
            "GET",
            "/services/vpn/auth/{uuid:[^/]+}",
            vpn,
            "Whether a device may open a tunnel",
            (200, 401),
        ),
        Route(
            "POST",
            "/services/vpn/{event:client-connect|client-disconnect}",
            vpn,
            "Tunnels that came up or went down, from a VPN service instance",
            (200, 401, 409),
            body=True,
        ),
        Route(
            "POST",
            "/supervisor/{path:.+}",
            devices.plain,
            "A call of a device's supervisor API through cloudlink",
            (200, 202, 401, 404, 423, 500, 504),
            body=True,
        ),
    ]


def _of_accounts(server: Server) -> list[Route]:
    keys, clients, devices = server.keys, server.clients, server.devices
    return [
        Route(
            "POST",
            "/login_",
            keys.login,
            "A session for a name and a password",
            (200, 401, 429),
            body=True,
        ),
        Route("GET", "/whoami", keys.refresh, "A new token for a session", (200, 401)),
        Route("GET", "/actor/v1/whoami", keys.whoami, "Whose credential this is", (200, 401)),
        Route("GET", "/user/v1/whoami", keys.user, "Which person this is", (200, 401)),
        *(
            Route("POST", path, keys.make, "A key", (200, 401), body=True)
            for path in ("/api-key/v1/", "/api-key/v1", "/api-key/v2/", "/api-key/v2")
        ),
        Route(
            "POST",
            "/api-key/user/full",
            keys.make_named,
            "A named key of a person",
            (200, 401),
            body=True,
        ),
        Route(
            "POST",
            "/api-key/application/{number:[0-9]{1,15}}/provisioning",
            keys.make_provisioning,
            "A provisioning key of a fleet",
            (200, 401),
            body=True,
        ),
        Route(
            "POST",
            "/api-key/device/{number:[0-9]{1,15}}/device-key",
            keys.make_for_device,
            "One more key of a device",
            (200, 401, 409),
            body=True,
        ),
        Route("GET", "/config", clients.config, "What clients are told of this cloud"),
        Route("GET", "/config/vars", clients.variables, "Which names variables may have"),
        Route(
            "POST",
            "/download-config",
            clients.download_config,
            "The config.json of a new device",
            (200, 401, 404),
            body=True,
        ),
        Route("GET", "/device-types/v1", clients.device_types, "The device types"),
        Route("GET", "/os/v1/config", clients.os_config, "Configuration of host services"),
        Route("GET", "/ping", devices.plain, "OK"),
        Route("GET", "/connectivity-check", devices.plain, "Nothing", (204,)),
    ]


def _of_troubles(server: Server) -> list[Route]:
    follow = server.follow
    faults = [
        Route(
            method,
            "/fieldbeat/v1/faults",
            follow.faults,
            "Faults of the API, of images and of VPN servers, and incidents",
            (200, 401, 403),
            body=method == "PUT",
        )
        for method in ("GET", "PUT", "DELETE")
    ]
    return [
        *faults,
        Route(
            "POST",
            "/fieldbeat/v1/restart",
            follow.restart,
            "The API goes away for a time and comes back from its store",
            (202, 400, 401, 403),
            body=True,
        ),
        Route(
            "PUT",
            "/fieldbeat/v1/vpn/{name}",
            follow.vpn,
            "Starts, stops or kills a VPN service instance",
            (200, 400, 401, 403, 404),
            body=True,
        ),
    ]


def _of_this_program(server: Server) -> list[Route]:
    follow, keys = server.follow, server.keys

    async def healthy(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
        well = server.store.failures == 0
        return json_response({"ok": well}, 200 if well else 503)

    async def metrics(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
        return web.Response(
            body=server.metrics.text(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    return [
        Route(
            "GET",
            "/fieldbeat/v1/devices/{uuid:[^/]+}",
            follow.view,
            "The status fields of a device, as they are now",
            (200, 401, 404),
        ),
        Route("GET", "/healthz", healthy, "Whether the store takes writes", (200,)),
        Route("GET", "/metrics", metrics, "Metrics for Prometheus"),
        Route(
            "GET",
            "/fieldbeat/v1/events",
            follow.page,
            "History of status fields, by pages",
            (200, 401),
        ),
        Route(
            "GET",
            "/fieldbeat/v1/events/stream",
            follow.stream,
            "The same as it happens: server-sent events or WebSocket",
            (200, 401),
        ),
        Route(
            "POST",
            "/fieldbeat/v1/users",
            keys.add_user,
            "One more person",
            (201, 401, 403, 409),
            body=True,
        ),
    ]


def _of_the_registry(server: Server) -> list[Route]:
    images = server.images
    table = [
        Route("GET", "/auth/v1/token", images.token, "A token to pull images with", (200, 401)),
        Route("GET", "/v2/", images.base, "Whether this is a registry", (200, 401)),
        Route(
            "GET",
            "/api/v3/delta",
            server.deltas.delta,
            "The image that makes one image of another",
            (200, 401, 404, 504),
        ),
    ]
    for method in ("GET", "HEAD"):
        manifest, blob = "/v2/{name:.+}/manifests/{reference}", "/v2/{name:.+}/blobs/{digest}"
        table += [
            Route(method, manifest, images.manifest, "Manifest of an image", (200, 401, 404)),
            Route(method, blob, images.blob, "Part of an image", (200, 206, 401, 404, 416)),
        ]
    return table


def _of_resources(server: Server) -> list[Route]:
    return [
        Route(
            method,
            "/{version:v6|v7|resin}/{tail:.+}",
            server.resources.handle,
            "The resource API (OData)",
            (200, 201, 401, 404, 409),
            body=method in ("POST", "PATCH", "PUT"),
        )
        for method in ("GET", "POST", "PATCH", "PUT", "DELETE")
    ]
