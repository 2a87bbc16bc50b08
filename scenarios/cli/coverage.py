"""``fieldbeat coverage``: which sentences of the specification are pinned, and by whom."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .group import EXIT_FAILED
from .inputs import compile_all, files, save

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..coverage import Coverage, Line

_BELOW = " " * 8


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--spec",
    "spec_file",
    metavar="FILE",
    help="Sentences of your own: a list of documents as in fieldbeat's spec.yaml.",
)
@click.option("--json", "json_file", metavar="FILE", help="Write the matrix; - is stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print what is wrong and nothing else.")
@click.pass_context
def coverage(
    ctx: click.Context,
    paths: tuple[str, ...],
    spec_file: str | None,
    json_file: str | None,
    quiet: bool,
) -> None:
    """Run scenarios and print which sentences of the specification they pin, and with what verdict.

    PATH is a scenario file or a folder of them; none means the scenarios that come with fieldbeat.
    Exit status: 0 every sentence is pinned and every scenario that pins one held, 1 not so or a
    scenario names a sentence that is not there, 2 the input is wrong.
    """
    from ..coverage import coverage_of, dump
    from ..running import run_scenario
    from ..spec import SPEC_FILE, sentences, unknown_sentences

    known = sentences(Path(spec_file) if spec_file else SPEC_FILE)
    found = files(paths)
    scenarios = compile_all(found)
    results = [run_scenario(s, lab="virtual", seed=None, devices_option=None) for s in scenarios]
    unknown = [error for path in found for error in unknown_sentences(path, known)]
    matrix = coverage_of(results, known, unknown)
    to_stderr = json_file == "-"
    for text in _told(matrix, quiet=quiet):
        click.echo(text, err=to_stderr)
    if json_file == "-":
        click.echo(dump(matrix), nl=False)
    elif json_file is not None:
        save(Path(json_file), dump(matrix))
    if not matrix.complete:
        ctx.exit(EXIT_FAILED)


def _told(matrix: Coverage, *, quiet: bool) -> Iterator[str]:
    """The matrix to read: under each sentence the scenarios that pin it."""
    document = ""
    for line in matrix.lines:
        if quiet and line.held:
            continue
        if not quiet and line.sentence.document != document:
            document = line.sentence.document
            yield click.style(document, bold=True)
        yield from _line(line)
        if not quiet:
            yield ""
    if matrix.without and not quiet:
        names = ", ".join(result.scenario.name for result in matrix.without)
        yield f"pin no sentence: {names}\n"
    yield from (str(error) for error in matrix.unknown)
    if not (quiet and matrix.complete):
        yield _summary(matrix)


def _line(line: Line) -> Iterator[str]:
    verdict = "ok    " if line.held else "FAILED" if line.pinned else "NONE  "
    yield f"{verdict}  {line.sentence.id}"
    yield textwrap.fill(line.sentence.words, 100, initial_indent=_BELOW, subsequent_indent=_BELOW)
    if not line.pinned:
        yield f"{_BELOW}no scenario pins it"
    for result in line.results:
        yield f"{_BELOW}{'held  ' if result.passed else 'FAILED'}  {result.scenario.name}"


def _summary(matrix: Coverage) -> str:
    total = len(matrix.lines)
    scenarios = {r.scenario.file: r for line in matrix.lines for r in line.results}
    failed = sum(not result.passed for result in scenarios.values())
    parts = [
        f"{matrix.pinned} of {total} sentences are pinned ({100 * matrix.pinned // total} %)",
        f"by {len(scenarios)} scenarios, "
        + (f"{failed} of which failed" if failed else "all held"),
    ]
    if matrix.unknown:
        many = len(matrix.unknown)
        parts.append(f"; {many} unknown id{'s' if many > 1 else ''}")
    return " ".join(parts).replace(" ;", ";")
