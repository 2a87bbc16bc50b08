"""The measurement of a blocked tunnel, on histories made by hand and on the model."""

from __future__ import annotations

from scenarios.bench_block import BLOCK_MS, FIELD, Moments, Span, modelled, moments
from tests.histories import history


def test_the_cloud_is_late_to_notice_and_to_see_it_again() -> None:
    rows = [(5_000, True), (175_000, False), (60_000 + BLOCK_MS + 7_000, True)]
    made = history({"a": {FIELD: False}}, [(at, "a", FIELD, up) for at, up in rows], 400_000)
    assert moments(made, 60_000) == Moments(down_ms=115_000, back_ms=7_000)


def test_a_block_that_nobody_saw_has_no_end_either() -> None:
    made = history({"a": {FIELD: False}}, [(5_000, "a", FIELD, True)], 400_000)
    assert moments(made, 60_000) == Moments(down_ms=None, back_ms=None)


def test_what_is_real_may_lie_beside_the_model_by_what_programs_take() -> None:
    span = Span.of([111_000, None, 120_000])
    assert [span.holds(ms, 500) for ms in (110_500, 110_499, 120_500, 120_501, None)] == [
        *(True, False, True, False, False),
    ]


def test_the_model_notices_when_the_last_ping_before_the_block_is_120_s_old() -> None:
    found = modelled()
    assert len({moment.down_ms for moment in found}) == len(found) == 10
    for moment in found:
        assert moment.down_ms is not None
        # the last ping is up to 10 s older than the block; the API hears of it within a second
        assert 110_000 <= moment.down_ms <= 121_000
