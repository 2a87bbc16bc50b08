"""What a bad link leaves of a connection's rate."""

from __future__ import annotations

from dataclasses import replace

from scenarios.simulation.links import Link

LTE = Link(latency_ms=20, extra_latency_ms=150, jitter_ms=350, loss=0.2)


def test_without_loss_tcp_takes_what_the_line_has() -> None:
    assert replace(LTE, loss=0.0).tcp_bytes_per_second is None


def test_a_fifth_of_the_packets_lost_leaves_a_few_kilobytes_a_second() -> None:
    # 1448 bytes each 690 ms, times sqrt(1.5 / 0.2)
    assert LTE.tcp_bytes_per_second == 5_747


def test_less_loss_and_a_shorter_way_leave_more() -> None:
    rate = LTE.tcp_bytes_per_second or 0
    assert (replace(LTE, loss=0.05).tcp_bytes_per_second or 0) in (2 * rate, 2 * rate + 1)
    assert (replace(LTE, jitter_ms=0).tcp_bytes_per_second or 0) > rate
