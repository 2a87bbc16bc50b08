"""``fieldbeat bench``: speed and memory of a lab, and of the stub as a server."""

from __future__ import annotations

import click

from ..errors import LabError


@click.command()
@click.argument("what", type=click.Choice(["virtual", "cloud"]))
@click.option("--devices", type=click.IntRange(min=1), default=1_000, help="Default: 1000.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Of each kind of load (cloud).",
)
@click.option(
    "--crowd",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Devices of the measurement of memory (cloud).",
)
def bench(what: str, devices: int, seconds: float, crowd: int) -> None:
    """Measure, with a floor taken in the same run.

    virtual: the virtual lab beside a bare heap of timers and SimPy, in one process.  cloud: the
    server, asked by another process over 32 connections, beside a bare aiohttp handler.
    """
    if what == "virtual":
        from ..bench import bench_virtual

        lines = bench_virtual(devices)
    else:
        from .cloud import EXTRAS

        try:
            from ..bench_cloud import bench_cloud
        except ImportError as error:
            raise LabError(f"the server needs more packages ({error.name}): {EXTRAS}") from error
        lines = bench_cloud(devices, seconds, crowd)
    for line in lines:
        click.echo(line)
