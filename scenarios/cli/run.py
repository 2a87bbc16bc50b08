"""``fieldbeat run``: run scenarios, judge them, write what was asked for."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import report_text
from ..clock import SPEED_MAX
from ..durations import human
from ..errors import LabError
from ..how import How
from ..interrupts import terminated_as_interrupted
from ..model import DEFAULT_SEED
from ..running import LABS, require, run_scenario
from ..sections import MOST_DEVICES
from ..whose_time import lines
from .group import EXIT_FAILED
from .inputs import PARAMS, TUNNEL, can_be_saved, compile_all, files, given_of, save, selected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..model import Scenario
    from ..results import ScenarioResult


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--lab", type=click.Choice(LABS), default="virtual", help="Where. Default: virtual.")
@click.option(
    "--speed",
    type=click.FloatRange(0.1, SPEED_MAX),
    default=1.0,
    metavar="N",
    help="In the host lab: let time run N times as fast. Default: 1.",
)
@TUNNEL
@click.option(
    "--keep", "keep_dir", metavar="DIR", help="In the host lab: leave logs and disks there."
)
@click.option(
    "--seed", type=click.IntRange(min=0), help=f"Of all randomness. Default: {DEFAULT_SEED}."
)
@click.option("--devices", type=click.IntRange(1, MOST_DEVICES), help="Size of the fleet.")
@PARAMS
@click.option("-k", "expression", metavar="EXPR", help="Only these: words, and, or, not, ( ).")
@click.option("--json", "json_file", metavar="FILE", help="Write the result document; - is stdout.")
@click.option("--junit", "junit_file", metavar="FILE", help="Write a JUnit report.")
@click.option(
    "--report", "report_dir", metavar="DIR", help="Write a report to read: DIR/index.html."
)
@click.option("-q", "--quiet", is_flag=True, help="Print what failed and nothing else.")
@click.pass_context
def run(
    ctx: click.Context,
    paths: tuple[str, ...],
    lab: str,
    speed: float,
    tunnel: str,
    keep_dir: str | None,
    seed: int | None,
    devices: int | None,
    params: tuple[str, ...],
    expression: str | None,
    json_file: str | None,
    junit_file: str | None,
    report_dir: str | None,
    quiet: bool,
) -> None:
    """Run scenarios and judge their expectations.

    PATH is a scenario file or a folder of them; none means the scenarios that come with fieldbeat.
    Exit status: 0 all expectations held, 1 some did not, 2 the input is wrong, 3 the lab could not
    be set up.
    """
    require(lab)
    to_stderr = json_file == "-"
    how = How(speed=speed, tunnel=tunnel, keep=Path(keep_dir) if keep_dir else None)
    compiled = compile_all(files(paths), devices=devices, seed=seed, given=given_of(params))
    scenarios = selected(compiled, expression)
    results: list[ScenarioResult] = []
    used = DEFAULT_SEED if seed is None else seed
    documents = _Documents(json_file, junit_file, report_dir, lab=lab, seed=used)
    for place in documents.places():
        can_be_saved(place)
    if lab == "host":
        from ..hostlab.unprivileged import enter

        enter(sys.argv[1:])
        text = f"host lab at speed {speed:g}: windows of expectations are"
        if not quiet:
            click.echo(f"{text} {human(how.slack_ms)} wider", err=to_stderr)
    with terminated_as_interrupted(), documents.written(scenarios, results):
        for scenario in scenarios:
            result = run_scenario(
                scenario,
                lab=lab,
                seed=seed,
                devices_option=devices,
                how=how,
            )
            results.append(result)
            if not quiet or not result.passed:
                click.echo(report_text.headline(result), err=to_stderr)
            if not result.passed:
                for line in report_text.failure(result):
                    click.echo(line, err=to_stderr)
                click.echo(err=to_stderr)
    failed = not all(result.passed for result in results)
    if failed or not quiet:
        for line in lines((result.scenario.name, result.clocks) for result in results):
            click.echo(line, err=to_stderr)
        click.echo(report_text.summary(results, used), err=to_stderr)
    if failed:
        ctx.exit(EXIT_FAILED)


@dataclass(frozen=True)
class _Documents:
    """Those that were asked for."""

    json_file: str | None
    junit_file: str | None
    report_dir: str | None
    lab: str = field(kw_only=True)
    seed: int = field(kw_only=True)

    def places(self) -> Iterator[Path]:
        """The files that will be written."""
        for file in (self.json_file, self.junit_file):
            if file is not None and file != "-":
                yield Path(file)
        if self.report_dir is not None:
            yield Path(self.report_dir) / "index.html"

    @contextmanager
    def written(
        self, scenarios: Sequence[Scenario], results: Sequence[ScenarioResult]
    ) -> Iterator[None]:
        """They are written in the end; of what there is, where a run ends before."""
        try:
            yield
        except (LabError, KeyboardInterrupt):
            if results:  # hours of them, perhaps
                self._write(results, [scenario.name for scenario in scenarios[len(results) :]])
            raise
        self._write(results, ())

    def _write(self, results: Sequence[ScenarioResult], not_run: Sequence[str]) -> None:
        if self.json_file is not None:
            from ..results import dump

            text = dump(results, lab=self.lab, seed=self.seed, not_run=not_run)
            if self.json_file == "-":
                click.echo(text, nl=False)
            else:
                save(Path(self.json_file), text)
        if self.junit_file is not None:
            from ..junit import junit_text

            save(Path(self.junit_file), junit_text(results, not_run))
        if self.report_dir is not None:
            from ..report_html import render

            page = render(results, lab=self.lab, seed=self.seed, not_run=not_run)
            save(Path(self.report_dir) / "index.html", page)
