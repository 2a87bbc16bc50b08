"""The cloud core under any order of events; and the shortcut of a steady poll against the walk."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_stub.messages import (
    CreateFleet,
    DeleteDevice,
    DeviceReplied,
    FieldChanged,
    MoveDevice,
    PinDevice,
    SetActive,
    SetFrozen,
    SetVariable,
    TimerFired,
    TrackRelease,
    WriteDevice,
)
from cloud_stub.variables import POLL_INTERVAL
from tests.cloud_desk import (
    DEVICE,
    FLEET,
    FLEET_UUID,
    OTHER_DEVICE,
    OTHER_UUID,
    PROVISIONING,
    UNKNOWN_UUID,
    USER,
    UUID,
    VPN,
    Desk,
    image,
    release,
)

UUIDS = st.sampled_from((UUID, OTHER_UUID, UNKNOWN_UUID))
KEYS = st.sampled_from((DEVICE, DEVICE, OTHER_DEVICE, PROVISIONING, USER, VPN, "nosuch", None))
SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
COLUMN = st.sampled_from(
    ("status", "provisioning_state", "provisioning_progress", "is_online", "memory_usage", "apps")
)


@st.composite
def app_reports(draw: st.DrawFn) -> dict[str, Any]:
    commit = draw(st.sampled_from(("r1", "r2", "nosuch")))
    status = draw(st.sampled_from(("Downloading", "Running", "Nonsense")))
    progress = draw(st.none() | st.integers(0, 100))
    service = {"image": image(commit, "main"), "status": status, "download_progress": progress}
    words = ("downloading", "done", "Done")
    part = {"services": {"main": service}, "update_status": draw(st.sampled_from(words))}
    return {"apps": {FLEET_UUID: {"releases": {commit: part}}}}


REPORTS = app_reports() | st.dictionaries(COLUMN, JSON, max_size=3) | JSON
COMMANDS = st.one_of(
    st.builds(SetFrozen, uuid=UUIDS, frozen=st.booleans()),
    st.builds(SetActive, uuid=UUIDS, active=st.booleans()),
    st.builds(DeleteDevice, uuid=st.sampled_from((OTHER_UUID, UNKNOWN_UUID))),
    st.builds(PinDevice, uuid=UUIDS, commit=st.sampled_from((None, "r1", "r2"))),
    st.builds(TrackRelease, fleet=st.just(FLEET), commit=st.sampled_from(("r1", "r2"))),
    st.builds(MoveDevice, uuid=UUIDS, fleet=st.sampled_from((FLEET, "second"))),
    st.builds(
        SetVariable,
        level=st.just("device"),
        target=UUIDS,
        name=st.sampled_from((POLL_INTERVAL, "BALENA_SUPERVISOR_VPN_CONTROL", "FOO")),
        value=st.sampled_from((None, "false", "700000", "1200000", "abc")),
    ),
    st.builds(
        SetVariable,
        level=st.just("fleet"),
        target=st.just(FLEET),
        name=st.just(POLL_INTERVAL),
        value=st.sampled_from((None, "900000")),
    ),
    st.builds(
        WriteDevice,
        uuid=UUIDS,
        fields=st.sampled_from(
            ({"is_online": True}, {"update_status": "done"}, {"api_heartbeat_state": "x"})
        ),
    ),
    st.builds(
        DeviceReplied, call=st.integers(0, 5), status=st.none() | st.just(200), body=st.none()
    ),
)
PATHS = st.sampled_from(
    (
        "/device/register",
        "/v7/device",
        "/v6/device",
        "/v7/device_config_variable",
        "/supervisor/v1/reboot",
        "/api-key/device/1/device-key",
        f"/device/v3/fleet/{FLEET_UUID}/state",
        "/",
        "",
    )
)
EVENTS = st.one_of(
    st.tuples(st.just("poll"), UUIDS, KEYS, st.sampled_from(("v2", "v3"))),
    st.tuples(st.just("report"), UUIDS, KEYS, REPORTS),
    st.tuples(
        st.just("cloudlink"), UUIDS, st.sampled_from(("connect", "disconnect")), st.integers(0, 3)
    ),
    st.tuples(st.just("any"), st.sampled_from(("GET", "POST", "PATCH")), PATHS, KEYS, JSON),
    st.tuples(st.just("command"), COMMANDS),
    st.tuples(st.just("timer")),
)
GAPS = st.sampled_from((0, 1, 500, 30_000, 300_000, 890_000, 900_000, 915_000))


def carry_out(desk: Desk, event: tuple[Any, ...], now_ms: int) -> None:
    match event:
        case "poll", uuid, key, version:
            desk.poll(now_ms, uuid=uuid, key=key, version=version)
        case "report", uuid, key, part:
            desk.ask("PATCH", "/device/v3/state", key, {uuid: part}, at=now_ms)
        case "cloudlink", uuid, word, instance:
            desk.cloudlink(word, now_ms, instance=instance, uuid=uuid)
        case "any", method, path, key, body:
            desk.tell(desk.request(method, path, key, body, query={"$select": "id"}), now_ms)
        case "command", command:
            desk.tell(command, now_ms)
        case ("timer",):
            desk.timer(now_ms)


@settings(max_examples=150)
@given(st.lists(st.tuples(GAPS, EVENTS), max_size=25))
def test_any_order_of_events_is_survived_and_told_in_full(
    history: list[tuple[int, tuple[Any, ...]]],
) -> None:
    desk = Desk()
    desk.tell(release("r2", track=False))
    desk.tell(CreateFleet(name="second", uuid="2" * 32))
    seen = {uuid: dict(desk.cloud.view(uuid, now_ms=0)) for uuid in (UUID, OTHER_UUID)}
    now_ms = 0
    for gap, event in history:
        now_ms += gap
        carry_out(desk, event, now_ms)
        for change in desk.effects:
            if isinstance(change, FieldChanged) and change.uuid in seen:
                assert seen[change.uuid].get(change.field) == change.old != change.new
                seen[change.uuid][change.field] = change.new
        for uuid, fields in seen.items():
            view = desk.cloud.view(uuid, now_ms=now_ms)
            known = {name: value for name, value in fields.items() if value is not None}
            assert {name: value for name, value in view.items() if value is not None} == known
        for device in desk.cloud.devices.values():
            armed = device.heartbeat.value in ("online", "timeout")
            assert (device.heartbeat_due_ms >= 0) == armed
            assert not armed or 0 <= device.heartbeat_queued_ms <= device.heartbeat_due_ms
        if event[0] == "timer":
            deadline = desk.cloud.next_deadline_ms()
            assert deadline is None or deadline > now_ms
    # left alone, every device that was ever heard falls silent, step by step
    desk.run_until(now_ms + 10_000_000)
    assert desk.cloud.next_deadline_ms() is None
    for uuid in (UUID, OTHER_UUID):
        device = desk.cloud.devices.get(uuid)
        assert device is None or device.heartbeat.value in ("offline", "unknown")
        assert device is None or device.heartbeat_due_ms == -1


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((1, 60_000, 600_000, 899_999, 900_000, 900_001, 1_000_000)),
            st.sampled_from(("steady", "steady", "steady", "event")),
            st.one_of(
                st.tuples(st.just("command"), COMMANDS),
                st.tuples(st.just("report"), st.just(UUID), st.just(DEVICE), REPORTS),
                st.tuples(st.just("timer")),
            ),
        ),
        max_size=20,
    )
)
def test_the_shortcut_does_exactly_what_a_conditional_get_does(
    history: list[tuple[int, str, tuple[Any, ...]]],
) -> None:
    walked, short = Desk(), Desk()
    desks = (walked, short)
    for desk in desks:
        desk.tell(release("r2", track=False))
        desk.tell(CreateFleet(name="second", uuid="2" * 32))
    etag = walked.poll().headers["etag"]
    assert short.poll().headers["etag"] == etag
    row = short.device
    now_ms = 0
    for gap, kind, event in history:
        now_ms += gap
        if kind == "event":
            for desk in desks:
                carry_out(desk, event, now_ms)
            continue
        response = walked.poll(now_ms, etag=etag)
        quick = short.cloud.quick_heartbeat(row, etag, now_ms=now_ms)
        if quick:
            assert response.status == 304
            assert walked.effects == ()
        else:
            assert short.poll(now_ms, etag=etag) == response
        etag = response.headers.get("etag", etag)
        for name in ("heartbeat", "heartbeat_due_ms", "window_ms", "etag", "is_active"):
            assert getattr(walked.device, name) == getattr(row, name), name
        # a poll in time of a device that was online is always taken
        assert walked.cloud.next_deadline_ms() == short.cloud.next_deadline_ms()
    for desk in desks:
        desk.tell(TimerFired(), now_ms + 2_000_000)
    assert walked.cloud.view(UUID, now_ms=0) == short.cloud.view(UUID, now_ms=0)
