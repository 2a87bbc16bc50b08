"""A scenario in the virtual lab and in the host lab, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.config import AgentConfig

from ..errors import LabError
from ..how import How
from ..lab_diff import Comparison, compare
from ..virtual import run_virtual
from .lab import check_host, run_host

if TYPE_CHECKING:
    from ..model import Scenario

PROGRAMS_S = 2.0
"""Real seconds that programs take to start, on a machine that has other things to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """How to compare."""

    seed: int | None
    """``None``: each scenario's own."""
    speed: float
    tunnel: str
    tolerance_s: float | None
    """How far apart a change may come; ``None``: as ``limit_ms`` says."""

    def limit_ms(self, scenario: Scenario) -> int:
        """How far apart a change may come: where a poll stands, and what programs take."""
        if self.tolerance_s is not None:
            return round(self.tolerance_s * 1_000)
        poll_ms = scenario.cloud.default_poll_interval_ms + AgentConfig().poll_jitter_max_ms
        return poll_ms + round(PROGRAMS_S * 1_000 * self.speed)

    def left_out(self, scenario: Scenario) -> Comparison | None:
        """What the host lab cannot do is not compared."""
        try:
            check_host(scenario, self.tunnel)
        except LabError as error:
            return _without(scenario, error, failed=False)
        return None

    def compared(self, scenario: Scenario) -> Comparison:
        """Run it in both; a lab that fails is a verdict too."""
        seed = self.seed if self.seed is not None else scenario.seed
        # what stands for less is a matter of luck
        shortest_ms = 0 if self.speed == 1 else round(PROGRAMS_S * 1_000 * self.speed)
        model = run_virtual(scenario, seed=seed)
        try:
            reality = run_host(scenario, How(speed=self.speed, tunnel=self.tunnel), seed=seed)
        except LabError as error:
            return _without(scenario, error, failed=True)
        limit_ms = self.limit_ms(scenario)
        found = compare(model, reality, shortest_ms=shortest_ms, phase_ms=limit_ms)
        name, file = scenario.name, scenario.file.as_posix()
        return Comparison.of(name, file, found, limit_ms, busy=reality.busy)


def _without(scenario: Scenario, error: LabError, *, failed: bool) -> Comparison:
    return Comparison(
        scenario=scenario.name,
        file=scenario.file.as_posix(),
        verdict="FAILED" if failed else "left out",
        words=str(error),
    )
