"""Repetitions, random moments, spread, and the names of repeated steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scenarios.compile import compile_text
from scenarios.errors import InputErrors

if TYPE_CHECKING:
    from scenarios.model import Scenario, Step

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


def made(timeline: str, expect: str = "", *, seed: int = 1, devices: int = 1) -> Scenario:
    text = f"scenario: S\nfleet: {{devices: {devices}}}\ntimeline:\n{timeline}\n"
    return compile_text(f"{text}expect:\n{expect}" if expect else text, seed=seed)


def steps(scenario: Scenario, verb: str) -> list[Step]:
    return [step for step in scenario.steps if step.verb == verb]


def refused(timeline: str, expect: str = "") -> str:
    with pytest.raises(InputErrors) as caught:
        made(timeline, expect)
    return str(caught.value)


END = "  - {at: 30d, do: end}"
OUTAGE = f"""\
  - {{at: 2h, every: 1d, repeat: 3, do: network, state: down, id: down}}
  - {{at: 3h, every: 1d, repeat: 3, do: network, state: up, id: up}}
{END}
"""


def test_every_and_repeat_place_a_step_again_and_again() -> None:
    down = [step for step in steps(made(OUTAGE), "network") if step.id.startswith("down")]
    assert [step.at_ms for step in down] == [n * DAY_MS + 2 * HOUR_MS for n in range(3)]
    assert [step.id for step in down] == ["down.1", "down.2", "down.3"]


def test_until_is_the_last_moment_a_repetition_may_begin() -> None:
    found = made(f"  - {{at: 1d, every: 1d, until: 3d, do: reboot}}\n{END}")
    assert [step.at_ms // DAY_MS for step in steps(found, "reboot")] == [1, 2, 3]


def test_a_repeated_moment_may_count_from_an_anchor() -> None:
    again = "  - {at: power_on + 1h, every: 1d, repeat: 2, do: reboot}"
    text = f"  - {{at: 1h, do: power_on}}\n{again}\n{END}"
    found = steps(made(text), "reboot")
    assert [step.at_ms for step in found] == [2 * HOUR_MS, DAY_MS + 2 * HOUR_MS]


def test_steps_repeated_together_know_each_other() -> None:
    text = f"""\
  - at: 12h
    every: 1d
    repeat: 2
    steps:
      - {{at: 10m, do: network, state: down, id: down}}
      - {{at: down + 30m, do: network, state: up}}
{END}
"""
    found = [step.at_ms // 60_000 for step in steps(made(text), "network")]
    assert found == [730, 760, 1440 + 730, 1440 + 760]


def test_the_name_of_a_repeated_step_needs_a_number() -> None:
    text = refused(OUTAGE, "  - {never: {is_frozen: true}, after: down}")
    assert "'down' is repeated and names several moments" in text
    assert "down.1 … down.3, down.last, or each: down" in text


def test_numbers_and_last_name_the_repetitions() -> None:
    line = "  - {never: {is_frozen: true}, after: down.2, until: down.last + 1h}"
    (expectation,) = made(OUTAGE, line).expectations
    assert expectation.from_ms == DAY_MS + 2 * HOUR_MS
    assert expectation.until_ms == 2 * DAY_MS + 3 * HOUR_MS


def test_each_judges_once_for_each_repetition() -> None:
    line = "  - {never: {is_frozen: true}, each: down, after: down, within: 10m}"
    found = made(OUTAGE, line).expectations
    assert [e.from_ms for e in found] == [n * DAY_MS + 2 * HOUR_MS for n in range(3)]
    assert all((e.until_ms or 0) - e.from_ms == 600_000 for e in found)


def test_each_moves_the_ids_that_are_repeated_together() -> None:
    block = f"""\
  - every: 1d
    repeat: 2
    steps:
      - {{at: 1h, do: network, state: down, id: down}}
      - {{at: 2h, do: network, state: up, id: up}}
{END}
"""
    line = "  - {never: {is_frozen: true}, each: up, from: down, until: up}"
    windows = [(e.from_ms, e.until_ms) for e in made(block, line).expectations]
    assert windows == [(HOUR_MS, 2 * HOUR_MS), (DAY_MS + HOUR_MS, DAY_MS + 2 * HOUR_MS)]


def test_a_random_moment_lies_in_its_range_and_follows_the_seed() -> None:
    text = f"  - {{at: 10m..20m, do: power_on}}\n{END}"
    moments = [made(text, seed=seed).steps[0].at_ms for seed in range(40)]
    assert all(600_000 <= at_ms <= 1_200_000 for at_ms in moments)
    assert len(set(moments)) > 30
    assert moments == [made(text, seed=seed).steps[0].at_ms for seed in range(40)]


def test_an_anchor_is_where_the_random_moment_fell() -> None:
    text = f"  - {{at: 10m..20m, do: power_on, id: on}}\n  - {{at: on + 1h, do: reboot}}\n{END}"
    on, reboot, _ = made(text).steps
    assert reboot.at_ms - on.at_ms == HOUR_MS


def test_spread_gives_each_device_a_moment_that_no_other_device_moves() -> None:
    text = f"  - {{at: 1m, do: power_on, spread: 10m}}\n{END}"

    def moments(devices: int) -> dict[str, int]:
        found = steps(made(text, devices=devices), "power_on")
        return {step.devices[0]: step.at_ms for step in found}

    few, many = moments(3), moments(50)
    assert all(60_000 <= at_ms <= 660_000 for at_ms in many.values())
    assert len(set(many.values())) > 40
    assert few == {name: many[name] for name in few}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{at: 1h, every: 1d, do: reboot}", "every needs either 'repeat'"),
        ("{at: 1h, repeat: 3, do: reboot}", "repeat and until need 'every'"),
        ("{at: 1h, every: 0s, repeat: 3, do: reboot}", "repetitions must be apart"),
        ("{at: 1h, every: 1x, repeat: 3, do: reboot}", "unknown unit 'x'"),
        ("{at: 2d, every: 1d, until: 1d, do: reboot}", "is before the first time"),
        ("{at: 1h, every: 1ms, until: 1d, do: reboot}", "that is 82800001 times"),
        ("{at: 1h, every: 20d, repeat: 3, do: reboot}", "comes after the end"),
        ("{at: 20m..10m, do: reboot}", "ends before it begins"),
        ("{at: 1m..2m..3m, do: reboot}", "has two '..'"),
        ("{at: 1h, spread: 40d, do: reboot}", "the last device may come after the end"),
        ("{at: 1h, spread: -1m, do: reboot}", "it must not be negative"),
        ("{every: 1d, repeat: 2, steps: []}", "it is empty"),
        ("{repeat: 2, steps: [{at: 0s, do: reboot}]}", "needs 'every'"),
        (
            "{every: 1d, repeat: 2, steps: [{at: 0s, every: 1h, repeat: 2, do: reboot}]}",
            "'every' within a repetition",
        ),
    ],
)
def test_a_mistake_is_told(step: str, said: str) -> None:
    assert said in refused(f"  - {step}\n{END}")


def test_each_of_what_is_not_repeated_is_told() -> None:
    said = refused(OUTAGE, "  - {never: {is_frozen: true}, each: dwon, after: end - 1h}")
    assert "no step 'dwon' is repeated (did you mean 'down'?)" in said
