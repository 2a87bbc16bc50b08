"""How a lab of real processes is to be run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from .fields import kind_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from .model import Expectation, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """Speed, tunnel, and what to keep."""

    speed: float = 1.0
    """How much faster than real time."""
    tunnel: str = "inprocess"
    """What the ends of cloudlink are made of: inprocess, userspace or kernel."""
    keep: Path | None = None
    """A folder for logs and disks; a folder in it of the scenario's name is replaced."""

    @property
    def slack_ms(self) -> int:
        """What a step and a program take of real time: windows of expectations are so much wider.

        A tenth of a second, times the speed.
        """
        return round(100 * self.speed)


def with_slack(scenario: Scenario, slack_ms: int) -> Scenario:
    """The scenario with windows that begin later where something must hold, and end later where
    something must come."""
    return replace(
        scenario,
        expectations=tuple(_wider(e, slack_ms, scenario.end_ms) for e in scenario.expectations),
    )


class Around:
    """A moment that real programs come to a little later; equal to every one up to the slack."""

    def __init__(self, at_ms: int, slack_ms: int) -> None:
        """``at_ms``: as the scenario says it."""
        self._at_ms, self._slack_ms = at_ms, slack_ms

    def __eq__(self, other: object) -> bool:
        """Whether a moment is it."""
        return isinstance(other, int) and self._at_ms <= other <= self._at_ms + self._slack_ms

    __hash__ = None  # type: ignore[assignment]  # equal to many

    @property
    def text(self) -> str:
        """For people."""
        return f"{self._at_ms} … {self._at_ms + self._slack_ms}"


def _wider(expectation: Expectation, slack_ms: int, end_ms: int) -> Expectation:
    moments = {name for name in expectation.condition if kind_of(name) == "moment"}
    if moments:
        around: dict[str, tuple[Any, ...]] = dict(expectation.condition)
        for name in moments:
            around[name] = tuple(
                Around(value, slack_ms) if isinstance(value, int) else value
                for value in around[name]
            )
        expectation = replace(expectation, condition=MappingProxyType(around))
    if expectation.kind == "eventually":
        if expectation.until_ms is None or expectation.until_ms >= end_ms:
            return expectation
        return replace(expectation, until_ms=min(end_ms, expectation.until_ms + slack_ms))
    if not expectation.from_ms:
        return expectation
    last_ms = end_ms if expectation.until_ms is None else expectation.until_ms
    return replace(expectation, from_ms=min(last_ms, expectation.from_ms + slack_ms))
