"""How often a tunnel over a lossy link falls silent for longer than an end waits."""

from __future__ import annotations

import pytest

from scenarios.simulation.links import Link
from scenarios.simulation.stand_stills import chance, pings_until, sent_again_ms
from scenarios.streams import Stream

LTE = Link(latency_ms=0, extra_latency_ms=150, jitter_ms=350, loss=0.2)


def _chance(link: Link, limit_ms: int = 60_000) -> float:
    return chance(link, ping_interval_ms=10_000, limit_ms=limit_ms)


@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_a_link_that_loses_nothing_or_all_has_no_luck(loss: float) -> None:
    assert _chance(Link(latency_ms=20, loss=loss)) == 0


def test_six_tries_in_vain_are_a_minute_and_seven_two() -> None:
    # at 0, 1.1, 3.3, 7.8, 16.7 and 34.6 s of the 50 s that are left; then at 70 s of 110
    assert _chance(LTE) == pytest.approx(0.36**6)
    assert _chance(LTE, 120_000) == pytest.approx(0.36**7)


def test_a_shorter_way_has_more_tries() -> None:
    assert _chance(Link(latency_ms=20, loss=0.2)) == pytest.approx(0.36**8)


def test_a_limit_that_is_reached_before_a_second_try_has_one() -> None:
    assert _chance(LTE, 11_000) == pytest.approx(0.36)
    assert _chance(LTE, 5_000) == pytest.approx(0.36)


def test_the_seed_says_when_and_the_average_is_one_over_the_risk() -> None:
    def drawn() -> list[int | None]:
        draws = Stream(3, "link")
        return [pings_until(0.01, draws) for _ in range(4_000)]

    first = drawn()
    assert first == drawn()
    assert 90 < sum(pings or 0 for pings in first) / len(first) < 108


def test_without_risk_it_never_happens_and_with_certainty_at_once() -> None:
    assert pings_until(0.0, Stream(1)) is None
    assert pings_until(1.0, Stream(1)) == 0


def test_what_nobody_acknowledges_is_sent_again_after_twice_the_time() -> None:
    link = Link(latency_ms=50)
    instants, at_ms = [], 1_000
    while at_ms < 200_000:
        at_ms = sent_again_ms(link, 1_000, at_ms)
        instants.append(at_ms - 1_000)
    assert instants[:5] == [300, 900, 2_100, 4_500, 9_300]
    assert instants[-1] - instants[-2] <= 120_000


def test_the_next_try_is_after_the_moment() -> None:
    link = Link(latency_ms=50)
    assert sent_again_ms(link, 1_000, 500) == 1_000
    assert sent_again_ms(link, 1_000, 1_299) == 1_300
