"""Every scenario of the packaged library holds, in any process, alone and in a fleet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scenarios.compile import compile_file, compile_variants
from scenarios.running import run_scenario
from scenarios.virtual import run_virtual

if TYPE_CHECKING:
    from scenarios.model import Scenario

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted((ROOT / "scenarios" / "library").rglob("*.scenario.yaml"))
SCENARIOS = [scenario for path in LIBRARY for scenario in compile_variants(path)]
DRAINED = frozenset({"A VPN server restarts and the whole fleet reconnects"})
"""Devices share more than a cloud here: a stopping VPN server ends them one by one."""
ALONE = [
    scenario
    for scenario in (compile_file(path) for path in LIBRARY)
    if [device.name for device in scenario.devices] == ["device-1"]
    and scenario.name.partition(" [")[0] not in DRAINED
]
"""The first variant of each file with one device."""


def run_json(*arguments: str, hash_seed: str = "0") -> dict[str, Any]:
    """``fieldbeat run --json -`` in a process of its own, without the wall seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "scenarios", "run", "--json", "-", "-q", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    for scenario in document["scenarios"]:
        del scenario["wall_seconds"]
    return document


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_scenario_holds(scenario: Scenario) -> None:
    result = run_scenario(scenario, lab="virtual", seed=None, devices_option=None)
    assert result.passed, result.story


def test_the_library_has_no_two_scenarios_of_one_name() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names) >= 60


def test_the_same_files_and_seed_give_the_same_bytes_under_any_hash_seed() -> None:
    runs = {json.dumps(run_json(hash_seed=seed), sort_keys=True) for seed in ("0", "4242")}
    assert len(runs) == 1


def test_another_seed_gives_another_timeline() -> None:
    paths = [str(path) for path in LIBRARY[:10]]
    first, second = run_json("--seed", "1", *paths), run_json("--seed", "2", *paths)
    assert first["scenarios"] != second["scenarios"]


@pytest.mark.parametrize("scenario", ALONE, ids=lambda scenario: scenario.name)
def test_a_device_lives_the_same_life_alone_and_in_a_fleet(scenario: Scenario) -> None:
    size = 50 if scenario.file.parent.name == "connectivity" else 5
    alone = run_virtual(scenario, seed=scenario.seed)
    fleet = run_virtual(compile_file(scenario.file, devices=size), seed=scenario.seed)
    assert [c for c in fleet.changes if c.device == "device-1"] == list(alone.changes)
    assert len(fleet.initial) == size
