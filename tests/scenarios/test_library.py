"""Every scenario of the packaged library holds, in any process, alone and in a fleet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scenarios.compile import compile_file

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted((ROOT / "scenarios" / "library").rglob("*.scenario.yaml"))

ONE_FLEET = [path for path in LIBRARY if "\nfleets:" not in path.read_text()]
"""Where there are several, their sizes are the file's alone to say."""


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


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name.split(".")[0])
def test_the_scenario_holds(path: Path) -> None:
    document = run_json(str(path))
    failed = [
        expectation
        for scenario in document["scenarios"]
        for expectation in scenario["expectations"]
        if not expectation["passed"]
    ]
    assert document["passed"], failed


def test_the_same_file_and_seed_give_the_same_bytes_under_any_hash_seed() -> None:
    runs = {
        json.dumps(run_json(hash_seed=seed), sort_keys=True) for seed in ("0", "1", "4242", "0")
    }
    assert len(runs) == 1


def test_another_seed_gives_another_timeline() -> None:
    first, second = run_json("--seed", "1"), run_json("--seed", "2")
    assert first["scenarios"] != second["scenarios"]


@pytest.mark.parametrize("path", ONE_FLEET, ids=lambda path: path.name.split(".")[0])
def test_a_device_lives_the_same_life_alone_and_in_a_fleet_of_fifty(path: Path) -> None:
    names = [device.name for device in compile_file(path).devices]
    if names[0] == "device-1":
        names = names[:1]  # devices without names of their own: one is enough
    alone = run_json("--devices", str(len(names)), str(path))["scenarios"][0]["timeline"]
    fleet = run_json("--devices", "50", str(path))["scenarios"][0]["timeline"]
    assert [row for row in fleet if row["device"] in names] == alone
    others = {f"device-{n}" for n in range(len(names) + 1, 51)}
    assert {row["device"] for row in fleet} == {*names, *others}
