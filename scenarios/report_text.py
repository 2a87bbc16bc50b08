"""What people read in the terminal: verdicts, and for each that did not hold the whole story."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import Outcome
from .durations import human
from .evidence import around, chain, deciding_ms, events_of, lane
from .mistakes import shown
from .series import Index

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .checks import Finding, Verdict
    from .evidence import Event, Stretch
    from .measures import Measure
    from .model import Expectation
    from .results import Row, ScenarioResult

WIDTH = 64
"""Columns of a text timeline."""
_WORDS = {Outcome.PASS: "ok", Outcome.FAIL: "FAILED", Outcome.UNKNOWN: "UNKNOWN"}
_WANTED = {"any": "on any device", "none": "on no device"}


def took(seconds: float) -> str:
    """Real time, in a unit that can be read: ``74 ms``, ``2.36 s``, ``3m 11.6s``."""
    if seconds >= 60:
        return human(round(seconds * 10) * 100)
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1_000:.0f} ms"


def headline(result: ScenarioResult) -> str:
    """One line for a scenario."""
    held = sum(row.passed for row in result.rows)
    word = "ok    " if result.passed else "FAILED"
    many = f", {len(result.scenario.devices)} devices" if len(result.scenario.devices) > 1 else ""
    return (
        f"{word}  {result.scenario.name}: {held} of {len(result.rows)} expectations held"
        f" ({human(result.history.end_ms)} in {took(result.wall_seconds)}{many})"
    )


def failure(result: ScenarioResult) -> Iterator[str]:
    """The lines of every expectation of a scenario that did not hold, and how to see it again."""
    for row in result.rows:
        if not row.passed:
            yield ""
            yield from row_story(result, row)
    yield ""
    if result.history.busy is not None:
        yield f"  the machine: {result.history.busy.words}"
    yield f"  again: {result.command}"


def row_story(result: ScenarioResult, row: Row) -> Iterator[str]:
    """What was expected, what was seen, the nearest miss and what happened around it."""
    yield f"  {_WORDS[row.outcome]} {_place(result, row)}: {row.text}"
    if row.verdict is None:
        yield f"    seen      {row.detail}"
        return
    expectation = row.verdict.expectation
    end_ms = result.history.end_ms
    until_ms = end_ms if expectation.until_ms is None else expectation.until_ms
    yield f"    window    {human(expectation.from_ms)} … {human(until_ms)}"
    yield f"    expected  {wanted(expectation)}"
    if expectation.note:
        yield f"    note      {expectation.note}"
    of_fleet = expectation.measure is not None and expectation.measure.of_fleet
    if len(result.scenario.devices) > 1 and not of_fleet:
        yield f"    devices   {_counts(row.verdict)}"
    if row.verdict.findings:
        index = Index(result.history, expectation.fields)
        for number, finding in enumerate(row.verdict.findings):
            yield from _finding(result, expectation, finding, index, whole=number == 0)
    else:
        yield f"    seen      {row.detail}"


def _place(result: ScenarioResult, row: Row) -> str:
    where = row.verdict.expectation.where if row.verdict else None
    file = where.file if where and where.file else result.scenario.file
    return f"{file}:{row.line}"


def _counts(verdict: Verdict) -> str:
    parts = [f"{verdict.passed} held", f"{verdict.failed} did not"]
    if verdict.unknown:
        parts.append(f"{verdict.unknown} cannot be said")
    return ", ".join(parts)


def wanted(expectation: Expectation) -> str:
    """What an expectation wants, in words."""
    quantifier = expectation.quantifier
    where = _WANTED.get(quantifier.mode, "")
    if where and quantifier.devices:
        where = f"on {quantifier.written}"
    if quantifier.mode == "at_least":
        whole = quantifier.written.partition(" of ")[2] or "the devices"
        where = f"on at least {quantifier.fraction * 100:.6g}% of {whole}"
    elif quantifier.devices and not where:
        where = f"on {quantifier.written}"
    tail = f", {where}" if where else ""
    if expectation.measure is not None:
        return f"{_measured(expectation.measure)}{tail}"
    if expectation.sequence_field is not None:
        values = " → ".join(shown(value) for value in expectation.sequence)
        return f"{expectation.sequence_field} goes exactly {values}{tail}"
    pairs = [f"{name}: {_accepted(values)}" for name, values in expectation.condition.items()]
    together = " at the same moment" if len(pairs) > 1 else ""
    phrase = {
        "eventually": f"at some moment {', '.join(pairs)}{together}",
        "always": f"all the time {', '.join(pairs)}",
        "never": f"at no moment {', '.join(pairs)}{together}",
    }
    return phrase.get(expectation.kind, "") + tail


def _measured(measure: Measure) -> str:
    """A comparison in words."""
    arguments = f"({', '.join(measure.arguments)})" if measure.arguments else ""
    name = f"total({measure.name}{arguments})" if measure.total else f"{measure.name}{arguments}"
    bound = f"{measure.bound * 100:.6g}%" if measure.shared else measure.shown(measure.bound, 0)
    return f"{name} {measure.operator} {bound}"


def _accepted(values: Sequence[object]) -> str:
    return " or ".join(shown(value) for value in values)


def _finding(
    result: ScenarioResult, expectation: Expectation, finding: Finding, index: Index, *, whole: bool
) -> Iterator[str]:
    """One offending device."""
    many = len(result.scenario.devices) > 1
    name = f"{finding.device}: " if many and finding.device else ""
    yield f"    seen      {name}{finding.seen}"
    if finding.nearest:
        yield f"    nearest   {name}{finding.nearest}"
    if not whole or not finding.device:
        return
    if expectation.measure is None:
        yield from _events(result, expectation, finding)
    yield from timeline(expectation, index, finding.device)


def _events(result: ScenarioResult, expectation: Expectation, finding: Finding) -> Iterator[str]:
    """What led to what was seen (or to what came too late), and what happened around it."""
    history, device = result.history, finding.device
    at_ms = deciding_ms(expectation, finding, history.end_ms)
    decided_ms = at_ms if finding.nearest_ms is None else finding.nearest_ms
    causes = chain(history, device, expectation.fields, decided_ms)
    if causes:
        yield f"    what led to {'it' if finding.nearest_ms is not None else 'that'}"
        yield from _told_events(causes)
    events = around(events_of(history, device), at_ms)
    if events:
        yield f"    around {human(at_ms)} on {device}"
        yield from _told_events(events)


def _told_events(events: Sequence[Event]) -> Iterator[str]:
    """Events a line each, their moments below each other."""
    width = max(len(human(event.at_ms)) for event in events)
    for event in events:
        mark = {"step": "▶", "change": "·", "note": " "}[event.kind]
        yield f"      {human(event.at_ms):>{width}} {mark} {event.text}"


def timeline(expectation: Expectation, index: Index, device: str) -> Iterator[str]:
    """The fields of an expectation over the run, to scale, with the window beneath."""
    end_ms, names = index.end_ms, expectation.fields
    if end_ms <= 0 or not names:
        return
    margin = max(len(name) for name in names)
    yield "    the whole run, to scale"
    for name in names:
        yield f"      {name:{margin}} {_lane_text(lane(index, device, name), end_ms)}"
    first = _column(expectation.from_ms, end_ms)
    until_ms = end_ms if expectation.until_ms is None else expectation.until_ms
    last = max(_column(until_ms, end_ms), first + 1)
    bar = f"{' ' * first}└{'─' * (last - first - 1)}┘"
    yield f"      {'window':{margin}} {bar}"


def _column(at_ms: int, end_ms: int) -> int:
    return min(WIDTH, at_ms * WIDTH // end_ms)


def _lane_text(stretches: Sequence[Stretch], end_ms: int) -> str:
    """A lane: ``|value----|value--|``; a value that has no room shows its first letters."""
    cells = [" "] * WIDTH
    for stretch in stretches:
        first = _column(stretch.from_ms, end_ms)
        last = max(_column(stretch.until_ms, end_ms), min(first + 1, WIDTH))
        room = last - first
        if room <= 0:
            continue
        text = f"|{shown(stretch.value)}"[:room]
        cells[first:last] = list(text.ljust(room, "-"))
    return "".join(cells) + "|"


def summary(results: Sequence[ScenarioResult], seed: int) -> str:
    """The last line of a run."""
    failed = sum(not result.passed for result in results)
    rows = [row for result in results for row in result.rows]
    many = f"{len(results)} scenario{'s' if len(results) != 1 else ''}"
    if failed:
        missed = sum(not row.passed for row in rows)
        return (
            f"{failed} of {many} failed: {missed} of {len(rows)} expectations did not hold"
            f" (seed {seed})"
        )
    simulated = human(sum(result.history.end_ms for result in results))
    wall = took(sum(result.wall_seconds for result in results))
    held = f"all {len(rows)} expectations held"
    return f"{many}: {held} ({simulated} simulated in {wall})"
