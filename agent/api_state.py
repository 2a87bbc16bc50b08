"""What the supervisor's own API tells: the device, its apps, containers and images (§10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .device_config import vpn_enabled
from .wire_status import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .machine import Agent
    from .mirror import Box
    from .target import TargetApp

OK, BAD_REQUEST, NOT_FOUND, SERVER_ERROR = 200, 400, 404, 500
SUCCESS = {"status": "success"}
SINGLE = "Some v1 endpoints are only allowed on single-container apps"
PORT = 48_484
HOSTNAME = 7
"""Digits of the uuid that a host is named by."""


def read(
    agent: Agent, parts: list[str], query: Mapping[str, Any], *, now_ms: int
) -> tuple[int, Any]:
    """A GET; status and body of its answer."""
    reader = _READERS.get("/".join(parts))
    if reader is not None:
        return reader(agent, now_ms)
    match parts:
        case ["v1", "apps", number]:
            return _single(agent, number)
        case ["v2", "applications", number, "state"]:
            return _one_app(agent, number)
        case ["v2", "containerId"]:
            return _container_id(agent, query.get("service") or query.get("serviceName"))
        case _:
            return NOT_FOUND, "Not Found"


def app_uuid(agent: Agent, number: str) -> str | None:
    """The app of a number."""
    return next((app.uuid for app in agent.update.apps if str(app.id) == number), None)


# --- ids of the target state --------------------------------------------------------------------


def _target(agent: Agent, app: str, commit: str | None) -> tuple[Mapping[str, Any], Any]:
    """An app's part of the target state, and the release of this commit in it."""
    part = (agent.ctx.persisted.target or {}).get("apps", {}).get(app, {})
    return part, part.get("releases", {}).get(commit, {})


def _ids(agent: Agent, box: Box) -> tuple[int | None, Mapping[str, Any]]:
    """Release id and the service's part of the target state, where it names this commit."""
    _, release = _target(agent, box.app, box.commit)
    service = release.get("services", {}).get(box.service, {})
    return release.get("id"), service


def _app_id(agent: Agent, uuid: str) -> int | None:
    return next((app.id for app in agent.update.apps if app.uuid == uuid), None)


def _progress(agent: Agent) -> int | None:
    """Over all pulls that run, percent."""
    pulls = agent.update.containers.mirror.pulls
    return sum(pulls.values()) // len(pulls) if pulls else None


# --- answers ------------------------------------------------------------------------------------


