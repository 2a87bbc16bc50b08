"""Footprint and punctuality of agents as programs, against a stub in another process."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.daemon.processes import python

from .bench_cloud import Fleet, rss_mb, stub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

POLL_MS = 60_000
ONE_S = 30.0
"""How long one agent is watched."""


def _config(folder: Path, port: int, fleet: Fleet) -> Path:
    path = folder / "config.json"
    values = {
        "apiEndpoint": f"http://127.0.0.1:{port}",
        "applicationId": 1,
        "deviceType": "raspberrypi4-64",
        "apiKey": fleet.provisioning_key,
        "appUpdatePollInterval": POLL_MS,
    }
    path.write_text(json.dumps(values))
    return path


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _one(folder: Path, port: int, fleet: Fleet, seconds: float) -> str:
    """One agent with its files: memory and processor while it is idle."""
    config = _config(folder, port, fleet)
    command = [*python(), "-m", "scenarios", "agent", "--config", str(config)]
    process = subprocess.Popen(  # noqa: S603  # this program itself
        [*command, "--listen", "127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        state = folder / "fieldbeat" / "state.json"
        until_s = time.monotonic() + 30
        while time.monotonic() < until_s and not (
            state.exists() and json.loads(state.read_text())["current_commits"]
        ):
            time.sleep(0.1)
        time.sleep(12)  # the report of the release is over
        before = _cpu_s(process.pid)
        time.sleep(seconds)
        share = (_cpu_s(process.pid) - before) / seconds
        memory = rss_mb(process.pid)
    finally:
        process.terminate()
        process.wait(20)
    return f"one agent: {memory:.0f} MB resident, {share:.2%} of a core when idle"


def _many(config: Path, devices: int, seconds: float, out: Connection) -> None:
    """A fleet in this process; what it took, after all were started."""
    from agent.daemon.program import STARTS_PER_SECOND, Options, Program

    late: list[int] = []

    async def work() -> dict[str, Any]:
        program = await Program.start(Options(config=config, devices=devices))
        await asyncio.sleep(devices / STARTS_PER_SECOND + POLL_MS / 1_000)
        for device in program.devices:
            device.late_ms = late
        began_s, used_s = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        took = {
            "cpu": (time.process_time() - used_s) / (time.monotonic() - began_s),
            "memory": rss_mb(os.getpid()),
            "running": sum(1 for device in program.devices if device.agent is not None),
        }
        await program.close()
        return took

    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        took = runner.run(work())
    late.sort()
    took["timers"] = len(late)
    took["late"] = [late[min(len(late) - 1, int(len(late) * part))] for part in (0.5, 0.99, 1)]
    out.send(took)


def bench_agent(devices: int = 1_000, seconds: float = 60.0) -> Iterator[str]:
    """Lines of the report for ``fieldbeat bench agent``, each when it is known."""
    with tempfile.TemporaryDirectory(prefix="fieldbeat-bench-") as name:
        folder = Path(name)
        with stub(folder, DEFAULT_SUPERVISOR_POLL_INTERVAL=str(POLL_MS)) as (port, _):
            fleet = Fleet(port).made(0)
            fleet.close()
            yield _one(folder, port, fleet, min(seconds, ONE_S))
            yield f"{devices} agents in one process, poll interval {POLL_MS // 1_000} s and jitter:"
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            work = (_config(folder, port, fleet), devices, seconds, theirs)
            process = context.Process(target=_many, args=work)
            process.start()
            theirs.close()
            try:
                took = ours.recv()
            finally:
                process.join(30)
            fleet.connect(port)
            rows = fleet.rows("/v7/device?$select=id&$filter=update_status eq 'done'")
            fleet.close()
    half, most, worst = took["late"]
    load = f"{took['memory']:.0f} MB resident, {took['cpu']:.1%} of a core"
    yield f"  {load}, {took['timers']} timers in {seconds:.0f} s"
    yield f"  late by p50 {half} ms, p99 {most} ms, at most {worst} ms"
    yield f"  the stub has {len(rows)} devices whose release runs"
