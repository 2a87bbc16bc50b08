"""Recorded traces against the cloud core, and that a trace can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scenarios.errors import InputError
from scenarios.replay import replay_trace
from scenarios.trace_compare import Point, compare_field

if TYPE_CHECKING:
    from collections.abc import Callable

TRACES = sorted((Path(__file__).parents[1] / "data" / "traces").glob("*.json"))
DATE = "last_vpn_event"


def load(name: str) -> dict[str, Any]:
    file = next(file for file in TRACES if file.stem == name)
    trace: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return trace


def write(folder: Path, trace: Any) -> Path:
    file = folder / "trace.json"
    file.write_text(json.dumps(trace), encoding="utf-8")
    return file


def differing(folder: Path, trace: Any) -> list[str]:
    return [difference.field for difference in replay_trace(write(folder, trace)).differences]


def test_all_recorded_traces_are_here() -> None:
    assert len(TRACES) == 87


@pytest.mark.parametrize("file", TRACES, ids=lambda file: file.stem)
def test_the_core_does_what_the_trace_shows(file: Path) -> None:
    result = replay_trace(file)
    assert [str(difference) for difference in result.differences] == []
    assert result.passed
    assert result.name == file.stem


# --- a trace can fail ---------------------------------------------------------------------------


def other(value: Any) -> Any:
    """A value that is certainly another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 3
    return {"online": "offline", None: 1}.get(value, "online")


@pytest.mark.parametrize(
    "name", ["timeout_then_offline", "both_up", "update_status_rereported", "random_7_056"]
)
def test_any_changed_value_or_moved_time_is_noticed(tmp_path: Path, name: str) -> None:
    whole = load(name)
    for number, sample in enumerate(whole["observed"]):
        for field in sample:
            trace = load(name)
            changed = trace["observed"][number]
            changed[field] = changed[field] + 3 if field == "at" else other(changed[field])
            if field != "at" or number:
                assert differing(tmp_path, trace), (number, field)


@pytest.mark.parametrize("name", ["timeout_then_offline", "both_up", "update_status_rereported"])
def test_a_sample_that_is_not_there_is_noticed(tmp_path: Path, name: str) -> None:
    for number in range(1, len(load(name)["observed"]) - 1):
        trace = load(name)
        del trace["observed"][number]
        assert differing(tmp_path, trace), number


def test_any_changed_status_is_noticed(tmp_path: Path) -> None:
    whole = load("wrong_types")
    for number, step in enumerate(whole["steps"]):
        trace = load("wrong_types")
        trace["steps"][number]["result"]["status"] = 418
        assert differing(tmp_path, trace) == [f"steps[{number}] {step['action']} status"]


@pytest.mark.parametrize(
    ("name", "number", "part", "value"),
    [
        ("heartbeat_etag_304", 0, "etag", False),
        ("heartbeat_etag_304", 0, "body", {"x": 1}),
        ("poll_interval_resin_nan", 1, "config", {"RESIN_SUPERVISOR_POLL_INTERVAL": "2000"}),
        ("unknown_release_and_image", 11, "body", []),
        ("deleted_device", 10, "body", "uuid"),
        ("v3_patch_device_download_progress_key", 2, "body", [{"status": "Idle"}]),
    ],
)
def test_a_changed_answer_is_noticed(
    tmp_path: Path, name: str, number: int, part: str, value: Any
) -> None:
    trace = load(name)
    step = trace["steps"][number]
    assert part in step["result"]
    step["result"][part] = value
    assert differing(tmp_path, trace) == [f"steps[{number}] {step['action']} {part}"]


def test_a_wait_that_ended_at_another_time_is_noticed(tmp_path: Path) -> None:
    trace = load("recover_from_offline")
    trace["steps"][1]["result"]["after"] += 2
    assert "steps[1] wait_for api_heartbeat_state = offline" in differing(tmp_path, trace)
    trace = load("recover_from_offline")
    trace["steps"][1]["result"] = {"met": False, "after": 9}
    assert "steps[1] wait_for api_heartbeat_state = offline" in differing(tmp_path, trace)
    trace = load("recover_from_offline")
    trace["steps"][1]["args"]["field"] = "status"
    assert "steps[1] wait_for status = offline" in differing(tmp_path, trace)


def test_the_settings_of_the_trace_are_the_clouds(tmp_path: Path) -> None:
    for setting, value in (
        ("DEFAULT_SUPERVISOR_POLL_INTERVAL", 6000),
        ("API_HEARTBEAT_STATE_TIMEOUT_SECONDS", 6),
        ("POLL_JITTER_FACTOR", 3),
    ):
        trace = load("timeout_then_offline")
        trace["settings"][setting] = value
        assert differing(tmp_path, trace), setting
    trace = load("vpn_control_false_fleet")
    trace["settings"]["fleet"] = "plain"
    assert "overall_status" in differing(tmp_path, trace)
    trace = load("timeout_then_offline")
    trace["settings"]["profile"] = "balena-cloud"
    assert "overall_status" in differing(tmp_path, trace)


def test_a_difference_names_the_field_the_moment_and_both_values(tmp_path: Path) -> None:
    trace = load("timeout_then_offline")
    last = trace["observed"][-1]
    last["overall_status"] = "asleep"
    [difference] = replay_trace(write(tmp_path, trace)).differences
    assert difference.field == "overall_status"
    assert difference.kind == "value"
    assert "asleep" in str(difference)
    assert "disconnected" in str(difference)


# --- reading fairly -----------------------------------------------------------------------------


