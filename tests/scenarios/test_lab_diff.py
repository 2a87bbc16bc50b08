"""Two histories are the same if the same came in the same order."""

from __future__ import annotations

from typing import Any

from scenarios.history import History
from scenarios.lab_diff import FIELDS, compare


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
    assert max(d.apart_ms for d in compare(one, other)) == 3_500


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


def test_before_a_device_is_heard_of_nothing_and_no_are_the_same() -> None:
    history = History({"a": {**dict.fromkeys(FIELDS), "is_connected_to_vpn": False}})
    history.end_ms = 100_000
    assert all(d.same_values for d in compare(_history(), history))
