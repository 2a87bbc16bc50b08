"""Measures: how they are read, what they count, and how a miss is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.checks import Outcome, judge
from scenarios.compile import compile_text
from scenarios.errors import InputErrors
from scenarios.history import History, Traffic
from scenarios.measures import MeasureError, parse
from scenarios.model import Expectation, Quantifier

NAMES = {"poll_interval": 600_000}


def history(*changes: tuple[int, str, str], end_ms: int = 100_000) -> History:
    """``(at_ms, device, overall_status)`` of devices a and b, operational at first."""
    start = {"overall_status": "operational"}
    found = History({"a": start, "b": start})
    for at_ms, device, status in changes:
        found.changes.add(at_ms, device, "overall_status", status, "test")
    found.end_ms = end_ms
    return found


DOWN = history((20_000, "a", "disconnected"), (50_000, "a", "operational"))


def expect(
    text: str,
    *,
    from_ms: int = 0,
    until_ms: int | None = None,
    quantifier: Quantifier = Quantifier(),  # noqa: B008  # a frozen value
) -> Expectation:
    return Expectation(
        kind="measure",
        text=text,
        measure=parse(text, NAMES),
        from_ms=from_ms,
        until_ms=until_ms,
        quantifier=quantifier,
    )


def outcome(text: str, found: History = DOWN, **window: int) -> Outcome:
    return judge(expect(text, **window), found).outcome  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("downtime <= 30s", True),
        ("downtime < 30s", False),
        ("time_in(overall_status, operational) >= 70%", True),
        ("time_in(overall_status, operational) > 70%", False),
        ("time_in(overall_status, operational, disconnected) == 100%", True),
        ("longest(overall_status, operational) == 50s", False),
        ("changes(overall_status) <= 2", True),
        ("changes(overall_status) < 2", False),
        ("entered(overall_status, disconnected) < 2", True),
        ("total(downtime) == 30s", True),
        ("total(changes(overall_status)) == 2", True),
    ],
)
def test_a_measure_of_a_field_is_taken_over_the_window(text: str, holds: bool) -> None:
    assert outcome(text) is (Outcome.PASS if holds else Outcome.FAIL)


def test_only_the_window_counts() -> None:
    assert outcome("downtime == 10s", from_ms=40_000) is Outcome.FAIL  # b had none
    assert outcome("total(downtime) == 10s", from_ms=40_000) is Outcome.PASS
    assert outcome("total(downtime) == 5s", until_ms=25_000) is Outcome.PASS


def test_a_device_is_blamed_with_its_number_and_the_miss() -> None:
    verdict = judge(expect("downtime < 20s"), DOWN)
    assert verdict.detail == "did not hold on 1 of 2 devices: a: downtime was 30s, 10s too much"
    assert (verdict.passed, verdict.failed) == (1, 1)


def test_a_quantifier_applies_to_measures_of_devices() -> None:
    anyone = Quantifier(mode="any")
    assert judge(expect("downtime > 20s", quantifier=anyone), DOWN).outcome is Outcome.PASS
    nobody = Quantifier(mode="none")
    assert judge(expect("downtime > 20s", quantifier=nobody), DOWN).outcome is Outcome.FAIL
    only_b = Quantifier(devices=("b",))
    assert judge(expect("downtime < 1s", quantifier=only_b), DOWN).outcome is Outcome.PASS


def test_a_window_the_run_did_not_reach_is_unknown() -> None:
    assert outcome("downtime < 1h", until_ms=200_000) is Outcome.UNKNOWN


def test_what_a_lab_does_not_count_is_unknown() -> None:
    verdict = judge(expect("requests < 5"), DOWN)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "requests is not counted in this lab" in verdict.detail


def counted(*rows: tuple[str, int, str, int]) -> History:
    found = history()
    found.traffic = Traffic()
    for what, at_ms, device, amount in rows:
        found.traffic.add(what, at_ms, device, amount)
    return found


def test_traffic_is_counted_by_device_and_window() -> None:
    found = counted(
        ("requests", 1_000, "a", 1), ("requests", 2_000, "a", 1), ("requests", 3_000, "b", 1)
    )
    assert outcome("requests <= 2", found) is Outcome.PASS
    assert outcome("requests <= 1", found) is Outcome.FAIL
    assert outcome("total(requests) == 3", found) is Outcome.PASS
    assert outcome("total(requests) == 2", found, from_ms=2_000) is Outcome.PASS


@pytest.mark.parametrize(("bound", "unit"), [("1500", 1), ("1.5 kB", 1), ("1500 B", 1)])
def test_bytes_are_compared_with_sizes(bound: str, unit: int) -> None:
    found = counted(("bytes_sent", 1_000, "a", 1_500 * unit))
    assert outcome(f"total(bytes_sent) == {bound}", found) is Outcome.PASS


@given(st.lists(st.integers(0, 5_000), max_size=40))
def test_a_peak_is_the_most_within_any_second(moments: list[int]) -> None:
    found = counted(*(("heartbeats", at_ms, "a", 1) for at_ms in sorted(moments)))
    most = max((sum(t - 1_000 < m <= t for m in moments) for t in moments), default=0)
    assert outcome(f"peak_heartbeats_per_second == {most}", found) is Outcome.PASS


def test_a_peak_tells_its_moment() -> None:
    """Of two seconds with as many, the first."""
    moments = (1_000, 7_900, 8_200, 8_899, 8_900, 20_000, 20_100, 20_200)
    found = counted(*(("requests", at_ms, "a", 1) for at_ms in moments))
    detail = judge(expect("peak_requests_per_second < 2"), found).detail
    assert detail == ("did not hold: peak_requests_per_second was 3 at 7.9s, 1 too many")
    quiet = judge(expect("peak_heartbeats_per_second < 2"), found).detail
    assert quiet == "held: peak_heartbeats_per_second was 0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("downtime", "is no comparison"),
        ("downtme < 5m", "there is no measure 'downtme'"),
        ("downtime < 5", "needs a unit"),
        ("requests < many", "compared with a number"),
        ("time_in(overall_status) > 5%", "needs a field and a value"),
        ("changes > 5", "needs a field"),
        ("requests(a) > 5", "has no arguments"),
        ("bytes_sent < 5 parsecs", "is not a size"),
        ("total(peak_requests_per_second) < 5", "is of the fleet already"),
        ("total(downtime) < 5%", "a share is of one device's window"),
        ("downtime < 200%", "a share lies between"),
    ],
)
def test_a_comparison_that_cannot_be_read_is_told(text: str, said: str) -> None:
    with pytest.raises(MeasureError, match=said):
        parse(text, NAMES)


def test_fields_and_values_are_checked_where_they_stand() -> None:
    text = (
        "scenario: S\ntimeline: [{at: 1h, do: end}]\nexpect:\n"
        "  - measure: time_in(overall_status, operatonal) > 5%\n"
        "  - measure: changes(overal_status) > 5\n"
    )
    with pytest.raises(InputErrors) as caught:
        compile_text(text, name="x")
    assert "x:4:14: overall_status is never operatonal (did you mean 'operational'?)" in str(
        caught.value
    )
    assert "x:5:14: unknown field 'overal_status'" in str(caught.value)
