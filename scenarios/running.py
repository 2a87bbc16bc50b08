"""Runs a compiled scenario in a lab and judges it; the one place that reads a clock for reports."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .checks import judge_all
from .errors import LabError
from .how import How, with_slack
from .results import ScenarioResult, rows_of

if TYPE_CHECKING:
    from .model import Scenario

LABS = ("virtual", "host", "boards")


def run_scenario(
    scenario: Scenario,
    *,
    lab: str,
    seed: int | None,
    devices_option: int | None,
    how: How | None = None,
) -> ScenarioResult:
    """Run and judge; ``seed=None`` is the scenario's own.

    ``how``: speed and tunnel of a lab of real processes.

    Raises:
        LabError: the lab is not there, or cannot do what the scenario asks for.
    """
    require(lab)
    if seed is None:
        seed = scenario.seed
    began = time.perf_counter()
    try:
        if lab == "host":
            from .hostlab.lab import run_host

            how = how or How()
            history = run_host(scenario, how, seed=seed)
            scenario = with_slack(scenario, how.slack_ms)
        else:
            from .virtual import run_virtual

            history = run_virtual(scenario, seed=seed)
    except LabError as error:
        raise LabError(f"{scenario.file}: {error}") from error
    rows = rows_of(scenario, history, judge_all(scenario.expectations, history))
    return ScenarioResult(
        scenario=scenario,
        history=history,
        rows=rows,
        seed=seed,
        devices_option=devices_option,
        lab=lab,
        wall_seconds=time.perf_counter() - began,
        speed=how.speed if how is not None and lab == "host" else 1.0,
    )


def require(lab: str) -> None:
    """Raise ``LabError`` for a lab that this version does not have."""
    if lab == "boards":
        raise LabError(
            "the boards lab is not in this version: it needs boards that answer over MQTT;"
            " use --lab virtual"
        )
    if lab == "host":
        try:
            import dns.message  # noqa: F401  # of the resolver

            import agent.daemon.program  # noqa: F401  # it is needed
            import cloud_stub.server.app  # noqa: F401  # and this
        except ImportError as error:
            raise LabError(
                f"the host lab needs more packages ({error.name}): pip install 'fieldbeat[host]'"
            ) from error
