"""Values of a request's body as columns take them: types, refs, dates; nothing is stored here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .functions import LARGEST, instant_ms
from .odata_text import BadQuery

if TYPE_CHECKING:
    from .resource import Field, Resource

TEXT_MAX = 1_000_000


def columns_of(resource: Resource, body: Any, *, create: bool) -> dict[str, Any]:
    """The columns a body sets.

    Args:
        resource: whose.
        body: parsed JSON.
        create: a new row: defaults are filled in and what must not be null must be there.

    Raises:
        BadQuery: with what is wrong.
    """
    if not isinstance(body, dict):
        raise BadQuery("the body must be a JSON object")
    found = {name: column_of(resource, name, value) for name, value in body.items()}
    if create:
        for item in resource.fields:
            if item.name not in found and item.writable:
                found[item.name] = item.default
            if found.get(item.name) is None and not item.null and item.writable:
                raise BadQuery(f'"{item.name}" cannot be null.')
    return found


def column_of(resource: Resource, name: str, value: Any) -> Any:
    """One field's value.

    Raises:
        BadQuery: the field is unknown or not to be written, or the value does not fit.
    """
    item = resource.by_name.get(name)
    if item is None or item.hidden:
        raise BadQuery(f"{resource.name} has no field {name[:60]!r}")
    if not item.writable:
        raise BadQuery(f'"{name}" cannot be written')
    if value is None:
        if not item.null:
            raise BadQuery(f'"{name}" cannot be null.')
        return None
    return _typed(item, value)


def _typed(item: Field, value: Any) -> Any:
    match item.kind, value:
        case "text", str() if "\0" not in value and len(value) <= TEXT_MAX:
            return value.encode("utf-8", "replace").decode()
        case "text", int() | float() if not isinstance(value, bool):
            return str(value)
        case "boolean", bool():
            return value
        case (("integer" | "big" | "ref"), int()) if not isinstance(value, bool):
            return _bounded(item, value)
        case "big", str() if value.isascii() and value.isdigit():
            return _bounded(item, int(value))
        case "ref", {"__id": int(number)}:
            return _bounded(item, number)
        case "date", int() if not isinstance(value, bool):
            return _bounded(item, value)
        case "date", str():
            return instant_ms(value)
        case "json", _:
            return json.loads(json.dumps(value).replace("\\u0000", ""))
        case _:
            pass
    raise BadQuery(f'"{item.name}" must be a {item.kind}')


def _bounded(item: Field, value: int) -> int:
    if abs(value) > LARGEST:
        raise BadQuery(f'"{item.name}" is too large')
    return value


def must_be_unique(names: tuple[str, ...]) -> str:
    """The API's words for a natural key that is taken."""
    *first, last = (f'"{name}"' for name in names)
    return f"{', '.join(first)} and {last} must be unique." if first else f"{last} must be unique."
