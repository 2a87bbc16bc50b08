"""How long a blocked tunnel is taken for a good one, and how long it takes to come back.

Each kind of tunnel is held against the model.  Both ends ping every ten seconds from the moment the
tunnel is up, and a board takes another while to boot than a program to start: so the model is run
with the block at every second between two pings, and what is real must lie within what came out.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from agent.tunnel.kinds import KINDS, server_end
from cloud_stub.settings import VpnSettings

from .compile import compile_text
from .errors import LabError
from .how import How
from .series import Index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .history import History
    from .model import Scenario

SPEED = 5.0
"""Of the host lab: what programs take of real time is in the figures, times this."""
SEED = 1
BLOCKED_MS, BLOCK_MS, AFTER_MS = 60_000, 150_000, 150_000
"""When it begins, how long it lasts, and how long the run goes on after it."""
_VPN = VpnSettings()
PINGS_MS, STORED_MS = _VPN.ping_interval_ms, _VPN.report_period_ms
"""Between two pings of either end, and between two reports of the VPN service to the API."""
FIELD = "is_connected_to_vpn"


class Moments(NamedTuple):
    """What the cloud saw, ms; ``None``: it did not."""

    down_ms: int | None
    """Since the block began."""
    back_ms: int | None
    """Since it ended."""


class Span(NamedTuple):
    """From the least to the most, ms."""

    least_ms: int
    most_ms: int

    @classmethod
    def of(cls, found: list[int | None]) -> Span:
        """Of what was found at all."""
        there = [span_ms for span_ms in found if span_ms is not None]
        return cls(min(there), max(there))

    def holds(self, span_ms: int | None, slack_ms: int) -> bool:
        """Whether something real lies within, but for what programs take."""
        if span_ms is None:
            return False
        return self.least_ms - slack_ms <= span_ms <= self.most_ms + slack_ms

    def __str__(self) -> str:
        """Both ends."""
        return f"{_seconds(self.least_ms)} … {_seconds(self.most_ms)}"


def scenario(blocked_ms: int = BLOCKED_MS) -> Scenario:
    """A device whose VPN is dropped for a while."""
    open_ms = blocked_ms + BLOCK_MS
    return compile_text(
        f"""
scenario: A block
timeline:
  - {{at: 0s, do: power_on}}
  - {{at: {blocked_ms}ms, do: firewall, block: vpn, mode: drop}}
  - {{at: {open_ms}ms, do: firewall, allow: vpn}}
  - {{at: {open_ms + AFTER_MS}ms, do: end}}
"""
    )


def modelled() -> list[Moments]:
    """The model's moments: of the scenario itself, then with the block some seconds later."""
    from .virtual import run_virtual

    later = range(BLOCKED_MS, BLOCKED_MS + PINGS_MS, 1_000)
    return [moments(run_virtual(scenario(at_ms), seed=SEED), at_ms) for at_ms in later]


def bench_block(speed: float = SPEED) -> Iterator[str]:
    """Lines of the report: the model first, then each kind that this machine can have."""
    yield f"a firewall drops a tunnel for {BLOCK_MS // 1_000} s; the host lab at speed {speed:g}:"
    model, slack_ms = modelled(), How(speed=speed).slack_ms + STORED_MS
    down = Span.of([found.down_ms for found in model])
    back = Span.of([found.back_ms for found in model])
    anywhere = f"wherever the block falls between two pings, {down} and {back}"
    yield f"  simulated: {_told(model[0])}; {anywhere}"
    for kind in KINDS:
        try:
            from .hostlab.lab import run_host

            asyncio.run(_must_be_there(kind))
            how = How(speed=speed, tunnel=kind)
            found = moments(run_host(scenario(), how, seed=SEED), BLOCKED_MS)
        except (LabError, OSError) as error:
            yield f"  {kind}: left out, {str(error).splitlines()[0][:160]}"
            continue
        alike = down.holds(found.down_ms, slack_ms) and back.holds(found.back_ms, slack_ms)
        yield f"  {kind}: {_told(found)}; {'as' if alike else 'NOT as'} the model"


async def _must_be_there(kind: str) -> None:
    """Raise ``OSError`` where this machine cannot have an end of the kind."""
    end = server_end(kind)
    try:
        await end.open("127.0.0.1", 0, "10.254.0.1/16", lambda *_: None)
    finally:
        with contextlib.suppress(OSError):
            await end.close()


def _told(found: Moments) -> str:
    return f"seen after {_seconds(found.down_ms)}, back after {_seconds(found.back_ms)}"


def _seconds(span_ms: int | None) -> str:
    return "never" if span_ms is None else f"{span_ms / 1_000:.1f} s"


def moments(history: History, blocked_ms: int) -> Moments:
    """What the cloud saw of a block."""
    open_ms = blocked_ms + BLOCK_MS
    down = _moment(history, value=False, after_ms=blocked_ms)
    back = None if down is None else _moment(history, value=True, after_ms=open_ms)
    return Moments(down_ms=down, back_ms=back)


def _moment(history: History, *, value: bool, after_ms: int) -> int | None:
    """When the cloud next showed a value, counted from ``after_ms``; ``None``: it did not."""
    index = Index(history, (FIELD,))
    series = index.of(index.names[0], FIELD)
    for at_ms, found in zip(series.times, series.values, strict=True):
        if at_ms >= after_ms and found is value:
            return at_ms - after_ms
    return None
