"""``fieldbeat diff``: several host labs at once, a count, and what a scenario's ``links`` say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scenarios.checks import judge_all
from scenarios.compile import compile_text
from scenarios.hostlab import netns
from scenarios.virtual import run_virtual
from tests.hostlab.lab import RUN_S, Run, at_once, needs_host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFF = """
scenario: Off and on
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 3m, do: pin, commit: r1}
  - {at: 4m, do: release, commit: r2, services: {main: {size: 1 MB}}}
  - {at: 5m, do: network, state: down, id: out}
  - {at: 10m, do: network, state: up}
  - {at: 15m, do: end}
expect:
  - eventually: {overall_status: disconnected}
    after: out
    within: 5m
"""
MANY = """
scenario: Many devices
fleet: {devices: 201}
timeline:
  - {at: 0s, do: power_on}
  - {at: 2m, do: end}
expect:
  - never: {overall_status: updating}
"""
LINKS = """
scenario: Slow to boot and to download
cloud: {poll_interval: 1m}
links: {boot_time: 2m, registry_rate: 100 kB/s, latency: 500ms}
timeline:
  - {at: 0s, do: power_on}
  - {at: 6m, do: release, commit: r2, services: {main: {size: 12 MB}}, id: released}
  - {at: 14m, do: action, name: reboot, expect: ok, id: again}
  - {at: 22m, do: action, name: shutdown, id: off}
  - {at: 26m, do: power_on, id: back}
  - {at: 34m, do: end}
expect:
  - always: {api_heartbeat_state: unknown}
    from: 0s
    until: power_on + 119s
  - eventually: {overall_status: operational}
    after: power_on
    within: 6m
  - always: {running_release: r1}
    from: released
    until: released + 119s
  - eventually: {running_release: r2, update_status: done}
    after: released
    within: 8m
  - never: {is_connected_to_vpn: true}
    from: again + 30s
    until: again + 110s
  - eventually: {overall_status: operational}
    after: again + 2m
    until: off
  - eventually: {overall_status: disconnected}
    after: off
    until: back
  - eventually: {overall_status: operational}
    after: back + 2m
    within: 6m
"""


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run with links of its own, begun with the first test: it mostly waits."""
    needs_host()
    with at_once(tmp_path_factory.mktemp("links"), {"links": LINKS}, "--speed", "20") as begun:
        yield begun["links"]


@pytest.mark.usefixtures("links")
def test_labs_run_at_once_and_are_counted(tmp_path: Path) -> None:
    needs_host()
    again = OFF.replace("Off and on", "Once more off and on")
    for name, text in (("off", OFF), ("again", again), ("many", MANY)):
        (tmp_path / f"{name}.scenario.yaml").write_text(text)
    found, temporary = tmp_path / "found.json", tmp_path / "temporary"
    temporary.mkdir()
    words = [sys.executable, "-m", "scenarios", "diff", str(tmp_path), "-j", "2"]
    before = set(netns.left_behind())
    # a busy machine may be late; whether the times are near is not what this is about
    words += ["--speed", "25", "--tolerance", "900", "--json", str(found)]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("left out  Many devices: the host lab has 200 sites, not 201")
    assert last == "2 of 2 the same, 1 left out"
    verdicts = {row["name"]: row["verdict"] for row in json.loads(found.read_text())["scenarios"]}
    assert sorted(verdicts.values()) == ["left out", "same", "same"]
    assert set(netns.left_behind()) <= before
    assert list(temporary.iterdir()) == []


def test_links_are_as_the_scenario_says(links: Run) -> None:
    links.held()


def test_the_model_says_the_same_of_links() -> None:
    scenario = compile_text(LINKS)
    verdicts = judge_all(scenario.expectations, run_virtual(scenario, seed=1))
    assert [verdict.detail for verdict in verdicts if verdict.failed or verdict.unknown] == []
