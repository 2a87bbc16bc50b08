"""Two histories are the same if the same came in the same order."""

from __future__ import annotations

from typing import Any

from scenarios.history import History
from scenarios.lab_diff import FIELDS, Comparison, compare


def _history(*changes: tuple[int, str, Any]) -> History:
    history = History({"a": dict.fromkeys(FIELDS)})
    for at_ms, field, value in changes:
        history.changes.add(at_ms, "a", field, value, "test")
    history.end_ms = 100_000
    return history


def test_times_may_differ_and_are_told() -> None:
    one = _history((1_000, "overall_status", "operational"))
    other = _history((4_500, "overall_status", "operational"))
    assert all(d.same_values for d in compare(one, other))
    assert max(d.apart_ms or 0 for d in compare(one, other)) == 3_500


def test_a_status_that_came_in_one_of_them_only_is_a_difference() -> None:
    one = _history((1_000, "overall_status", "operational"))
    other = _history((1_000, "overall_status", "operational"), (9_000, "overall_status", "x"))
    (wrong,) = [d for d in compare(one, other) if not d.same_values]
    assert (wrong.device, wrong.field) == ("a", "overall_status")
    assert "x at 9s" in list(wrong.lines())[1]


def test_what_stood_for_a_moment_only_can_be_left_out() -> None:
    one = _history((1_000, "update_status", "done"))
    other = _history(
        (1_000, "update_status", "done"),
        (9_000, "update_status", "downloading"),
        (9_500, "update_status", "done"),
    )
    assert not all(d.same_values for d in compare(one, other))
    assert all(d.same_values for d in compare(one, other, shortest_ms=1_000))


def test_what_stood_between_two_recoveries_may_be_another_of_the_status_made_of_them() -> None:
    def recovered(field: str, between: str) -> History:
        return _history((1_000, field, "x"), (9_000, field, between), (15_000, field, "done"))

    def same(field: str) -> bool:
        one, other = recovered(field, "x"), recovered(field, "y")
        return all(d.same_values for d in compare(one, other, shortest_ms=1_000, phase_ms=7_000))

    assert same("overall_status")
    assert not same("update_status")


def test_what_stood_for_a_moment_at_the_start_can_be_left_out() -> None:
    one, other = _history(), _history()
    one.initial["a"] = {**one.initial["a"], "api_heartbeat_state": "online"}
    other.changes.add(80, "a", "api_heartbeat_state", "online", "test")
    assert all(d.same_values for d in compare(one, other, shortest_ms=1_000))
    assert not all(d.same_values for d in compare(one, other, shortest_ms=80))


def test_before_a_device_is_heard_of_nothing_and_no_are_the_same() -> None:
    history = History({"a": {**dict.fromkeys(FIELDS), "is_connected_to_vpn": False}})
    history.end_ms = 100_000
    assert all(d.same_values for d in compare(_history(), history))


def test_a_value_near_the_limit_is_not_left_out_in_one_lab_and_held_against_the_other() -> None:
    def stood(for_ms: int) -> History:
        return _history(
            (1_000, "update_status", "done"),
            (9_000, "update_status", "downloading"),
            (9_000 + for_ms, "update_status", "done"),
        )

    (found,) = [d for d in compare(stood(900), stood(1_100), shortest_ms=1_000) if d.apart_ms]
    assert found.apart_ms == 200


def test_a_value_is_held_against_the_one_it_belongs_to() -> None:
    """Of two outages the model saw the second one, which reality saw as well, and later."""
    one = _history(
        (0, "overall_status", "up"),
        (9_500, "overall_status", "down"),
        (10_000, "overall_status", "up"),
        (25_000, "overall_status", "down"),
        (30_000, "overall_status", "up"),
    )
    other = _history(
        (0, "overall_status", "up"),
        (26_000, "overall_status", "down"),
        (31_000, "overall_status", "up"),
    )
    assert max(d.apart_ms or 0 for d in compare(one, other, shortest_ms=1_000)) == 1_000
    assert not all(d.same_values for d in compare(one, other))


def test_the_verdict_knows_values_and_times() -> None:
    one = _history((1_000, "overall_status", "operational"))
    late = _history((4_500, "overall_status", "operational"))

    def verdict(other: History, limit_ms: int) -> str:
        return Comparison.of("x", "x.yaml", compare(one, other), limit_ms).verdict

    assert verdict(late, 3_500) == "same"
    assert verdict(late, 3_499) == "DIFFERS"
    assert verdict(_history(), 100_000) == "DIFFERS"


def test_a_comparison_is_told_to_people_and_to_programs() -> None:
    one = _history((1_000, "overall_status", "operational"))
    found = Comparison.of("x", "x.yaml", compare(one, _history()), 0)
    assert next(iter(found.lines())) == (
        "DIFFERS   x: 4 of 5 fields have the same values, at most 0s apart"
    )
    (row,) = found.document()["differences"]
    assert row["apart"] is None
    assert row["model"] == [{"at": 0.0, "value": None}, {"at": 1.0, "value": "operational"}]
