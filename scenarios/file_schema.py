"""The JSON Schema of scenario files, made from the models that check them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import verbs
from .language import VERBS
from .sections import (
    EXPECTATIONS,
    NAME,
    CloudSection,
    ExpectLine,
    FleetSection,
    Head,
    LinksSection,
    RepeatHead,
    StepHead,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

FILE_NAME = "scenario.schema.json"
"""What editors are pointed to: in the package's ``schemas``, or beside a person's own files."""
_ANY_TEXT = frozenset({"type", "description", "title", "default"})
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The schema as the file that editors read."""
    return json.dumps(file_schema(), indent=1, ensure_ascii=False) + "\n"


def file_schema() -> dict[str, Any]:
    """The schema: one object, a branch for each verb, a description for every key."""
    definitions: dict[str, Any] = {}
    head = _of(Head, definitions)
    properties = {
        **head["properties"],
        "cloud": _of(CloudSection, definitions),
        "fleet": _fleet(definitions),
        "fleets": {
            "type": "object",
            "description": "Several fleets by name instead of fleet; devices: name-1, name-2, …",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {"anyOf": [_fleet(definitions), {"type": "null"}]},
        },
        "groups": {
            "type": "object",
            "description": "Names for sets of devices, for on and for.",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
            },
        },
        "links": _of(LinksSection, definitions),
        "timeline": {
            "type": "array",
            "description": "What happens, in any order; sorted by time.",
            "items": {
                "if": {"required": ["steps"], "not": {"required": ["do"]}},
                "then": _repetition(definitions),
                "else": {"$ref": "#/$defs/step"},
            },
        },
        "expect": {
            "type": "array",
            "description": "What the cloud must report.",
            "items": {
                **_of(ExpectLine, definitions),
                "oneOf": [{"required": [kind]} for kind in EXPECTATIONS],
            },
        },
    }
    definitions["parameter"] = {
        "type": "string",
        "pattern": r"\$\{",
        "description": "${name}: a parameter of params.",
    }
    definitions["step"] = {
        "type": "object",
        "required": ["at", "do"],
        "properties": {"do": {"enum": list(VERBS)}},
        # by the verb, so that an editor complains about the step that was meant
        "allOf": [
            {
                "if": {"required": ["do"], "properties": {"do": {"const": verb}}},
                "then": _step(model, definitions),
            }
            for verb, model in VERBS.items()
        ],
    }
    return {
        "$schema": DIALECT,
        "title": "fieldbeat scenario",
        "type": "object",
        "required": ["scenario", "timeline"],
        "additionalProperties": False,
        "properties": properties,
        "$defs": definitions,
    }


def _of(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """A model's schema; its definitions go to the common place."""
    schema = model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    schema.pop("title", None)
    for item in schema.get("properties", {}).values():
        item.pop("title", None)
        _allow_one_word(item)
    schema["properties"] = {
        name: _or_parameter(item) if name != "do" else item
        for name, item in schema.get("properties", {}).items()
    }
    return schema


def _or_parameter(item: dict[str, Any]) -> dict[str, Any]:
    """The same, or ``${name}`` where not any text is allowed."""
    branches = item.get("anyOf", [item])
    if any(branch.get("type") == "string" and branch.keys() <= _ANY_TEXT for branch in branches):
        return item
    told: dict[str, Any] = {k: item[k] for k in ("description", "default") if k in item}
    rest = {key: value for key, value in item.items() if key not in told}
    return {**told, "anyOf": [rest, {"$ref": "#/$defs/parameter"}]}


def _allow_one_word(item: dict[str, Any]) -> None:
    """A list of words may be written as one word."""
    for branch in [*item.get("anyOf", []), item]:
        if branch.get("type") == "array" and "prefixItems" not in branch:
            element = branch.get("items", {})
            if element.get("type") == "string" or "enum" in element:
                array = {key: branch.pop(key) for key in list(branch) if key != "description"}
                array.pop("default", None)
                branch["anyOf"] = [array, element]


def _fleet(definitions: dict[str, Any]) -> dict[str, Any]:
    """The fleet section; its release may leave out the commit, or be one."""
    schema = _of(FleetSection, definitions)
    release = _of(verbs.Release, definitions)
    release["required"] = []
    del release["properties"]["do"], release["properties"]["fleet"]
    _let_services_be_names(release)
    schema["properties"]["release"] = {
        "description": "The release the fleet starts on; default: r1, one service main of 20 MB.",
        "anyOf": [release, {"type": "string"}],
    }
    return schema


def _repetition(definitions: dict[str, Any]) -> dict[str, Any]:
    """A line of the timeline that repeats steps."""
    schema = _of(RepeatHead, definitions)
    steps = schema["properties"]["steps"]
    description = steps.get("description", "")
    items = {"$ref": "#/$defs/step"}
    schema["properties"]["steps"] = {
        "type": "array",
        "minItems": 1,
        "items": items,
        "description": description,
    }
    return schema


def _step(model: type[verbs.Verb], definitions: dict[str, Any]) -> dict[str, Any]:
    """A step of one verb: the common keys and the verb's parameters."""
    schema = _of(model, definitions)
    common = {}
    for name, item in _of(StepHead, definitions)["properties"].items():
        definitions[f"step_{name}"] = item
        common[name] = {"$ref": f"#/$defs/step_{name}"}
    schema["properties"] = {**common, **schema["properties"]}
    schema["required"] = ["at", "do", *(k for k in schema.get("required", []) if k != "do")]
    if model is verbs.Firewall:
        channels = {"enum": [*verbs.CHANNELS, "all"]}
        for key in ("block", "allow"):
            schema["properties"][key] = {
                "description": schema["properties"][key]["description"],
                "anyOf": [channels, {"type": "array", "items": channels, "minItems": 1}],
            }
    if model is verbs.Release:
        _let_services_be_names(schema)
    return schema


def _let_services_be_names(release: dict[str, Any]) -> None:
    """A release's services may be a list of names."""
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    services = release["properties"]["services"]
    release["properties"]["services"] = {
        "description": services.pop("description", ""),
        "anyOf": [services, names],
    }
