"""An agent killed at any point at which its disk changes goes on from a legal state.

Every tenth point by default; ``FIELDBEAT_CRASH_POINTS=1`` takes every one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon.running import DEADLINE_S, agent, config_file, until
from tests.stub_cloud import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stub_cloud import Fleet, Stub

STEP = int(os.environ.get("FIELDBEAT_CRASH_POINTS", "10"))
IDENTITY = ("uuid", "deviceApiKey")
POINTS = 140
"""At least as many as a first boot passes until its release runs; a test holds it to that."""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with running(tmp_path_factory.mktemp("stub")) as found:
        yield found


def _killed(config: Path, point: int) -> subprocess.Popen[bytes]:
    log = config.with_name("points")
    start = [sys.executable, "-m", "tests.daemon.killed", str(point), str(log)]
    more = ["--config", str(config), "--listen", "127.0.0.1:0"]
    return subprocess.Popen([*start, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _settled(config: Path) -> bool:
    """The device runs its release and has told its configuration."""
    try:
        state = json.loads((config.parent / "fieldbeat" / "state.json").read_text())
    except FileNotFoundError:
        return False
    return bool(state["current_commits"] and state["initial_env_reported"])


def test_a_first_boot_passes_no_more_points_than_are_tried(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("counted")
    process = _killed(config_file(tmp_path, stub, fleet), 0)
    try:
        until(lambda: _settled(tmp_path / "config.json"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)
    names = (tmp_path / "points").read_text().split("\n")
    assert 40 < len(names) < POINTS, names


@pytest.mark.parametrize("point", range(1, POINTS, STEP))
def test_it_goes_on_from_where_it_was_killed(stub: Stub, tmp_path: Path, point: int) -> None:
    fleet = stub.fleet(f"killed-at-{point}")
    config = config_file(tmp_path, stub, fleet)
    process = _killed(config, point)
    try:
        until(lambda: process.poll() is not None or _settled(config))
    finally:
        process.kill()
        process.wait()
    before = json.loads(config.read_text())  # whole at any moment
    with agent(config) as found:
        until(lambda: _settled(config))
        after = json.loads(config.read_text())
        # no identity was thrown away, no key lost
        assert all(before.get(name, after[name]) == after[name] for name in IDENTITY)
        assert "apiKey" not in after
        path = f"/v7/device?$filter=belongs_to__application eq {fleet.id}"
        (row,) = stub.ask("GET", path + "&$select=id,uuid,api_heartbeat_state").rows
        assert row == {
            "id": after["deviceId"],
            "uuid": after["uuid"],
            "api_heartbeat_state": "online",
        }
        # one of an earlier agent's may be on its way out
        until(lambda: len(_of_the_service(fleet)) == 1)
        until(lambda: found.ask("GET", "/v1/healthy")[0] == 200)
    assert _of_the_service(fleet) == []


def _of_the_service(fleet: Fleet) -> list[str]:
    """The processes that run for a fleet's service."""
    variable = b"BALENA_APP_UUID=" + fleet.uuid.encode()
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and variable in (folder / "environ").read_bytes():
                found.append(folder.name)
    return found
