"""The supervisor's own HTTP API: which call does what (``SUPERVISOR.md §10``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import api_state
from .actions import Action, Answer
from .api_state import app_uuid
from .device_config import instant_updates
from .effects import ReplyToApi

if TYPE_CHECKING:
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
        case "GET", ["v2", "device", "tags"]:
            agent.tags.ask(agent.ctx, event.call)
            return None
        case "GET", _:
            return api_state.read(agent, parts, event.body, now_ms=now_ms)
        case "POST", ["v1", "update"]:
            return _update(agent, event)
        case "POST", ["v1", "reboot" | "shutdown" as name]:
            _leave(agent, event, name, now_ms=now_ms)
            return None
        case "POST", ["v1", "restart" | "purge" as name]:
            return _app_v1(agent, event, name, now_ms=now_ms)
        case "PATCH", ["v1", "device", "host-config"]:
            return _host_config(agent, event, now_ms=now_ms)
        case "PATCH", ["v2", "device", "tags"]:
            given = {name: v for name, v in event.body.items() if name != "apikey"}
            return agent.tags.set(agent.ctx, given, now_ms=now_ms)
        case "POST", ["v1", "blink"]:
            return OK, "OK"
        case "POST", ["v1", "regenerate-api-key"]:
            secret = agent.ctx.secret()
            agent.ctx.persist(api_secret=secret)
            return OK, secret
        case "POST", ["v1", "apps", number, "stop" | "start" as name]:
            return _single_v1(agent, event, number, name, now_ms=now_ms)
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


def _host_config(agent: Agent, event: ApiCalled, *, now_ms: int) -> tuple[int, Any] | None:
    """Host name and proxy: what is not named stays, what is empty goes back to the default.

    A body that makes no sense changes nothing and is no error, as with the real one.
    """
    network = event.body.get("network")
    host = dict(agent.ctx.persisted.host)
    for name, value in network.items() if isinstance(network, dict) else ():
        if name not in ("hostname", "proxy"):
            continue
        host.pop(name, None)
        if value and isinstance(value, str if name == "hostname" else dict):
            host[name] = value
    apps = sorted({box.app for box in agent.update.containers.mirror.boxes})
    agent.actions.begin(
        agent.ctx,
        agent.update,
        Action(
            "configure",
            apps,
            force=event.body.get("force") is True,
            answer=Answer(event.call, OK, "OK", plain=True),
            host=host,
        ),
        now_ms=now_ms,
    )
    return None


def _app_v1(agent: Agent, event: ApiCalled, name: str, *, now_ms: int) -> tuple[int, Any] | None:
    number = event.body.get("appId")
    if number is None:
        return BAD_REQUEST, "Missing app id"
    app = app_uuid(agent, str(number))
    if app is None:
        return NOT_FOUND, "App not found"
    body: Any = "OK" if name == "restart" else {"Data": "OK", "Error": ""}
    _recreate(agent, event, app, None, body, now_ms=now_ms)
    return None


def _single_v1(
    agent: Agent, event: ApiCalled, number: str, name: str, *, now_ms: int
) -> tuple[int, Any] | None:
    """The only container of an app; of several this version of the API knows nothing."""
    app = app_uuid(agent, number)
    boxes = agent.update.containers.mirror.of(app) if app is not None else []
    if len(boxes) != 1:
        return (NOT_FOUND, "App not found") if not boxes else (BAD_REQUEST, api_state.SINGLE)
    body = {"containerId": boxes[0].name}
    if name == "start":
        if boxes[0].state != "running" and boxes[0].doing is None:
            agent.update.containers.start(agent.ctx, boxes[0])
        return OK, body
    force = event.body.get("force") is True
    answer = Answer(event.call, OK, body)
    stop = Action("stop", [boxes[0].app], service=boxes[0].service, force=force, answer=answer)
    agent.actions.begin(agent.ctx, agent.update, stop, now_ms=now_ms)
    return None


def _app_v2(
    agent: Agent, event: ApiCalled, number: str, action: str, *, now_ms: int
) -> tuple[int, Any] | None:
    app = app_uuid(agent, number)
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
