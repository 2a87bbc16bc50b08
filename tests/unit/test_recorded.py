"""What a stub recorded becomes the histories of devices, whoever had which uuid when."""

from __future__ import annotations

from scenarios.hostlab.recorded import Identity, Seen, history_of


def _seen(at_ms: int, uuid: str, value: str, before: str | None = None) -> Seen:
    return Seen(at_ms, uuid, "overall_status", before, value, "test")


def _told(history: object) -> list[tuple[int, str, object, object]]:
    return [(c.at_ms, c.device, c.old, c.new) for c in history.changes]  # type: ignore[attr-defined]


def test_a_registered_device_begins_with_what_its_row_showed() -> None:
    history = history_of(
        {"u1": {"overall_status": "inactive"}},
        {"one": [Identity(0, "u1", "began")]},
        [_seen(5, "u1", "operational"), _seen(6, "u9", "frozen")],
        {},
    )
    assert history.initial["one"]["overall_status"] == "inactive"
    assert _told(history) == [(5, "one", "inactive", "operational")]


def test_a_device_written_anew_keeps_what_it_showed_until_its_new_row_is_there() -> None:
    history = history_of(
        {"u1": {"overall_status": "inactive"}},
        {"one": [Identity(0, "u1", "began"), Identity(10, "u2", "written anew")]},
        [_seen(5, "u1", "operational"), _seen(11, "u1", "frozen"), _seen(20, "u2", "inactive")],
        {},
    )
    assert _told(history) == [
        (5, "one", "inactive", "operational"),
        (20, "one", "operational", "inactive"),
    ]


def test_of_two_devices_with_one_uuid_both_show_its_row() -> None:
    rows = {"u1": {"overall_status": "operational"}, "u2": {"overall_status": "inactive"}}
    history = history_of(
        rows,
        {
            "original": [Identity(0, "u1", "began")],
            "copy": [Identity(0, "u2", "began"), Identity(10, "u1", "cloned")],
        },
        [_seen(5, "u2", "configuring"), _seen(20, "u1", "disconnected")],
        {},
    )
    assert _told(history) == [
        (5, "copy", "inactive", "configuring"),
        (10, "copy", "configuring", "operational"),
        (20, "original", "operational", "disconnected"),
        (20, "copy", "operational", "disconnected"),
    ]


def test_a_row_that_comes_in_the_run_shows_all_it_had_from_its_beginning() -> None:
    final = {"u1": {"overall_status": "operational", "should_be_running_release": "r1"}}
    history = history_of(
        {},
        {"one": [Identity(0, None, "began"), Identity(10, "u1", "written anew", registered=True)]},
        [_seen(30, "u1", "operational", before="inactive")],
        final,
    )
    assert history.initial["one"]["overall_status"] is None
    assert [(c.at_ms, c.field, c.new) for c in history.changes] == [
        (10, "overall_status", "inactive"),
        (10, "should_be_running_release", "r1"),
        (30, "overall_status", "operational"),
    ]


def test_a_row_that_the_device_registers_begins_with_its_first_event() -> None:
    history = history_of(
        {},
        {"one": [Identity(0, "u1", "began")]},
        [_seen(30, "u1", "configuring")],
        {"u1": {"overall_status": "configuring", "is_active": True}},
    )
    assert [(c.at_ms, c.field, c.new) for c in history.changes] == [
        (30, "is_active", True),
        (30, "overall_status", "configuring"),
    ]
