"""The agent as on a board: wheels for aarch64, under qemu's emulation of the processor."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.daemon.running import command, config_file
from tests.stub_cloud import running

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = os.environ.get("FIELDBEAT_TEST_AARCH64")


@pytest.mark.skipif(PYTHON is None, reason="FIELDBEAT_TEST_AARCH64 names no Python (.ci/aarch64)")
def test_an_agent_for_aarch64_polls_and_reports(tmp_path: Path) -> None:
    assert PYTHON is not None
    with running(tmp_path) as stub:
        fleet = stub.fleet()
        config = config_file(tmp_path, stub, fleet)
        start = [PYTHON, *command(config, "--once")[1:]]
        done = subprocess.run(start, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        uuid = json.loads(config.read_text())["uuid"]
        fields = "api_heartbeat_state,memory_total,cpu_usage"
        path = f"/v7/device(uuid='{uuid}')?$select={fields}"
        (row,) = stub.ask("GET", path).rows
    assert row["api_heartbeat_state"] == "online"
    assert row["memory_total"] > 0
