"""``fieldbeat bench``: speed and memory of a lab, and of the stub as a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable


@click.command()
@click.argument("what", type=click.Choice(["virtual", "cloud", "agent", "tunnel"]))
@click.option("--devices", type=click.IntRange(min=1), default=1_000, help="Default: 1000.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    help="Of each load.  [default: 5 (cloud), 60 (agent)]",
)
@click.option(
    "--crowd",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Devices of the measurement of memory (cloud).",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=1, max=100),
    default=5,
    show_default=True,
    help="Of the host lab in which a block is measured (tunnel).",
)
def bench(what: str, devices: int, seconds: float | None, crowd: int, speed: float) -> None:
    """Measure, with a floor taken in the same run.

    virtual: the virtual lab beside a bare heap of timers and SimPy, in one process.  cloud: the
    server, asked by another process over 32 connections, beside a bare aiohttp handler.  agent: one
    agent, and a fleet in one process, against a stub in another.  tunnel: WireGuard handshakes
    beside the operations they are made of, a crowd of devices, and how long a blocked tunnel takes
    to be noticed and to come back, by each kind of tunnel beside the model.
    """
    lines: Iterable[str]
    if what == "virtual":
        from ..bench import bench_virtual

        lines = bench_virtual(devices)
    else:
        try:
            from ..bench_agent import bench_agent
            from ..bench_cloud import bench_cloud
            from ..bench_tunnel import bench_tunnel
        except ImportError as error:
            raise LabError(
                f"more packages are needed ({error.name}): pip install 'fieldbeat[agent,cloud]'"
            ) from error
        if what == "cloud":
            lines = bench_cloud(devices, seconds or 5.0, crowd)
        elif what == "tunnel":
            lines = bench_tunnel(devices, speed)
        else:
            lines = bench_agent(devices, seconds or 60.0)
    for line in lines:
        click.echo(line)
