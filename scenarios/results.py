"""The result of a run, and the ``--json`` document (version 1; ``schemas/result.schema.json``).

The document of the same files, seed and lab is the same byte for byte, but for ``wall_seconds``.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .checks import Outcome, Verdict
from .verbs import DoAction
from .whose_time import clocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .history import History
    from .model import Scenario, Step
    from .whose_time import Clocks

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One expectation as the reports show it: a line of ``expect`` or an action's own."""

    kind: str
    text: str
    line: int
    outcome: Outcome
    detail: str
    verdict: Verdict | None
    """``None`` for an action."""

    @property
    def passed(self) -> bool:
        """Whether it counts as held."""
        return self.outcome is Outcome.PASS


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResult:
    """One scenario, run and judged."""

    scenario: Scenario
    history: History
    rows: tuple[Row, ...]
    seed: int
    devices_option: int | None
    """``--devices``, as far as it was given."""
    lab: str
    wall_seconds: float
    speed: float = 1.0
    """Of a lab of real programs."""

    @property
    def clocks(self) -> tuple[Clocks, ...]:
        """Whose time the devices had."""
        return clocks_of(self.scenario, lab=self.lab, speed=self.speed)

    @property
    def passed(self) -> bool:
        """Whether every expectation held."""
        return all(row.passed for row in self.rows)

    @property
    def story(self) -> str:
        """What did not hold and why, for people; empty where all held."""
        from .report_text import failure

        return "" if self.passed else "\n".join(failure(self)).strip("\n")

    @property
    def command(self) -> str:
        """The command that gives this result again."""
        parts = ["fieldbeat", "run", str(self.scenario.file), "--seed", str(self.seed)]
        for name, value in self.scenario.params.items():
            parts += ["-p", f"{name}={value}"]
        if self.devices_option is not None:
            parts += ["--devices", str(self.devices_option)]
        if self.lab != "virtual":
            parts += ["--lab", self.lab]
        if self.speed != 1:
            parts += ["--speed", f"{self.speed:g}"]
        return shlex.join(parts)


def rows_of(scenario: Scenario, history: History, verdicts: Sequence[Verdict]) -> tuple[Row, ...]:
    """What was expected, in the order of the verdicts, then the actions that expect an answer."""
    rows = [
        Row(
            kind=verdict.expectation.kind,
            text=verdict.expectation.text,
            line=verdict.expectation.where.line,
            outcome=verdict.outcome,
            detail=verdict.detail,
            verdict=verdict,
        )
        for verdict in verdicts
    ]
    return (*rows, *_action_rows(scenario, history))


def _action_rows(scenario: Scenario, history: History) -> Iterator[Row]:
    """A row for each step whose action expects an answer."""
    for step in scenario.steps:
        if not isinstance(step.action, DoAction) or step.action.expect is None:
            continue
        unmet = [item for item in history.unmet if item.line == step.where.line]
        detail = f"answered as expected on {_count(step)}"
        if unmet:
            others = f" (and {len(unmet) - 1} more devices)" if len(unmet) > 1 else ""
            detail = f"{unmet[0].device}: {unmet[0].text}{others}"
        yield Row(
            kind="action",
            text=f"action: {step.action.name}, expect: {step.action.expect}",
            line=step.where.line,
            outcome=Outcome.FAIL if unmet else Outcome.PASS,
            detail=detail,
            verdict=None,
        )


def _count(step: Step) -> str:
    return f"{len(step.devices)} device{'s' if len(step.devices) != 1 else ''}"


def document(
    results: Sequence[ScenarioResult], *, lab: str, seed: int, not_run: Sequence[str] = ()
) -> dict[str, Any]:
    """The result document of a run; ``not_run``: scenarios that it did not come to, or through."""
    return {
        "version": VERSION,
        "lab": lab,
        "seed": seed,
        "passed": not not_run and all(result.passed for result in results),
        "scenarios": [_scenario(result) for result in results],
        **({"not_run": list(not_run)} if not_run else {}),
    }


def _scenario(result: ScenarioResult) -> dict[str, Any]:
    """One scenario of the document."""
    scenario, history = result.scenario, result.history
    return {
        "name": scenario.name,
        "file": scenario.file.as_posix(),
        "passed": result.passed,
        "simulated_seconds": history.end_ms / 1_000,
        "wall_seconds": round(result.wall_seconds, 6),
        "devices": len(scenario.devices),
        "heartbeats": history.heartbeats,
        "clocks": [
            {
                "source": clocks.source,
                "speed": clocks.speed,
                "steered": clocks.steered,
                "devices": list(clocks.devices) or "all",
            }
            for clocks in result.clocks
        ],
        **({} if history.busy is None else {"machine": history.busy.document()}),
        "expectations": [
            {
                "kind": row.kind,
                "text": row.text,
                "line": row.line,
                "passed": row.passed,
                "detail": row.detail,
            }
            for row in result.rows
        ],
        "notes": [
            {"at": note.at_ms / 1_000, "device": note.device, "text": note.text}
            for note in history.notes
            if note.of_lab
        ],
        "timeline": [
            {
                "at": change.at_ms / 1_000,
                "device": change.device,
                "field": change.field,
                "from": change.old,
                "to": change.new,
                "cause": change.cause,
            }
            for change in history.changes
        ],
    }


def dump(
    results: Sequence[ScenarioResult], *, lab: str, seed: int, not_run: Sequence[str] = ()
) -> str:
    """The document as text: stable order of keys, one line feed at the end."""
    whole = document(results, lab=lab, seed=seed, not_run=not_run)
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
