"""``fieldbeat diff``: the same scenario in the virtual lab and in the host lab."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..clock import SPEED_MAX
from ..durations import human
from ..errors import LabError
from ..how import How
from ..lab_diff import compare
from ..model import DEFAULT_SEED
from ..running import require
from .group import EXIT_FAILED
from .inputs import TUNNEL, compile_all, files, selected

if TYPE_CHECKING:
    from ..model import Scenario


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
    help="How far apart a change may come.  [default: a poll interval with its jitter, and 2 real"
    " seconds for what programs take]",
)
@click.pass_context
def diff(
    ctx: click.Context,
    paths: tuple[str, ...],
    expression: str | None,
    seed: int | None,
    speed: float,
    tunnel: str,
    tolerance: float | None,
) -> None:
    """Run scenarios in the virtual lab and in the host lab, and compare what the cloud showed.

    Scenarios with verbs that the host lab cannot do are named and left out.  Exit status 1: some
    status came in one lab and not in the other, or too far apart.
    """
    require("host")
    scenarios = selected(compile_all(files(paths), devices=None), expression)
    from ..hostlab.unprivileged import enter

    enter(sys.argv[1:])
    good = True
    for scenario in scenarios:
        good &= _one(scenario, seed, speed, tunnel, tolerance)
    if not good:
        ctx.exit(EXIT_FAILED)


def _one(
    scenario: Scenario, seed: int | None, speed: float, tunnel: str, tolerance_s: float | None
) -> bool:
    from ..hostlab.lab import run_host
    from ..hostlab.steps import refuse_what_cannot_be
    from ..virtual import run_virtual

    used = seed if seed is not None else scenario.seed or DEFAULT_SEED
    try:
        refuse_what_cannot_be(scenario)
    except LabError as error:
        click.echo(f"left out  {scenario.name}: {error}")
        return True
    polls_ms = scenario.cloud.default_poll_interval_ms
    slack_ms = polls_ms * scenario.cloud.poll_jitter_factor_percent // 100 + round(2_000 * speed)
    limit_ms = slack_ms if tolerance_s is None else round(tolerance_s * 1_000)
    # what stands for less is a matter of luck: programs and the kernel's second try to connect
    # take a second or two of real time
    shortest_ms = 0 if speed == 1 else round(2_000 * speed)
    model = run_virtual(scenario, seed=used)
    reality = run_host(scenario, How(speed=speed, tunnel=tunnel), seed=used)
    found = compare(model, reality, shortest_ms=shortest_ms)
    wrong = [d for d in found if not d.same_values]
    late = [d for d in found if d.same_values and d.apart_ms > limit_ms]
    farthest_ms = max((d.apart_ms for d in found if d.same_values), default=0)
    word = "same" if not wrong and not late else "DIFFERS"
    click.echo(
        f"{word:8}  {scenario.name}: {len(found) - len(wrong)} of {len(found)} fields have the same"
        f" values, at most {human(farthest_ms)} apart"
    )
    for difference in (*wrong, *late):
        click.echo(f"  {difference.device} {difference.field}")
        for line in difference.lines():
            click.echo(line)
    return not wrong and not late
