"""Small hand-written histories and expectations for tests of the checks and reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarios.checks import judge_all
from scenarios.compile import compile_text
from scenarios.history import History, Mark, Note
from scenarios.model import Expectation
from scenarios.results import ScenarioResult, rows_of
from scenarios.virtual import run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scenarios.model import Scenario

Row = tuple[int, str, str, Any]
"""When (ms), device, field, new value."""


def history(
    initial: Mapping[str, Mapping[str, Any]], changes: Iterable[Row], end_ms: int
) -> History:
    """A history with these changes."""
    made = History(initial)
    for at_ms, device, field, new in changes:
        made.changes.add(at_ms, device, field, new, "test")
    made.end_ms = end_ms
    return made


def expectation(kind: str, **given: Any) -> Expectation:
    """An expectation; values of ``condition`` need not be tuples."""
    condition = {
        name: value if isinstance(value, tuple) else (value,)
        for name, value in given.pop("condition", {}).items()
    }
    return Expectation(kind=kind, text=kind, condition=condition, **given)  # type: ignore[arg-type]  # a test's word


TEXT = """\
scenario: Lights <&> go out
tags: [power]
spec: [status/disconnected]
timeline:
  - {at: 0s, do: power_on}
  - {at: 10m, do: power_off, id: cut}
  - {at: 1h, do: end}
expect:
  - eventually: {overall_status: disconnected}
    after: cut
    within: 5m
  - never: {overall_status: frozen}
"""


def result(*, name: str = "lights.scenario.yaml") -> ScenarioResult:
    """A run in which the first expectation is missed by 4.2 s and the second holds."""
    scenario = compile_text(TEXT, name=name)
    made = history(
        {"device-1": {"overall_status": "operational"}},
        [(904_200, "device-1", "overall_status", "disconnected")],
        3_600_000,
    )
    made.marks.append(Mark(0, "power_on", "power_on", ("device-1",)))
    made.marks.append(Mark(600_000, "cut", "power_off", ("device-1",)))
    made.notes.append(Note(601_000, "device-1", "a note <of> the machine"))
    made.heartbeats = 3
    return ScenarioResult(
        scenario=scenario,
        history=made,
        rows=rows_of(scenario, made, judge_all(scenario.expectations, made)),
        seed=1,
        devices_option=None,
        lab="virtual",
        wall_seconds=0.25,
    )


def not_held(scenario: Scenario) -> list[str]:
    """What a run of the model did not keep, in words."""
    made = run_virtual(scenario, seed=1)
    verdicts = judge_all(scenario.expectations, made)
    broken = [f"{v.expectation.text}: {v.detail}" for v in verdicts if not v.held]
    return broken + [unmet.text for unmet in made.unmet]


ROOT = Path(__file__).parents[1]
