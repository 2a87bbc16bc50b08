"""Steps of a timeline in words, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .durations import human
from .mistakes import keys_of, shown

if TYPE_CHECKING:
    from .model import Scenario, Step


def described(step: Step, scenario: Scenario) -> str:
    """A step in words."""
    model = type(step.action)
    parts = []
    for (field, info), key in zip(model.model_fields.items(), keys_of(model), strict=True):
        value = getattr(step.action, field)
        if field == "do" or (value == info.default and field not in step.action.model_fields_set):
            continue
        if value is None and step.verb != "config":
            continue
        parts.append(f"{key} {_value(field, value)}")
    where = ""
    if step.verb != "end" and len(step.devices) < len(scenario.devices):
        where = f" on {', '.join(step.devices[:5])}{', …' if len(step.devices) > 5 else ''}"
    name = f"  [{step.id}]" if step.id != step.verb else ""
    return f"{step.verb.replace('_', ' ')}{' ' if parts else ''}{', '.join(parts)}{where}{name}"


def _value(field: str, value: object) -> str:
    """A parameter in human units."""
    if field.endswith("_ms") and isinstance(value, int) and field != "set_ms":
        return human(value)
    if isinstance(value, dict):
        return ", ".join(str(name) for name in value)
    return shown(value)
