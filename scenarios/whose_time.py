"""Whose time the devices of a run had: the system's, a simulated one, or one that was injected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from .verbs import Clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import Scenario

NAMED_MAX = 5
"""Scenarios named on a line."""
_WORDS = {"simulated": "simulated", "system": "the system's", "injected": "injected"}


class Clocks(NamedTuple):
    """Of some devices."""

    source: Literal["simulated", "system", "injected"]
    """``injected``: into the device's programs, because it is faster or because it is wrong."""
    speed: float
    """How much faster than real time; 1 where it is simulated."""
    steered: bool
    """The scenario changes it (verb ``clock``)."""
    devices: tuple[str, ...]
    """None named: every one."""

    @property
    def text(self) -> str:
        """For people."""
        fast = f", {self.speed:g} times as fast" if self.speed != 1 else ""
        steered = ", set by the scenario" if self.steered and self.source == "injected" else ""
        return f"{_WORDS[self.source]}{fast}{steered}"


def clocks_of(scenario: Scenario, *, lab: str, speed: float) -> tuple[Clocks, ...]:
    """Every device of a run is in one of them.

    Args:
        scenario: what was run.
        lab: where.
        speed: of a lab of real programs.
    """
    changed = {
        name for step in scenario.steps if isinstance(step.action, Clock) for name in step.devices
    }
    names = [device.name for device in scenario.devices]
    found = []
    for steered in (False, True):
        devices = tuple(name for name in names if (name in changed) is steered)
        if devices:
            whole = len(devices) == len(names)
            found.append(_clocks(lab, speed, () if whole else devices, steered=steered))
    return tuple(found)


def _clocks(lab: str, speed: float, devices: tuple[str, ...], *, steered: bool) -> Clocks:
    if lab == "virtual":
        return Clocks("simulated", 1.0, steered, devices)
    injected = lab == "host" and (steered or speed != 1)
    return Clocks("injected" if injected else "system", speed, steered, devices)


def lines(runs: Iterable[tuple[str, tuple[Clocks, ...]]]) -> list[str]:
    """For people: a line for each clock there was, with the scenarios and devices that had it.

    Args:
        runs: a scenario's name, and its clocks.
    """
    where: dict[str, list[str]] = {}
    for name, clocks in runs:
        for found in clocks:
            few = f" ({', '.join(found.devices)})" if found.devices else ""
            where.setdefault(found.text, []).append(f"{name}{few}")
    if len(where) == 1:
        return [f"clock: {text}, on every device" for text in where]
    return [f"clock: {text}: {_listed(names)}" for text, names in where.items()]


def _listed(names: list[str]) -> str:
    if len(names) <= NAMED_MAX:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED_MAX])} and {len(names) - NAMED_MAX} more"
