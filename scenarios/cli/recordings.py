"""``fieldbeat replay`` and ``fieldbeat truth-table``: the rules against what was recorded."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InputError
from .group import EXIT_FAILED


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option("-q", "--quiet", is_flag=True, help="Print what differs and nothing else.")
@click.pass_context
def replay(ctx: click.Context, traces: tuple[str, ...], quiet: bool) -> None:
    """Drive the cloud core with recorded events and compare with what was observed.

    TRACE is a trace file or a folder of them. Exit status: 0 nothing differs, 1 something does.
    """
    from ..replay import replay_trace

    paths: list[Path] = []
    for text in traces:
        path = Path(text)
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise InputError("no *.json in this folder", path)
        paths.extend(inside)
    differing = 0
    for path in paths:
        result = replay_trace(path)
        differing += bool(result.differences)
        if result.differences or not quiet:
            word = f"{len(result.differences)} differences" if result.differences else "ok"
            click.echo(f"{result.name}: {result.steps} steps, {word}")
        for difference in result.differences:
            click.echo(f"  {difference}")
    if differing or not quiet:
        click.echo(f"{len(paths)} traces, {differing} differ")
    if differing:
        ctx.exit(EXIT_FAILED)


@click.command(name="truth-table")
@click.argument("table", metavar="FILE.csv")
@click.pass_context
def truth_table(ctx: click.Context, table: str) -> None:
    """Hold the status rules (profile open-balena) against rows recorded from a real API.

    Exit status: 0 every row holds, 1 some do not.
    """
    from ..truth_table import check_truth_table

    result = check_truth_table(Path(table))
    for mismatch in result.mismatches:
        click.echo(f"  {mismatch}")
    click.echo(f"{result.held} of {result.total} rows hold")
    if result.held < result.total:
        ctx.exit(EXIT_FAILED)