def course(*points: tuple[int, Any]) -> list[Point]:
    return [Point(0, False), *(Point(*point) for point in points)]


def compared(recorded: list[Point], given: list[Point], field: str = "is_online") -> str | None:
    found = compare_field(field, recorded, given, sure_until_ms=8_600, tolerance_ms=1_500)
    return None if found is None else found.kind


@pytest.mark.parametrize(
    ("recorded", "given", "kind"),
    [
        (course((2_100, True)), course((2_000, True)), None),
        (course((3_500, True)), course((2_000, True)), None),
        (course((3_501, True)), course((2_000, True)), "time"),
        (course(), course((2_000, True), (2_299, False)), None),
        (course(), course((2_000, True), (2_300, False)), "value"),
        (course((2_100, True), (2_200, False)), course((2_000, True), (2_150, False)), None),
        (course(), course((8_601, True)), None),
        (course(), course((8_600, True)), "value"),
        (course((2_100, True)), course(), "value"),
        (course((2_100, 1)), course((2_000, True)), "value"),
    ],
)
def test_only_what_the_reader_may_have_missed_may_be_missing(
    recorded: list[Point], given: list[Point], kind: str | None
) -> None:
    assert compared(recorded, given) == kind


def test_dates_agree_within_the_tolerance() -> None:
    first = [Point(0, None)]
    given = [*first, Point(2_000, 2_000)]
    assert compared([*first, Point(2_100, 3_400)], given, DATE) is None
    assert compared([*first, Point(2_100, 3_600)], given, DATE) == "value"
    assert compared([Point(0, 1)], first, DATE) == "value"


# --- what is no trace ---------------------------------------------------------------------------


def without(*path: Any) -> Callable[[Any], None]:
    def change(trace: Any) -> None:
        for part in path[:-1]:
            trace = trace[part]
        del trace[path[-1]]

    return change


def setting(value: Any, *path: Any) -> Callable[[Any], None]:
    def change(trace: Any) -> None:
        for part in path[:-1]:
            trace = trace[part]
        trace[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("steps"), "the trace has no 'steps'"),
        (without("observed"), "the trace has no 'observed'"),
        (without("tolerance_s"), "the trace has no 'tolerance_s'"),
        (without("steps", 0, "at"), "steps[0] has no 'at'"),
        (without("observed", 1, "at"), "observed[1] has no 'at'"),
        (without("observed", 0, "status"), "observed[0] has no status"),
        (setting([], "observed"), "observed is []"),
        (setting(5, "steps"), "steps is 5"),
        (setting("fly", "steps", 0, "action"), 'steps[0].action is "fly"'),
        (setting({"x": 1}, "steps", 0, "args"), 'an argument of steps[0] is "x"'),
        (setting("nobody", "steps", 0, "args", "as"), 'steps[0].args.as is "nobody"'),
        (setting("now", "steps", 0, "at"), 'steps[0].at is "now"'),
        (setting(True, "steps", 0, "at"), "steps[0].at is true"),
        (setting(float("inf"), "steps", 0, "at"), "steps[0].at is Infinity"),
        (setting(1_000, "steps", 0, "at"), "before steps[0] heartbeat"),
        (setting(None, "steps", 0, "result"), "steps[0].result is null"),
        (setting(1, "observed", 1, "mood"), 'a field of observed[1] is "mood"'),
        (setting("soon", "observed", 1, DATE), f'observed[1].{DATE} is "soon"'),
        (setting("moon", "settings", "fleet"), 'settings.fleet is "moon"'),
        (setting("x", "settings", "profile"), 'settings.profile is "x"'),
        (setting("x", "settings", "POLL_JITTER_FACTOR"), 'settings.POLL_JITTER_FACTOR is "x"'),
    ],
)
def test_a_malformed_trace_is_named_with_its_place(
    tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    trace = load("recover_from_timeout")
    change(trace)
    with pytest.raises(InputError) as caught:
        replay_trace(write(tmp_path, trace))
    assert words in str(caught.value)
    assert "trace.json" in str(caught.value)


@pytest.mark.parametrize(
    ("action", "args", "words"),
    [
        ("config", {"level": "device", "name": "X"}, "has no 'value'"),
        ("config", {"level": "galaxy", "name": "X", "value": "1"}, "args.level"),
        ("config", {"level": "device", "name": "X", "value": 5}, "args.value"),
        ("config", {"level": "device", "name": 5, "value": "x"}, "args.name"),
        ("wait_for", {"field": "mood", "value": "good"}, "args.field"),
        ("vpn_up", {"service": "one"}, "args.service"),
        ("patch", {}, "has no 'body'"),
        ("read", {"select": 5}, "args.select"),
    ],
)
def test_an_action_with_wrong_arguments_is_named(
    tmp_path: Path, action: str, args: Any, words: str
) -> None:
    trace = load("recover_from_timeout")
    trace["steps"][0] |= {"action": action, "args": args}
    with pytest.raises(InputError, match=r"steps\[0\]") as caught:
        replay_trace(write(tmp_path, trace))
    assert words in str(caught.value)


def test_a_file_that_is_no_json_is_named_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    with pytest.raises(InputError, match="cannot be read"):
        replay_trace(file)
    file.write_text('{"name": "x",\n oops}', encoding="utf-8")
    with pytest.raises(InputError, match=r"trace.json:2:2: is not JSON"):
        replay_trace(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        replay_trace(file)
    file.write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"nested too deep|is not JSON"):
        replay_trace(file)
    with pytest.raises(InputError, match="the trace is"):
        replay_trace(write(tmp_path, []))
