"""The report for reading: one self-contained page of verdicts and lanes over time, no scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .checks import Outcome
from .durations import human
from .evidence import lane
from .fields import kind_of
from .mistakes import shown
from .report_text import row_story, took
from .series import Index
from .step_text import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .evidence import Stretch
    from .history import History
    from .results import Row, ScenarioResult

LANES = (
    ("overall_status", "overall status"),
    ("api_heartbeat_state", "heartbeat"),
    ("is_connected_to_vpn", "cloudlink"),
    ("update_status", "update status"),
)
"""Field → its lane's name; what else is judged has a lane of the field's own name."""
LABEL = 18
"""Letters of a lane's name that there is room for."""
MOST_DEVICES = 4
"""Devices drawn for a scenario."""
MOST_NOTES = 20
"""Of the lab, told of a scenario's drawn devices; the result document has them all."""
LEFT, WIDTH, LANE, GAP = 132, 984, 24, 6
"""Pixels: the margin with the names, the time axis, a lane's height, the gap between lanes."""
_TICKS_S = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
)
_GOOD, _WAIT, _BAD, _BUSY, _NONE = "good", "wait", "bad", "busy", "none"
_TONES: dict[str, str] = {
    **dict.fromkeys(("operational", "online", "true", "done"), _GOOD),
    **dict.fromkeys(("reduced-functionality", "timeout", "downloaded"), _WAIT),
    **dict.fromkeys(("disconnected", "offline", "false", "rejected", "aborted"), _BAD),
    **dict.fromkeys(("updating", "downloading"), _BUSY),
    **dict.fromkeys(("configuring", "post-provisioning", "applying changes"), "work"),
    "frozen": "cold",
}
_WORDS = {"true": "up", "false": "down"}
"""Of cloudlink."""
_CHIPS = {Outcome.PASS: "held", Outcome.FAIL: "failed", Outcome.UNKNOWN: "unknown"}


def render(
    results: Sequence[ScenarioResult], *, lab: str, seed: int, not_run: Sequence[str] = ()
) -> str:
    """The page as text; ``not_run``: scenarios that the run did not come to, or through."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [row for result in results for row in result.rows]
    text = environment.get_template("report.html.j2").render(
        passed=not not_run and all(result.passed for result in results),
        not_run=not_run,
        lab=lab,
        seed=seed,
        held=sum(row.passed for row in rows),
        total=len(rows),
        failed=sum(not result.passed for result in results),
        simulated=human(sum(result.history.end_ms for result in results)),
        wall=took(sum(result.wall_seconds for result in results)),
        heartbeats=f"{sum(result.history.heartbeats for result in results):,}",
        scenarios=[_scenario(number, result) for number, result in enumerate(results, start=1)],
    )
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def _scenario(number: int, result: ScenarioResult) -> dict[str, Any]:
    """What the template shows of a scenario."""
    scenario, history = result.scenario, result.history
    drawn = _devices(result)
    left_out = len(scenario.devices) - len(drawn)
    return {
        "id": f"s{number}",
        "name": scenario.name,
        "about": scenario.about,
        "file": scenario.file.as_posix(),
        "spec": scenario.spec,
        "passed": result.passed,
        "held": sum(row.passed for row in result.rows),
        "total": len(result.rows),
        "length": human(history.end_ms),
        "wall": took(result.wall_seconds),
        "devices": len(scenario.devices),
        "clocks": [
            f"{clocks.text} ({', '.join(clocks.devices) or 'every device'})"
            for clocks in result.clocks
        ],
        "left_out": left_out,
        "command": result.command,
        "busy": "" if history.busy is None else history.busy.words,
        "steps": _steps(result),
        "chart": _chart(result, drawn),
        "rows": [_row(result, row) for row in result.rows],
        **_notes(result, drawn),
    }


def _notes(result: ScenarioResult, drawn: Sequence[str]) -> dict[str, Any]:
    """What the lab itself saw of the devices that are drawn: packets met, answers to people."""
    seen = [note for note in result.history.notes if note.of_lab and note.device in drawn]
    alone = len(result.scenario.devices) == 1
    return {
        "notes": [
            {"at": human(n.at_ms), "text": n.text if alone else f"{n.device}: {n.text}"}
            for n in seen[:MOST_NOTES]
        ],
        "notes_left_out": max(len(seen) - MOST_NOTES, 0),
    }


def _devices(result: ScenarioResult) -> list[str]:
    """The devices to draw: those to blame first, then the first of the fleet."""
    blamed = [
        finding.device
        for row in result.rows
        if row.verdict is not None and not row.passed
        for finding in row.verdict.findings
        if finding.device  # a measure of the whole fleet blames no device
    ]
    names = [device.name for device in result.scenario.devices[:MOST_DEVICES]]
    return list(dict.fromkeys([*blamed, *names]))[:MOST_DEVICES]


def _row(result: ScenarioResult, row: Row) -> dict[str, Any]:
    """An expectation, with its window as a bar."""
    bar = None
    if row.verdict is not None:
        expectation, end_ms = row.verdict.expectation, max(result.history.end_ms, 1)
        until_ms = end_ms if expectation.until_ms is None else min(expectation.until_ms, end_ms)
        first = min(expectation.from_ms / end_ms, 1.0) * 120
        bar = {"x": round(first, 1), "w": round(max(until_ms / end_ms * 120 - first, 2), 1)}
    return {
        "kind": row.kind,
        "text": row.text.partition(": ")[2] if row.verdict else row.text,
        "line": row.line,
        "passed": row.passed,
        "chip": _CHIPS[row.outcome],
        "note": row.verdict.expectation.note if row.verdict else "",
        "detail": row.detail,
        "bar": bar,
        "story": [] if row.passed else list(row_story(result, row)),
    }


# --- the chart ----------------------------------------------------------------------------------


def _x(at_ms: int, history: History) -> float:
    """The column of a moment."""
    return round(LEFT + WIDTH * min(at_ms, history.end_ms) / max(history.end_ms, 1), 1)


def _steps(result: ScenarioResult) -> list[dict[str, Any]]:
    """The steps, numbered; marks that would touch go to another row."""
    ends = [-99.0, -99.0, -99.0]
    found: list[dict[str, Any]] = []
    for line in told(result.scenario):
        if line.step.verb == "end":
            continue
        x, last = _x(line.from_ms, result.history), _x(line.until_ms, result.history)
        row = next((n for n, end in enumerate(ends) if x - end >= 18), len(ends) - 1)
        ends[row] = max(last, ends[row])
        found.append(
            {
                "number": len(found) + 1,
                "x": x,
                "last": last,
                "y": 12 + 19 * row,
                "at": line.when,
                "text": line.text,
                "note": line.step.note,
            }
        )
    return found


def _lanes(result: ScenarioResult) -> dict[str, str]:
    """Field → its lane's name: the usual ones, then what the expectations judge besides."""
    usual = dict(LANES)
    judged = [row.verdict.expectation.fields for row in result.rows if row.verdict is not None]
    others = {name: name.replace("_", " ") for fields in judged for name in fields}
    return usual | {name: label for name, label in others.items() if name not in usual}


