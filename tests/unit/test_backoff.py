"""Delays double with each failure, up to a cap (``SUPERVISOR.md`` §1, §2, §4)."""

from __future__ import annotations

import pytest

from agent.backoff import backoff_ms


@pytest.mark.parametrize(
    ("failures", "delay_ms"),
    [(0, 15_000), (1, 30_000), (2, 60_000), (5, 480_000), (6, 900_000), (7, 900_000)],
)
def test_the_delay_doubles_from_the_first_up_to_the_cap(failures: int, delay_ms: int) -> None:
    assert backoff_ms(failures, first_ms=15_000, cap_ms=900_000) == delay_ms


def test_a_cap_below_the_first_delay_holds_at_once() -> None:
    assert backoff_ms(0, first_ms=15_000, cap_ms=10_000) == 10_000


def test_a_first_delay_of_nothing_stays_nothing() -> None:
    assert backoff_ms(9, first_ms=0, cap_ms=10_000) == 0


def test_a_week_of_failures_keeps_the_arithmetic_small() -> None:
    assert backoff_ms(10**9, first_ms=1, cap_ms=10**30) == 2**40
