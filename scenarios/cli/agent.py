"""``fieldbeat agent``: a device as a program."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from agent.quirks import BEHAVIOURS

from ..clock import Clock
from ..errors import InputError, LabError
from . import service

if TYPE_CHECKING:
    from agent.daemon.program import Options

ONCE_S = 120.0
"""Two time-outs of a request."""
DRY_S = 0.5
EXTRAS = "pip install 'fieldbeat[agent]'"


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="config.json, as downloaded for a device.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="What survives a power cut.  [default: fieldbeat/ beside config.json]",
)
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="What does not: locks, the last report.  [default: run/ in the state]",
)
@click.option(
    "--behaviour",
    type=click.Choice(sorted(BEHAVIOURS)),
    default="documented",
    show_default=True,
    help="As documented, or as the real program differs from it.",
)
@click.option("--proxy", metavar="URL", help="HTTP proxy.  [default: HTTPS_PROXY and the like]")
@click.option(
    "--listen",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST[:PORT]",
    help="Of the supervisor API; its port is config.json's listenPort where none is said.",
)
@click.option(
    "--tunnel",
    type=click.Choice(["inprocess", "userspace", "kernel", "off"]),
    default="inprocess",
    show_default=True,
    help="What cloudlink's WireGuard is made of; userspace and kernel need root.",
)
@click.option(
    "--part",
    type=click.Choice(["all", "supervisor", "cloudlink"]),
    default="all",
    show_default=True,
    help="Supervisor and cloudlink as one process, or one of them, as on a board.",
)
@click.option(
    "--devices",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="More than one: in memory, each with a uuid from the seed.",
)
@click.option(
    "--fleet",
    type=click.IntRange(1),
    metavar="ID",
    help="Application id to register in.  [default: config.json's]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of a fleet's identities.")
@click.option("--once", is_flag=True, help="End after one poll and one report; 1 if they fail.")
@click.option("--dry-run", is_flag=True, help="Print the first requests; send and store nothing.")
@click.option(
    "--boot-time",
    type=click.FloatRange(0, 86_400),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="From a reboot that somebody asks for to its supervisor.",
)
@click.option(
    "--insecure-registry",
    multiple=True,
    metavar="HOST[:PORT]",
    help="A registry without TLS, as Docker calls it; again for more.",
)
@click.option(
    "--clock",
    "clock_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds by how many seconds the wall clock is off (negative: behind); read at each look.",
)
@service.SPEED
@click.option("--log", type=click.Choice(["text", "json"]), default="text", show_default=True)
def agent(
    config: Path,
    state: Path | None,
    run_folder: Path | None,
    behaviour: str,
    proxy: str | None,
    listen: str,
    tunnel: str,
    part: Literal["all", "supervisor", "cloudlink"],
    devices: int,
    fleet: int | None,
    seed: int,
    once: bool,
    dry_run: bool,
    boot_time: float,
    insecure_registry: tuple[str, ...],
    clock_file: Path | None,
    speed: float,
    log: Literal["text", "json"],
) -> None:
    """Behave towards a cloud as a balena-supervisor does, in real time.

    A uuid and keys that config.json lacks are generated and written back to it.
    """
    try:
        from agent.daemon.config_json import ConfigError
        from agent.daemon.program import Options
    except ImportError as error:
        raise LabError(f"the agent needs more packages ({error.name}): {EXTRAS}") from error
    if part != "all" and (devices > 1 or once or dry_run):
        raise InputError(
            f"--part {part} is of one device that runs: without --devices, --once, --dry-run"
        )
    if part == "cloudlink" and tunnel == "off":
        raise InputError("--part cloudlink is nothing with --tunnel off")
    host, port = _address(listen)
    clock = Clock.begin(speed)
    options = Options(
        config=config,
        state=state,
        run=run_folder,
        behaviour=behaviour,
        proxy=proxy,
        listen=host,
        port=port,
        tunnel=tunnel,
        part=part,
        devices=devices,
        fleet=fleet,
        seed=seed,
        show=click.echo if dry_run else None,
        boot=boot_time,
        plain=insecure_registry,
        clock_ms=None if speed == 1 else clock.now_ms,
        speed=speed,
        off=clock_file,
    )
    service.set_up_logs(as_json=log == "json")
    try:
        if part == "cloudlink":
            work = _unit(options)
        else:
            work = _dry(options) if dry_run else _run(options, once=once)
        service.run(work, clock, small=devices == 1)
    except ConfigError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise LabError(f"{error.filename or listen}: {error.strerror or error}") from error


async def _run(options: Options, *, once: bool) -> None:
    from agent.daemon.program import Program

    async with service.Service() as running:
        program = await Program.start(options)
        try:
            if program.api is not None:
                click.echo(f"the supervisor API listens on port {program.api.port}")
            else:
                click.echo(f"{len(program.devices)} devices are starting")
            running.ready(f"{len(program.devices)} device(s)")
            talked = program.talked() if once else asyncio.Event().wait()
            ends = (running.stop.wait(), program.shut_down(), talked)
            ended = [asyncio.ensure_future(waiting) for waiting in ends]
            await asyncio.wait(
                ended,
                return_when=asyncio.FIRST_COMPLETED,
                timeout=ONCE_S if once else None,
            )
            over = any(waiting.done() for waiting in ended)
            for waiting in ended:
                waiting.cancel()
        finally:
            await program.close()
    if not over:
        click.echo(f"no poll and report within {ONCE_S:.0f} s", err=True)
        raise SystemExit(1)


async def _unit(options: Options) -> None:
    from agent.daemon.vpn_unit import Unit

    async with service.Service() as running:
        unit = await Unit.start_with(options)
        try:
            running.ready("cloudlink")
            await running.stop.wait()
        finally:
            await unit.close()


async def _dry(options: Options) -> None:
    from agent.daemon.program import Program

    program = await Program.start(options)
    await asyncio.sleep(DRY_S)
    await program.close()


def _address(listen: str) -> tuple[str, int | None]:
    host, colon, port = listen.rpartition(":")
    if not colon:
        return listen, None
    if not (port.isascii() and port.isdigit()) or int(port) > 0xFFFF:
        raise InputError(f"--listen must be HOST or HOST:PORT, not {listen!r}")
    return host.strip("[]") or "127.0.0.1", int(port)