def _chart(result: ScenarioResult, devices: Sequence[str]) -> dict[str, Any]:
    """The geometry of the lanes."""
    history = result.history
    lanes = _lanes(result)
    index = Index(history, list(lanes))
    top = 72 if len(result.scenario.steps) > 1 else 34
    rows: list[dict[str, Any]] = []
    for device in devices:
        rows.append({"title": device, "y": top + 11, "lanes": [], "x": 0})
        top += 18
        for name, label in lanes.items():
            stretches = lane(index, device, name)
            cells = list(_cells(name, stretches, history))
            shortened = label if len(label) <= LABEL else f"{label[: LABEL - 1]}…"
            rows[-1]["lanes"].append({"label": shortened, "field": name, "y": top, "cells": cells})
            top += LANE + GAP
        top += 8
    return {
        "height": top + 22,
        "axis": top,
        "left": LEFT,
        "right": LEFT + WIDTH,
        "width": LEFT + WIDTH + 24,
        "lane": LANE,
        "devices": rows,
        "ticks": list(_ticks(history)),
    }


def _word(name: str, value: object, end_ms: int) -> str:
    """What a cell says."""
    if value is None:
        return "—"
    if kind_of(name) == "moment" and isinstance(value, int) and 0 <= value <= end_ms:
        return human(value)
    text = shown(value)
    return _WORDS.get(text, text) if name == "is_connected_to_vpn" else text


def _cells(name: str, stretches: Sequence[Stretch], history: History) -> Iterator[dict[str, Any]]:
    """The rectangles of a lane."""
    for stretch in stretches:
        first, last = _x(stretch.from_ms, history), _x(stretch.until_ms, history)
        word = _word(name, stretch.value, history.end_ms)
        width = round(max(last - first, 1.5), 1)
        yield {
            "x": first,
            "w": width,
            "tone": _TONES.get(shown(stretch.value), _NONE),
            "word": word if width > 7 * len(word) + 10 else "",
            "title": f"{word}: {human(stretch.from_ms)} – {human(stretch.until_ms)}",
        }


def _ticks(history: History) -> Iterator[dict[str, Any]]:
    """At most a dozen round moments."""
    end_s = max(history.end_ms // 1_000, 1)
    step = next((s for s in _TICKS_S if end_s / s <= 12), 86_400 * (end_s // 1_036_800 + 1))
    for second in range(0, end_s + 1, step):
        yield {"x": _x(second * 1_000, history), "text": _clock(second, step)}


def _clock(second: int, step: int) -> str:
    """A tick's label, as short as its scale allows."""
    if step >= 86_400:
        return f"{second // 86_400} d"
    hours, rest = divmod(second, 3_600)
    if step >= 60:
        return f"{hours}:{rest // 60:02d}"
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