def _device(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    config, disk = agent.ctx.config, agent.ctx.persisted
    commit = next(iter(disk.current_commits.values()), None)
    return OK, {
        "api_port": PORT,
        "commit": commit,
        "ip_address": config.ip_address,
        "mac_address": config.mac_address,
        "os_version": config.os_version,
        "supervisor_version": config.supervisor_version,
        "status": "Idle",
        "download_progress": _progress(agent),
        "update_pending": agent.update.active,
        "update_downloaded": agent.update.active and _downloaded(agent),
        "update_failed": agent.update.failures > 0,
    }


def _downloaded(agent: Agent) -> bool:
    """Whether every image of the target is on the disk."""
    there = {row.image for row in agent.update.containers.mirror.rows}
    return all(s.image in there for app in agent.update.apps for s in app.services)


def _health(agent: Agent, now_ms: int) -> tuple[int, Any]:
    return (OK, "OK") if agent.healthy(now_ms=now_ms) else (SERVER_ERROR, "Unhealthy")


def _services(agent: Agent, app: TargetApp) -> dict[str, tuple[Box, dict[str, Any]]]:
    """The newest container of each service, and what is told of it."""
    boxes = agent.update.containers.mirror.of(app.uuid)
    pulls = agent.update.containers.mirror.pulls or {}
    return {
        box.service: (
            box,
            {
                "status": status_of(box, boxes),
                "releaseId": _ids(agent, box)[0],
                "downloadProgress": pulls.get(box.image),
            },
        )
        for box in boxes
    }


def _apps_state(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    found = {}
    for app in agent.update.apps:
        part, _ = _target(agent, app.uuid, app.commit)
        services = {name: told for name, (_, told) in _services(agent, app).items()}
        name = part.get("name", app.uuid)
        found[name] = {"appId": app.id, "commit": app.commit, "services": services}
    return OK, found


def _one_app(agent: Agent, number: str) -> tuple[int, Any]:
    app = next((app for app in agent.update.apps if str(app.id) == number), None)
    if app is None:
        return NOT_FOUND, {"status": "failed", "message": "App not found"}
    services = {}
    for box, told in _services(agent, app).values():
        _, ids = _ids(agent, box)
        progress = told.pop("downloadProgress")
        services[str(ids.get("id", box.service))] = {**told, "download_progress": progress}
    commit = agent.ctx.persisted.current_commits.get(app.uuid)
    return OK, {"local": {number: {"services": services}}, "dependent": {}, "commit": commit}


def _single(agent: Agent, number: str) -> tuple[int, Any]:
    app = app_uuid(agent, number)
    boxes = agent.update.containers.mirror.of(app) if app is not None else []
    if len(boxes) != 1:
        return (NOT_FOUND, "App not found") if not boxes else (BAD_REQUEST, SINGLE)
    release, ids = _ids(agent, boxes[0])
    return OK, {
        "appId": int(number),
        "commit": boxes[0].commit,
        "containerId": boxes[0].name,
        "env": ids.get("environment", {}),
        "imageId": ids.get("image_id"),
        "releaseId": release,
    }


def _container_id(agent: Agent, service: Any) -> tuple[int, Any]:
    names = {box.service: box.name for box in agent.update.containers.mirror.boxes}
    if service is None:
        return OK, {**SUCCESS, "services": names}
    if service not in names:
        return NOT_FOUND, {"status": "failed", "message": "Could not find service"}
    return OK, {**SUCCESS, "containerId": names[service]}


def _status(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    mirror = agent.update.containers.mirror
    containers = []
    for box in mirror.boxes:
        release, ids = _ids(agent, box)
        containers.append(
            {
                "status": status_of(box, mirror.of(box.app)),
                "serviceName": box.service,
                "appId": _app_id(agent, box.app),
                "imageId": ids.get("image_id"),
                "serviceId": ids.get("id"),
                "containerId": box.name,
                "releaseId": release,
            }
        )
    images = []
    for row in mirror.rows:
        _, there = _target(agent, row.app, row.commit)
        images.append(
            {
                "name": row.image,
                "appId": _app_id(agent, row.app),
                "serviceName": row.service,
                "imageId": there.get("services", {}).get(row.service, {}).get("image_id"),
                "dockerImageId": row.image.partition("@")[2] or None,
                "status": "Deleting" if row.image in mirror.removing else "Downloaded",
                "downloadProgress": None,
            }
        )
    commit = next(iter(agent.ctx.persisted.current_commits.values()), None)
    return OK, {
        **SUCCESS,
        "appState": "applying" if agent.update.active else "applied",
        "overallDownloadProgress": _progress(agent),
        "containers": containers,
        "images": images,
        "release": commit,
    }


def _name(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    target = agent.ctx.persisted.target or {}
    return OK, {**SUCCESS, "deviceName": target.get("name")}


def _version(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    return OK, {**SUCCESS, "version": agent.ctx.config.supervisor_version}


def _host_config(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    """The default host name is the beginning of the uuid."""
    disk = agent.ctx.persisted
    network = {"hostname": (disk.uuid or "")[:HOSTNAME], **disk.host}
    return OK, {"network": network}


def _device_info(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    config = agent.ctx.config
    return OK, {**SUCCESS, "info": {"arch": config.arch, "deviceType": config.device_type}}


def _vpn(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    vpn = {"enabled": vpn_enabled(agent.ctx.applied), "connected": agent.vpn_connected}
    return OK, {**SUCCESS, "vpn": vpn}


_READERS: dict[str, Callable[[Agent, int], tuple[int, Any]]] = {
    "ping": lambda _agent, _now: (OK, "OK"),
    "v1/healthy": _health,
    "v1/device": _device,
    "v1/device/host-config": _host_config,
    "v2/local/device-info": _device_info,
    "v2/version": _version,
    "v2/device/name": _name,
    "v2/device/vpn": _vpn,
    "v2/applications/state": _apps_state,
    "v2/state/status": _status,
    # no service has volumes of its own that could be left over
    "v2/cleanup-volumes": lambda _agent, _now: (OK, SUCCESS),
}
