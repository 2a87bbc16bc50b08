"""What a failure looks like, word by word: runs of real scenarios, each wrong in its own way.

``FIELDBEAT_UPDATE_GOLDEN=1`` writes the stories anew; read them before you commit them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scenarios.compile import compile_text
from scenarios.running import run_scenario

if TYPE_CHECKING:
    from scenarios.results import ScenarioResult

STORIES = Path(__file__).parents[1] / "data" / "stories"
UPDATE = os.environ.get("FIELDBEAT_UPDATE_GOLDEN") == "1"
BLOCKED = """\
scenario: {name}
{top}timeline:
  - {{at: 0s, do: power_on}}
  - {{at: 30m, do: firewall, block: vpn, id: blocked}}
  - {{at: 2h, do: firewall, allow: vpn, id: open}}
{steps}  - {{at: 3h, do: end}}
expect:
{expect}"""
CASES = {
    "late": "  - eventually: {connectivity: Heartbeat Only}\n    after: blocked\n    within: 1m\n",
    "never-came": "  - eventually: {overall_status: disconnected, api_heartbeat_state: offline}\n"
    "    after: blocked\n",
    "broken-always": "  - always: {overall_status: operational}\n    from: 5m\n"
    "    note: the customer's dashboard must stay green\n",
    "happened-once": "  - never: {connectivity: Heartbeat Only}\n    from: 5m\n",
    "wrong-sequence": "  - sequence: {overall_status: [operational, disconnected]}\n"
    "    after: 5m\n",
    "measured": "  - measure: time_in(overall_status, operational) > 95%\n    after: 5m\n",
    "beyond-the-end": "  - eventually: {overall_status: disconnected}\n    after: open\n"
    "    within: 5h\n",
}


def run(name: str, expect: str, *, top: str = "", steps: str = "") -> ScenarioResult:
    text = BLOCKED.format(name=name, top=top, steps=steps, expect=expect)
    scenario = compile_text(text, name=f"{name}.scenario.yaml")
    return run_scenario(scenario, lab="virtual", seed=1, devices_option=None)


def holds_to(name: str, result: ScenarioResult) -> None:
    """Compare a story with the one on file."""
    assert not result.passed
    path = STORIES / f"{name}.txt"
    if UPDATE:
        path.write_text(result.story + "\n", encoding="utf-8")
    assert result.story + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_the_story_of_a_failure(name: str) -> None:
    holds_to(name, run(name, CASES[name]))


def test_the_story_of_some_devices_of_a_group() -> None:
    top = "fleet: {devices: 5}\ngroups: {north: [device-2, device-4]}\n"
    expect = "  - never: {connectivity: Heartbeat Only}\n    from: 5m\n    for: any of north\n"
    holds_to("group", run("group", expect, top=top))


def test_the_story_of_a_number_of_the_fleet() -> None:
    expect = "  - measure: total(requests) < 10\n"
    holds_to("fleet-number", run("fleet-number", expect, top="fleet: {devices: 3}\n"))


def test_the_story_of_an_action_that_was_not_answered_as_expected() -> None:
    steps = "  - {at: 1h, do: action, name: reboot, expect: ok}\n"
    expect = "  - never: {is_frozen: true}\n"
    holds_to("action", run("action", expect, steps=steps))
