"""Every report says whose time the devices of a run had."""

from __future__ import annotations

import pytest

from scenarios.compile import compile_text
from scenarios.whose_time import Clocks, clocks_of, lines

TEXT = """
scenario: Wrong clock
fleet: {devices: 3}
timeline:
  - {at: 0s, do: power_on}
  - {at: 1m, do: clock, jump: 1h, on: device-2}
  - {at: 2m, do: end}
"""


@pytest.mark.parametrize(
    ("lab", "speed", "first", "second"),
    [
        ("virtual", 1, "simulated", "simulated"),
        ("host", 1, "the system's", "injected, set by the scenario"),
        (
            "host",
            60,
            "injected, 60 times as fast",
            "injected, 60 times as fast, set by the scenario",
        ),
        ("boards", 1, "the system's", "the system's"),
    ],
)
def test_a_clock_that_is_fast_or_wrong_is_injected(
    lab: str, speed: float, first: str, second: str
) -> None:
    right, wrong = clocks_of(compile_text(TEXT), lab=lab, speed=speed)
    assert (right.text, right.devices) == (first, ("device-1", "device-3"))
    assert (wrong.text, wrong.devices) == (second, ("device-2",))


def test_a_clock_of_all_devices_names_none() -> None:
    text = TEXT.replace(", on: device-2", "")
    (clocks,) = clocks_of(compile_text(text), lab="host", speed=1)
    assert clocks == Clocks("injected", 1, steered=True, devices=())


def test_runs_with_different_clocks_are_told_apart() -> None:
    fast = Clocks("injected", 20, steered=False, devices=())
    wrong = Clocks("injected", 20, steered=True, devices=("device-2",))
    assert lines([("One", (fast,)), ("Other", (fast,))]) == [
        "clock: injected, 20 times as fast, on every device"
    ]
    assert lines([("One", (fast,)), ("Other", (fast, wrong))]) == [
        "clock: injected, 20 times as fast: One, Other",
        "clock: injected, 20 times as fast, set by the scenario: Other (device-2)",
    ]
