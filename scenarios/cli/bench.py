"""``fieldbeat bench``: speed and memory of a lab."""

from __future__ import annotations

import click


@click.command()
@click.argument("what", type=click.Choice(["virtual"]))
@click.option("--devices", type=click.IntRange(min=1), default=1_000, help="Default: 1000.")
def bench(what: str, devices: int) -> None:
    """Measure the virtual lab beside a bare heap of timers and SimPy, in one process."""
    from ..bench import bench_virtual

    assert what == "virtual"
    for line in bench_virtual(devices):
        click.echo(line)
