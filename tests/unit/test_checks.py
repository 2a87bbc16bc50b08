"""Verdicts: three values, windows closed at both ends, quantifiers, the nearest miss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scenarios.checks import Outcome, judge, worst
from scenarios.model import Quantifier
from tests.histories import expectation, history

if TYPE_CHECKING:
    from scenarios.history import History

PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN


@pytest.fixture
def run() -> History:
    """s: x until 10, y until 30, then z; n: 1 until 20, then 2; ends at 100."""
    return history(
        {"a": {"s": "x", "n": 1}},
        [(10, "a", "s", "y"), (20, "a", "n", 2), (30, "a", "s", "z")],
        100,
    )


@pytest.mark.parametrize(
    ("kind", "condition", "from_ms", "until_ms", "outcome"),
    [
        ("eventually", {"s": "y"}, 0, 5, FAIL),
        ("eventually", {"s": "y"}, 0, 10, PASS),
        ("eventually", {"s": "y"}, 29, 50, PASS),
        ("eventually", {"s": "y"}, 30, 50, FAIL),
        ("eventually", {"s": "z", "n": 1}, 0, 50, FAIL),
        ("eventually", {"s": "y", "n": 1}, 0, 50, PASS),
        ("eventually", {"s": ("q", "z")}, 0, 50, PASS),
        ("eventually", {"s": "q"}, 0, None, FAIL),
        ("eventually", {"s": "q"}, 0, 200, UNKNOWN),
        ("eventually", {"s": "y"}, 0, 200, PASS),
        ("eventually", {"s": "z"}, 101, 200, UNKNOWN),
        ("always", {"s": "x"}, 0, 9, PASS),
        ("always", {"s": "x"}, 0, 10, FAIL),
        ("always", {"n": 2}, 20, None, PASS),
        ("always", {"n": 2}, 20, 200, UNKNOWN),
        ("always", {"n": 1}, 0, 200, FAIL),
        ("never", {"s": "y"}, 0, 9, PASS),
        ("never", {"s": "y"}, 0, None, FAIL),
        ("never", {"s": "q"}, 0, 200, UNKNOWN),
    ],
)
def test_a_condition_over_a_window(
    run: History,
    kind: str,
    condition: dict[str, Any],
    from_ms: int,
    until_ms: int | None,
    outcome: Outcome,
) -> None:
    wanted = expectation(kind, condition=condition, from_ms=from_ms, until_ms=until_ms)
    verdict = judge(wanted, run)
    assert verdict.outcome is outcome
    assert verdict.held is (outcome is PASS), "what cannot be said does not count as held"


@pytest.mark.parametrize(
    ("values", "until_ms", "outcome"),
    [
        (("x", "y", "z"), None, PASS),
        (("x", "y"), None, FAIL),
        (("x", "y"), 29, PASS),
        (("x", "y", "z", "w"), None, FAIL),
        (("x", "y", "z", "w"), 200, UNKNOWN),
        (("x", "z"), None, FAIL),
        (("y", "z"), None, FAIL),
    ],
)
def test_a_sequence_is_exactly_the_values_in_their_order(
    run: History, values: tuple[str, ...], until_ms: int | None, outcome: Outcome
) -> None:
    wanted = expectation("sequence", sequence_field="s", sequence=values, until_ms=until_ms)
    assert judge(wanted, run).outcome is outcome


def test_repeats_are_folded_and_what_lasted_no_time_is_not_seen() -> None:
    made = history(
        {"a": {"s": "x"}},
        [(10, "a", "s", "y"), (10, "a", "s", "x"), (20, "a", "s", "x"), (30, "a", "s", "z")],
        100,
    )
    wanted = expectation("sequence", sequence_field="s", sequence=("x", "z"))
    assert judge(wanted, made).outcome is PASS
    assert judge(expectation("eventually", condition={"s": "y"}), made).outcome is FAIL


FOUR = history(
    {name: {"s": "x"} for name in "abcd"},
    [(10, "a", "s", "y"), (10, "b", "s", "y"), (10, "c", "s", "y")],
    100,
)


@pytest.mark.parametrize(
    ("quantifier", "outcome"),
    [
        (Quantifier(mode="all"), FAIL),
        (Quantifier(mode="any"), PASS),
        (Quantifier(mode="none"), FAIL),
        (Quantifier(mode="at_least", fraction=0.75), PASS),
        (Quantifier(mode="at_least", fraction=0.76), FAIL),
        (Quantifier(mode="all", devices=("a", "b")), PASS),
        (Quantifier(mode="all", devices=("a", "d")), FAIL),
        (Quantifier(mode="none", devices=("d",)), PASS),
    ],
)
def test_over_which_devices_it_speaks(quantifier: Quantifier, outcome: Outcome) -> None:
    wanted = expectation("eventually", condition={"s": "y"}, quantifier=quantifier)
    assert judge(wanted, FOUR).outcome is outcome


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"until_ms": 5_000}, "reached at 10s, 5s late"),
        ({"from_ms": 40_000, "until_ms": 60_000}, "held until 30s, 10s before the window"),
    ],
)
def test_a_miss_tells_how_near_it_was(given: dict[str, int], words: str) -> None:
    made = history({"a": {"s": "x"}}, [(10_000, "a", "s", "y"), (30_000, "a", "s", "z")], 100_000)
    verdict = judge(expectation("eventually", condition={"s": "y"}, **given), made)
    assert verdict.findings[0].nearest == words
    assert words in verdict.detail


def test_a_violation_tells_when_and_for_how_long(run: History) -> None:
    verdict = judge(expectation("never", condition={"s": "y"}), run)
    assert verdict.findings[0].at_ms == 10
    assert "(for 0.02s)" in verdict.findings[0].nearest


def test_the_worst_of_several() -> None:
    assert worst([PASS, UNKNOWN]) is UNKNOWN
    assert worst([UNKNOWN, FAIL]) is FAIL
    assert worst([]) is PASS
