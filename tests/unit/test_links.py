"""What a bad link leaves of a connection's rate, held against what Linux was measured to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scenarios.simulation.links import INITIAL_WINDOW, Link
from scenarios.streams import Stream

LTE = Link(latency_ms=0, extra_latency_ms=150, jitter_ms=350, loss=0.2)


def test_without_loss_tcp_takes_what_the_line_has() -> None:
    assert replace(LTE, loss=0.0).tcp_bytes_per_second is None


# bytes a second of CUBIC over real wires (docs/hostlab.md); loss each way
MEASURED = [
    (150, 350, 0.01, 50_867),
    (150, 350, 0.02, 32_532),
    (150, 350, 0.05, 14_765),
    (150, 350, 0.10, 8_238),
    (150, 350, 0.20, 2_100),
    (50, 0, 0.01, 152_146),
    (50, 0, 0.02, 99_469),
    (50, 0, 0.05, 54_135),
    (50, 0, 0.10, 28_934),
    (325, 0, 0.05, 15_915),
    (325, 0, 0.10, 8_222),
]


@pytest.mark.parametrize(("latency_ms", "jitter_ms", "loss", "measured"), MEASURED)
def test_a_lossy_link_leaves_what_linux_was_measured_to_get(
    latency_ms: int, jitter_ms: int, loss: float, measured: int
) -> None:
    link = Link(latency_ms=latency_ms, jitter_ms=jitter_ms, loss=loss)
    assert 0.68 < (link.tcp_bytes_per_second or 0) / measured < 1.32


@pytest.mark.parametrize(("latency_ms", "measured"), [(50, 3_883), (325, 1_407)])
def test_where_a_fifth_is_lost_it_is_right_within_a_factor_of_two(
    latency_ms: int, measured: int
) -> None:
    link = Link(latency_ms=latency_ms, loss=0.2)
    assert 0.5 < (link.tcp_bytes_per_second or 0) / measured < 2


def test_less_loss_and_a_shorter_way_leave_more() -> None:
    rates = [replace(LTE, loss=loss).tcp_bytes_per_second or 0 for loss in (0.5, 0.2, 0.05, 0.001)]
    assert rates == sorted(rates)
    assert rates[0] > 0
    assert (replace(LTE, jitter_ms=0).tcp_bytes_per_second or 0) > rates[1]


def test_time_outs_are_a_round_trip_and_its_deviation_and_200_ms_at_least() -> None:
    assert (LTE.round_trip_ms, LTE.retransmission_ms) == (650, 650 + 466)
    assert Link(latency_ms=50).retransmission_ms == 100 + 200


def test_a_lost_packet_is_sent_again_after_twice_the_time() -> None:
    draws = Stream(1, "link")
    trips = [Link(latency_ms=20, loss=0.5).trip_ms(draws) for _ in range(2_000)]
    assert {20, 220, 620, 1_420} <= set(trips)
    assert 900 < trips.count(20) < 1_100


def test_a_link_without_loss_and_jitter_takes_its_latency() -> None:
    assert Link(latency_ms=20, extra_latency_ms=5).trip_ms(Stream(1)) == 25


def test_a_layer_costs_its_request_and_the_growth_of_tcps_window() -> None:
    # the first window takes all that this rate has in a round trip of 200 ms: its request alone
    assert Link(latency_ms=100).layer_ms(INITIAL_WINDOW * 5) == 200
    # twice as much in a round trip: half of one is lost
    assert Link(latency_ms=100).layer_ms(INITIAL_WINDOW * 10) == 200 + 100
    # four times: three quarters of one, then half of one
    assert Link(latency_ms=100).layer_ms(INITIAL_WINDOW * 20) == 200 + 250
