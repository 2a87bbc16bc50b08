"""``docs/openapi.yaml``, made from the table of routes: ``python -m cloud_stub.server.openapi``."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import yaml

from .routes import routes

if TYPE_CHECKING:
    from .routes import Route

_PARAMETER = re.compile(r"\{(\w+)(?::((?:[^{}]|\{[^{}]*\})*))?\}")
_WORDS = {
    200: "Done; with a body where there is something to say",
    201: "Made",
    202: "Taken",
    204: "Nothing to say",
    206: "The rest, from the byte that was asked for",
    304: "Not modified; empty",
    400: "The request cannot be understood",
    401: "No credential, or not one that may",
    403: "A credential that may not",
    404: "Nothing of that name",
    405: "No such method here",
    409: "A natural key is taken, or something refers to the row",
    413: "The body is longer than 512 kB",
    416: "It is not so long",
    423: "Update locks are held",
    429: "Too often; Retry-After says when again, seconds",
    500: "The device failed",
    503: "The store takes nothing now, or a fault was asked for",
    504: "The device did not answer, or the delta is not made yet",
}
_ALWAYS = (400, 404, 405, 413, 503)


class _Anything:
    """Stands for the server: only the names of its handlers are asked for, and not called."""

    def __getattr__(self, name: str) -> Any:
        return _Anything()

    def __call__(self, *_: Any) -> Any:
        return _Anything()


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = []
    for name, pattern in _PARAMETER.findall(route.path):
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if re.fullmatch(r"[\w|-]+", pattern or "."):
            schema = {"type": "string", "enum": pattern.split("|")}
        elif pattern.startswith("[0-9]"):
            schema = {"type": "integer", "minimum": 1, "maximum": 10**15 - 1}
        elif pattern == "/?":
            schema = {"type": "string", "enum": ["", "/"]}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _object(required: dict[str, Any], **more: Any) -> dict[str, Any]:
    properties = {**required, **more}
    return {"type": "object", "properties": properties, "required": list(required)}


_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_ROWS = {"type": "array", "items": {"type": "object"}}
_EVENT = _object(
    {
        "id": _NUMBER,
        "at": {"type": "string", "format": "date-time"},
        "device": _TEXT,
        "fleet": _NUMBER,
        "field": _TEXT,
        "from": {},
        "to": {},
        "cause": _TEXT,
    }
)
_GIVES = {
    ("GET", "/{version}/{tail}", 200): _object({"d": {"oneOf": [_ROWS, _NUMBER]}}),
    ("POST", "/{version}/{tail}", 201): _object({"id": _NUMBER}),
    ("GET", "/fieldbeat/v1/events", 200): _object(
        {"events": {"type": "array", "items": _EVENT}, "next": {"type": ["integer", "null"]}}
    ),
    ("GET", "/actor/v1/whoami", 200): _object(
        {"id": _NUMBER, "actorType": _TEXT, "actorTypeId": _NUMBER}
    ),
    ("GET", "/user/v1/whoami", 200): _object({"id": _NUMBER, "username": _TEXT, "email": _TEXT}),
    ("GET", "/healthz", 200): _object({"ok": _FLAG}),
    ("POST", "/device/register", 201): _object({"id": _NUMBER, "uuid": _TEXT, "api_key": _TEXT}),
    ("POST", "/api-key/v1/", 200): _TEXT,
    ("POST", "/api-key/user/full", 200): _TEXT,
    ("GET", "/device-types/v1", 200): _ROWS,
    ("GET", "/device/v2/{uuid}/logs", 200): _ROWS,
}
"""What answers hold, where more can be said than that they are JSON."""


def _response(route: Route, status: int) -> dict[str, Any]:
    found: dict[str, Any] = {"description": _WORDS[status]}
    schema = _GIVES.get((route.method, _PARAMETER.sub(r"{\1}", route.path), status))
    if schema is not None:
        found["content"] = {"application/json": {"schema": schema}}
    return found


def _operation(route: Route) -> dict[str, Any]:
    path = _PARAMETER.sub(r"\1", route.path)
    name = re.sub(r"\W+", "_", f"{route.method} {path}").strip("_")
    operation: dict[str, Any] = {
        "operationId": name.lower(),
        "summary": route.about,
        "parameters": _parameters(route),
        "responses": {
            str(status): _response(route, status) for status in sorted({*route.answers, *_ALWAYS})
        },
    }
    if route.body:
        operation["requestBody"] = {
            "content": {
                "application/json": {"schema": {"type": ["object", "array"]}},
            }
        }
    if route.path.startswith(("/v", "/{version:v6")):
        operation["parameters"] += [
            {"name": f"${option}", "in": "query", "schema": {"type": "string"}}
            for option in ("select", "filter", "orderby", "top", "skip", "expand", "count")
        ]
    return operation


def document() -> dict[str, Any]:
    """The description of every route."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes(_Anything()):  # type: ignore[arg-type]
        path = _PARAMETER.sub(r"{\1}", route.path)
        if path.endswith("/events/stream"):
            continue  # never ends
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fieldbeat cloud",
            "version": "1",
            "description": "A small balenaCloud for devices, client libraries and dashboards.",
        },
        "security": [{"bearer": []}],
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    }


def text() -> str:
    """The file."""
    head = "# Made by: python -m cloud_stub.server.openapi > docs/openapi.yaml\n"
    return head + yaml.safe_dump(document(), sort_keys=False, width=100)


if __name__ == "__main__":
    sys.stdout.write(text())
