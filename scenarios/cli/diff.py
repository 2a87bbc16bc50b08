"""``fieldbeat diff``: the same scenarios in the virtual lab and in the host lab."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..clock import SPEED_MAX
from ..lab_diff import Comparison
from ..model import DEFAULT_SEED
from ..running import require
from ..workers import Workers
from .group import EXIT_FAILED, EXIT_LAB
from .inputs import TUNNEL, can_be_saved, compile_all, files, save, selected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..hostlab.both import Both
    from ..model import Scenario

JOBS_MAX = 64


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("-k", "expression", metavar="EXPR", help="Only these: words, and, or, not, ( ).")
@click.option("--seed", type=click.IntRange(min=0), help=f"Default: {DEFAULT_SEED}.")
@click.option(
    "--speed",
    type=click.FloatRange(0.1, SPEED_MAX),
    default=60.0,
    show_default=True,
    metavar="N",
    help="Let the host lab's time run N times as fast.",
)
@TUNNEL
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How far apart a change may come.  [default: a poll interval and its jitter, and 2 real"
    " seconds for what programs take]",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, JOBS_MAX),
    default=1,
    show_default=True,
    metavar="N",
    help="Run N host labs at once, the longest scenarios first: they mostly wait.",
)
@click.option("--json", "json_file", metavar="FILE", help="Write what was found.")
@click.pass_context
def diff(
    ctx: click.Context,
    paths: tuple[str, ...],
    expression: str | None,
    seed: int | None,
    speed: float,
    tunnel: str,
    tolerance: float | None,
    jobs: int,
    json_file: str | None,
) -> None:
    """Run scenarios in the virtual lab and in the host lab, and compare what the cloud showed.

    Scenarios with verbs that the host lab cannot do are named and left out.  Exit status 1: some
    status came in one lab and not in the other, or too far apart; 3: a lab failed.
    """
    require("host")
    if json_file is not None:
        can_be_saved(Path(json_file))
    scenarios = selected(compile_all(files(paths), devices=None), expression)
    from ..hostlab.both import Both
    from ..hostlab.netns import needs
    from ..hostlab.unprivileged import enter

    enter(sys.argv[1:])
    needs(tunnel)
    both = Both(seed=seed, speed=speed, tunnel=tunnel, tolerance_s=tolerance)
    results = []
    for comparison in _compared(scenarios, both, jobs):
        results.append(comparison)
        for line in comparison.lines():
            click.echo(line)
        sys.stdout.flush()
    verdicts = [comparison.verdict for comparison in results]
    out = verdicts.count("left out")
    click.echo(f"{verdicts.count('same')} of {len(results) - out} the same, {out} left out")
    if json_file is not None:
        document = {"speed": speed, "scenarios": [c.document() for c in results]}
        save(Path(json_file), json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    if "FAILED" in verdicts:
        ctx.exit(EXIT_LAB)
    if "DIFFERS" in verdicts:
        ctx.exit(EXIT_FAILED)


def _compared(scenarios: Sequence[Scenario], both: Both, jobs: int) -> Iterator[Comparison]:
    """Each as soon as it is there."""
    doable = []
    for scenario in scenarios:
        left_out = both.left_out(scenario)
        if left_out is None:
            doable.append(scenario)
        else:
            yield left_out
    if jobs > 1:
        doable.sort(key=lambda scenario: -scenario.end_ms)
    yield from Workers(both.compared, at_once=jobs, lost=_lost).done(doable)


def _lost(scenario: Scenario, words: str) -> Comparison:
    name, file = scenario.name, scenario.file.as_posix()
    return Comparison(scenario=name, file=file, verdict="FAILED", words=words)
