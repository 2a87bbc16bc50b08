"""``fieldbeat list`` and ``fieldbeat explain``: what there is and what it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..durations import human, suggest
from ..errors import InputError
from .inputs import PARAMS, SUFFIX, compile_all, files, given_of, selected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..model import Scenario

_ABOUT_COLUMNS = 60


@click.command(name="list")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("-k", "expression", metavar="EXPR", help="Only these: words, and, or, not, ( ).")
def list_(paths: tuple[str, ...], expression: str | None) -> None:
    """List scenarios: name, tags, the sentences of the specification they pin, and what happens."""
    scenarios = selected(compile_all(files(paths)), expression)
    rows = [("NAME", "TAGS", "PINS", "ABOUT")]
    rows += [(s.name, " ".join(s.tags), " ".join(s.spec), _short(s.about)) for s in scenarios]
    widths = [min(max(len(row[column]) for row in rows), 44) for column in range(3)]
    for row in rows:
        cells = [_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[3]]).rstrip())


def _short(about: str) -> str:
    return _cut(about.partition(". ")[0].rstrip("."), _ABOUT_COLUMNS)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


@click.command()
@click.argument("name")
@click.option("--devices", type=click.IntRange(min=1), help="Size of the fleet.")
@PARAMS
def explain(name: str, devices: int | None, params: tuple[str, ...]) -> None:
    """Tell what a scenario does, when, and which sentences of the specification it pins.

    NAME is a scenario of the library (its name, or its file without .scenario.yaml) or a file.
    """
    path = Path(name)
    file = path if path.is_file() else find(name)
    scenarios = compile_all([file], devices=devices, given=given_of(params))
    for number, scenario in enumerate(scenarios):
        if number:
            click.echo()
        for line in _told(scenario):
            click.echo(line)


def find(name: str) -> Path:
    """The library's file for a name."""
    scenarios = compile_all(files([]))
    wanted = name.lower()
    for scenario in scenarios:
        if wanted in (scenario.name.lower(), _stem(scenario)):
            return scenario.file
    near = [s for s in scenarios if wanted in s.name.lower() or wanted in _stem(s)]
    found = {_stem(s): s.file for s in near}  # the variants of a file are one
    if len(found) == 1:
        return near[0].file
    if found:
        raise InputError(f"several scenarios match '{name}': {', '.join(found)}")
    known = [*(_stem(s) for s in scenarios), *(s.name for s in scenarios)]
    raise InputError(
        f"no scenario is called '{name}'", hint=suggest(name, known) or "fieldbeat list shows all"
    )


def _stem(scenario: Scenario) -> str:
    return scenario.file.name.removesuffix(SUFFIX).lower()


def _told(scenario: Scenario) -> Iterator[str]:
    """A scenario in words."""
    from ..report_text import wanted
    from ..step_text import told

    yield scenario.name
    if scenario.about:
        yield f"  {scenario.about}"
    yield ""
    yield f"  file     {scenario.file}"
    yield f"  devices  {_devices(scenario)}"
    yield f"  cloud    profile {scenario.cloud.profile}, poll interval " + human(
        scenario.cloud.default_poll_interval_ms
    )
    if scenario.tags:
        yield f"  tags     {', '.join(scenario.tags)}"
    yield "" if scenario.spec else "\n  pins no sentence of the specification"
    if scenario.spec:
        yield "Pins these sentences of the specification"
        yield from _pinned(scenario)
    yield ""
    yield "What happens"
    yield from _aligned([(line.when, line.text) for line in told(scenario)])
    yield ""
    yield "What the cloud must report"
    rows = []
    for expectation in scenario.expectations:
        until_ms = scenario.end_ms if expectation.until_ms is None else expectation.until_ms
        window = f"{human(expectation.from_ms)} … {human(until_ms)}"
        rows.append((window, f"{wanted(expectation)}  (line {expectation.where.line})"))
    yield from _aligned(rows) if rows else ["  nothing is expected"]
    yield from (f"\nhint: {hint}" for hint in scenario.hints)


def _pinned(scenario: Scenario) -> Iterator[str]:
    """The ids of its sentences, with their words below."""
    from ..spec import sentences

    known = sentences()
    for name in scenario.spec:
        words = known[name].words if name in known else "the specification has no such sentence"
        yield f"  {name}"
        yield f"      {words}"


def _devices(scenario: Scenario) -> str:
    first = scenario.devices[0]
    names = ", ".join(device.name for device in scenario.devices[:3])
    more = ", …" if len(scenario.devices) > 3 else ""
    kind = "scripted" if first.scripted else f"behaviour {first.behaviour}"
    fresh = ", nothing registered or preloaded" if first.fresh else ""
    return f"{len(scenario.devices)} ({names}{more}), {first.device_type}, {kind}{fresh}"


def _aligned(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max((len(row[0]) for row in rows), default=0)
    return (f"  {first:>{width}}  {second}" for first, second in rows)
