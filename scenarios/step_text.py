"""Steps of a timeline in words, for people."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from .durations import human
from .mistakes import keys_of, shown

if TYPE_CHECKING:
    from .model import Scenario, Step, Where


class Told(NamedTuple):
    """A line of a timeline as it was written: one step, or what ``spread`` made of it."""

    from_ms: int
    until_ms: int
    """The last device's moment; the same where all have one."""
    text: str
    step: Step
    """The first."""

    @property
    def when(self) -> str:
        """The moment, or both ends."""
        first = human(self.from_ms)
        return first if self.from_ms == self.until_ms else f"{first} … {human(self.until_ms)}"


def told(scenario: Scenario) -> list[Told]:
    """The timeline for people, by time: the steps of a ``spread`` are one line."""
    lines: dict[tuple[Where, str], list[Step]] = {}
    for step in scenario.steps:
        lines.setdefault((step.where, step.id), []).append(step)
    return [_folded(steps, scenario) for steps in lines.values()]


def _folded(steps: list[Step], scenario: Scenario) -> Told:
    first, last = steps[0], steps[-1]
    if len(steps) == 1:
        return Told(first.at_ms, first.at_ms, described(first, scenario), first)
    acting = {name for step in steps for name in step.devices}
    whole = tuple(device.name for device in scenario.devices if device.name in acting)
    text = described(replace(first, devices=whole), scenario)
    return Told(first.at_ms, last.at_ms, f"{len(whole)} devices, one by one: {text}", first)


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
