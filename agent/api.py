"""The supervisor's own HTTP API: which call does what (``SUPERVISOR.md §10``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .actions import Action, Answer
from .device_config import instant_updates, vpn_enabled
from .effects import ReplyToApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import ApiCalled
    from .machine import Agent

OK, ACCEPTED, NO_CONTENT = 200, 202, 204
BAD_REQUEST, NOT_FOUND, SERVER_ERROR, UNAVAILABLE = 400, 404, 500, 503
SUCCESS = {"status": "success"}


def api_called(agent: Agent, event: ApiCalled, *, now_ms: int) -> None:
    """Carry out a call; the answer is a ``ReplyToApi``, at once or when the action is done."""
    answer = _route(agent, event, now_ms=now_ms)
    if answer is not None:
        status, body = answer
        agent.ctx.emit(ReplyToApi(call=event.call, status=status, body=body))


def _route(agent: Agent, event: ApiCalled, *, now_ms: int) -> tuple[int, Any] | None:
    parts = event.path.partition("?")[0].strip("/").split("/")
    match event.method, parts:
        case "GET", _:
            reader = _READERS.get("/".join(parts))
            return (NOT_FOUND, "Not Found") if reader is None else reader(agent, now_ms)
        case "POST", ["v1", "update"]:
            return _update(agent, event)
        case "POST", ["v1", "reboot" | "shutdown" as name]:
            _leave(agent, event, name, now_ms=now_ms)
            return None
        case "POST", ["v1", "restart" | "purge" as name]:
            return _app_v1(agent, event, name, now_ms=now_ms)
        case "POST", ["v1", "blink"]:
            return OK, "OK"
        case "POST", ["v1", "regenerate-api-key"]:
            secret = agent.ctx.secret()
            agent.ctx.persist(api_secret=secret)
            return OK, secret
        case "POST", ["v2", "applications", number, action]:
            return _app_v2(agent, event, number, action, now_ms=now_ms)
        case _:
            return NOT_FOUND, "Not Found"


def _update(agent: Agent, event: ApiCalled) -> tuple[int, Any]:
    force = event.body.get("force") is True
    if not force and not instant_updates(agent.ctx.applied):
        return ACCEPTED, None
    if agent.provision is None:
        agent.poll.ask_now(agent.ctx, force=force, cancel=event.body.get("cancel") is True)
    return NO_CONTENT, None


def _leave(agent: Agent, event: ApiCalled, name: str, *, now_ms: int) -> None:
    apps = sorted({box.app for box in agent.update.containers.mirror.boxes})
    agent.actions.begin(
        agent.ctx,
        agent.update,
        Action(
            "reboot" if name == "reboot" else "shut down",
            apps,
            force=event.body.get("force") is True,
            answer=Answer(event.call, ACCEPTED, {"Data": "OK", "Error": None}, v1=True),
        ),
        now_ms=now_ms,
    )


def _app_v1(agent: Agent, event: ApiCalled, name: str, *, now_ms: int) -> tuple[int, Any] | None:
    number = event.body.get("appId")
    if number is None:
        return BAD_REQUEST, "Missing app id"
    app = _app_uuid(agent, str(number))
    if app is None:
        return NOT_FOUND, "App not found"
    body: Any = "OK" if name == "restart" else {"Data": "OK", "Error": ""}
    _recreate(agent, event, app, None, body, now_ms=now_ms)
    return None


def _app_v2(
    agent: Agent, event: ApiCalled, number: str, action: str, *, now_ms: int
) -> tuple[int, Any] | None:
    app = _app_uuid(agent, number)
    if app is None:
        return NOT_FOUND, {"status": "failed", "message": "App not found"}
    if action in ("restart", "purge"):
        _recreate(agent, event, app, None, "OK", now_ms=now_ms)
        return None
    service = event.body.get("serviceName")
    containers = agent.update.containers
    boxes = containers.mirror.of(app, service) if isinstance(service, str) else []
    if not boxes:
        return NOT_FOUND, {"status": "failed", "message": "Service not found"}
    match action:
        case "restart-service":
            _recreate(agent, event, app, service, "OK", now_ms=now_ms)
        case "stop-service":
            answer = Answer(event.call, OK, "OK")
            force = event.body.get("force") is True
            stop = Action("stop", [app], service=service, force=force, answer=answer)
            agent.actions.begin(agent.ctx, agent.update, stop, now_ms=now_ms)
        case "start-service":
            # takes no lock (SUPERVISOR.md §4)
            for box in boxes:
                if box.state != "running" and box.doing is None:
                    containers.start(agent.ctx, box)
            return OK, "OK"
        case _:
            return NOT_FOUND, "Not Found"
    return None


def _recreate(
    agent: Agent, event: ApiCalled, app: str, service: str | None, body: Any, *, now_ms: int
) -> None:
    agent.actions.begin(
        agent.ctx,
        agent.update,
        Action(
            "recreate",
            [app],
            service=service,
            force=event.body.get("force") is True,
            answer=Answer(event.call, OK, body),
        ),
        now_ms=now_ms,
    )


def _app_uuid(agent: Agent, number: str) -> str | None:
    return next((app.uuid for app in agent.update.apps if str(app.id) == number), None)


# --- reading ------------------------------------------------------------------------------------


def _device(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    config, disk = agent.ctx.config, agent.ctx.persisted
    commit = next(iter(disk.current_commits.values()), None)
    return OK, {
        "api_port": 48484,
        "commit": commit,
        "ip_address": config.ip_address,
        "mac_address": config.mac_address,
        "os_version": config.os_version,
        "supervisor_version": config.supervisor_version,
        "status": "Idle",
        "update_pending": agent.update.active,
        "update_downloaded": False,
        "update_failed": agent.update.failures > 0,
    }


def _health(agent: Agent, now_ms: int) -> tuple[int, Any]:
    return (OK, "OK") if agent.healthy(now_ms=now_ms) else (SERVER_ERROR, "Unhealthy")


def _apps_state(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    return OK, agent.update.report(agent.ctx, {})


def _status(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    mirror = agent.update.containers.mirror
    containers = [
        {"status": box.state, "serviceName": box.service, "appId": box.app} for box in mirror.boxes
    ]
    images = [{"name": row.image, "serviceName": row.service} for row in mirror.rows]
    state = "applied" if not agent.update.active else "applying"
    return OK, {**SUCCESS, "appState": state, "containers": containers, "images": images}


def _name(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    target = agent.ctx.persisted.target or {}
    return OK, {**SUCCESS, "deviceName": target.get("name")}


def _version(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    return OK, {**SUCCESS, "version": agent.ctx.config.supervisor_version}


def _vpn(agent: Agent, _now_ms: int) -> tuple[int, Any]:
    return OK, {**SUCCESS, "vpn": {"enabled": vpn_enabled(agent.ctx.applied)}}


_READERS: dict[str, Callable[[Agent, int], tuple[int, Any]]] = {
    "ping": lambda _agent, _now: (OK, "OK"),
    "v1/healthy": _health,
    "v1/device": _device,
    "v2/version": lambda agent, _: (
        OK,
        {**SUCCESS, "version": agent.ctx.config.supervisor_version},
    ),
    "v2/device/name": _name,
    "v2/device/vpn": _vpn,
    "v2/applications/state": _apps_state,
    "v2/state/status": _status,
}
