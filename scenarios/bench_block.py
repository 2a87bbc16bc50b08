"""How long a blocked tunnel is taken for a good one, and how long it takes to come back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from agent.tunnel.kinds import server_end

from .compile import compile_text
from .errors import LabError
from .how import How
from .series import Index

if TYPE_CHECKING:
    from .history import History

SPEED = 5.0
"""Of the host lab; what programs take of real time, and the kernel until it tries a connection
again, is in the figures, times this."""
BLOCKED_MS, OPEN_MS, END_MS = 60_000, 210_000, 360_000
SCENARIO = f"""
scenario: A block
timeline:
  - {{at: 0s, do: power_on}}
  - {{at: {BLOCKED_MS // 1_000}s, do: firewall, block: vpn, mode: drop}}
  - {{at: {OPEN_MS // 1_000}s, do: firewall, allow: vpn}}
  - {{at: {END_MS // 1_000}s, do: end}}
"""
FIELD = "is_connected_to_vpn"


def bench_block() -> list[str]:
    """Lines of the report: the model first, then each kind that this machine can have."""
    from .virtual import run_virtual

    scenario = compile_text(SCENARIO)
    span_s = (OPEN_MS - BLOCKED_MS) // 1_000
    lines = [
        f"a firewall drops a tunnel for {span_s} s; the host lab at speed {SPEED:g}:",
        _line("simulated", run_virtual(scenario, seed=1)),
    ]
    for kind in ("inprocess", "userspace", "kernel"):
        try:
            from .hostlab.lab import run_host

            asyncio.run(_must_be_there(kind))
            lines.append(_line(kind, run_host(scenario, How(speed=SPEED, tunnel=kind), seed=1)))
        except (LabError, OSError) as error:
            lines.append(f"  {kind}: left out, {str(error).splitlines()[0][:160]}")
    return lines


async def _must_be_there(kind: str) -> None:
    """Raise ``OSError`` where this machine cannot have an end of the kind."""
    end = server_end(kind)
    try:
        await end.open("127.0.0.1", 0, "10.254.0.1/16", lambda *_: None)
    finally:
        with contextlib.suppress(OSError):
            await end.close()


def _line(kind: str, history: History) -> str:
    down = moment(history, value=False, after_ms=BLOCKED_MS)
    up = moment(history, value=True, after_ms=OPEN_MS)
    return f"  {kind}: seen after {_seconds(down)}, back after {_seconds(up)}"


def _seconds(span_ms: int | None) -> str:
    return "never" if span_ms is None else f"{span_ms / 1_000:.1f} s"


def moment(history: History, *, value: bool, after_ms: int) -> int | None:
    """When the cloud next showed a value, counted from ``after_ms``; ``None``: it did not."""
    index = Index(history, (FIELD,))
    series = index.of(index.names[0], FIELD)
    for at_ms, found in zip(series.times, series.values, strict=True):
        if at_ms >= after_ms and found is value:
            return at_ms - after_ms
    return None
