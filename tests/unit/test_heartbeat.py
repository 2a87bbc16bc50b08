"""The heartbeat: what is one, how long it lasts, and what silence becomes."""

from __future__ import annotations

import pytest

from cloud_stub.heartbeat import Tracker, window_ms
from cloud_stub.messages import AddKey, SetVariable
from cloud_stub.settings import CloudSettings
from cloud_stub.status import HeartbeatState
from cloud_stub.variables import POLL_INTERVAL, config_of, poll_interval_ms
from tests.cloud_desk import DEVICE, FLEET, OTHER_DEVICE, PROVISIONING, USER, UUID, VPN, Desk

WINDOW = 900_000  # 10 min × 1.5
TIMEOUT = 15_000


def variable(value: str | None, level: str = "device", name: str = POLL_INTERVAL) -> SetVariable:
    target = UUID if level == "device" else FLEET
    assert level in ("device", "fleet")
    return SetVariable(
        level="device" if level == "device" else "fleet", target=target, name=name, value=value
    )


def test_a_poll_makes_the_device_online_at_once() -> None:
    desk = Desk()
    desk.poll(1_000)
    assert desk.see("api_heartbeat_state") == "online"
    assert desk.see("changed_api_heartbeat_state_on__date") == 1_000
    assert desk.cloud.next_deadline_ms() == 1_000 + WINDOW


def test_silence_is_timeout_after_the_window_and_offline_after_the_grace() -> None:
    desk = Desk()
    desk.poll(0)
    desk.timer(WINDOW - 1)
    assert desk.see("api_heartbeat_state") == "online"
    desk.timer(WINDOW)
    assert desk.see("api_heartbeat_state") == "timeout"
    assert desk.causes() == {"heartbeat window over"}
    assert desk.cloud.next_deadline_ms() == WINDOW + TIMEOUT
    desk.timer(WINDOW + TIMEOUT)
    assert desk.see("api_heartbeat_state") == "offline"
    assert desk.causes() == {"heartbeat timeout over"}
    assert desk.see("changed_api_heartbeat_state_on__date") == WINDOW + TIMEOUT
    assert desk.cloud.next_deadline_ms() is None


@pytest.mark.parametrize("silence", [WINDOW + 1_000, WINDOW + TIMEOUT + 1_000])
def test_a_heartbeat_in_timeout_or_offline_is_online_again(silence: int) -> None:
    desk = Desk()
    desk.poll(0)
    desk.run_until(silence)
    assert desk.see("api_heartbeat_state") in ("timeout", "offline")
    desk.poll(silence)
    assert desk.see("api_heartbeat_state") == "online"
    desk.run_until(silence + WINDOW - 1)
    assert desk.see("api_heartbeat_state") == "online"
    desk.run_until(silence + WINDOW)
    assert desk.see("api_heartbeat_state") == "timeout"


def test_each_heartbeat_arms_the_window_anew_and_queues_nothing() -> None:
    desk = Desk()
    desk.poll(0)
    for minute in range(1, 15):
        desk.poll(minute * 60_000)
        assert desk.effects == ()
        # the queue still knows the first deadline alone
        assert desk.cloud.next_deadline_ms() == WINDOW
    desk.timer(WINDOW)
    assert desk.effects == ()
    assert desk.cloud.next_deadline_ms() == 14 * 60_000 + WINDOW


def test_only_the_devices_own_key_makes_a_heartbeat() -> None:
    desk = Desk()
    for key in (USER, PROVISIONING, VPN, OTHER_DEVICE, "no-such-key", None):
        desk.poll(1_000, key=key)
        assert desk.see("api_heartbeat_state") == "unknown", key


def test_an_expired_key_makes_no_heartbeat() -> None:
    desk = Desk()
    desk.tell(AddKey(key="short", kind="device", owner=UUID, expires_at_ms=5_000))
    assert desk.poll(5_000, key="short").status == 401
    assert desk.see("api_heartbeat_state") == "unknown"
    assert desk.poll(4_999, key="short").status == 200
    assert desk.see("api_heartbeat_state") == "online"


def test_reports_are_no_heartbeats() -> None:
    desk = Desk()
    desk.report({"status": "Idle"})
    desk.report_v2({"status": "Idle"})
    assert desk.see("api_heartbeat_state") == "unknown"


def test_head_and_304_and_v2_and_a_key_in_the_query_are_heartbeats() -> None:
    path = f"/device/v3/{UUID}/state"
    etag = Desk().poll().headers["etag"]
    for number, send in enumerate(
        (
            lambda desk: desk.poll(method="HEAD"),
            lambda desk: desk.poll(etag=etag),
            lambda desk: desk.poll(version="v2"),
            lambda desk: desk.ask("GET", path, query={"apikey": DEVICE}),
        )
    ):
        desk = Desk()
        assert send(desk).status in (200, 304)
        assert desk.see("api_heartbeat_state") == "online", number


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (None, 600_000),
        ("900000", 900_000),
        ("5000", 600_000),
        ("700000.9", 700_000),
        ("700000 and more", 700_000),
        (" 700000", 700_000),
        ("-5", 600_000),
        ("abc", 600_000),
        ("", 600_000),
        ("NaN", 600_000),
    ],
)
def test_the_poll_interval_is_a_leading_integer_never_below_the_default(
    value: str | None, interval: int
) -> None:
    variables = {} if value is None else {POLL_INTERVAL: value}
    assert poll_interval_ms(variables, CloudSettings()) == interval


@pytest.mark.parametrize(
    ("value", "sent"), [("900000", "900000"), ("500", "600000"), ("abc", "NaN")]
)
def test_the_interval_sent_to_the_device_is_clamped(value: str, sent: str) -> None:
    assert config_of({POLL_INTERVAL: value}, CloudSettings()) == {POLL_INTERVAL: sent}


def test_the_device_level_wins_over_the_fleet_level() -> None:
    desk = Desk()
    desk.tell(variable("1200000", "fleet"))
    desk.tell(variable("800000"))
    desk.poll(0)
    assert desk.cloud.next_deadline_ms() is not None
    desk.run_until(1_199_999)
    assert desk.see("api_heartbeat_state") == "online"
    desk.run_until(1_200_000)  # 800 s × 1.5
    assert desk.see("api_heartbeat_state") == "timeout"


def test_the_balena_name_is_passed_on_and_moves_nothing() -> None:
    desk = Desk()
    desk.tell(variable("9000000", name="BALENA_SUPERVISOR_POLL_INTERVAL"))
    config = desk.poll(0).body[UUID]["config"]
    assert config == {"BALENA_SUPERVISOR_POLL_INTERVAL": "9000000", POLL_INTERVAL: "600000"}
    desk.run_until(WINDOW)
    assert desk.see("api_heartbeat_state") == "timeout"


def test_a_longer_interval_moves_the_window_at_the_next_heartbeat_only() -> None:
    desk = Desk()
    desk.poll(0)
    desk.tell(variable("1200000"), 1_000)
    desk.run_until(WINDOW - 1)
    assert desk.see("api_heartbeat_state") == "online"
    desk.run_until(WINDOW)
    assert desk.see("api_heartbeat_state") == "timeout"
    desk.poll(WINDOW + 1)
    desk.run_until(WINDOW + 1_800_000)
    assert desk.see("api_heartbeat_state") == "online"
    desk.run_until(WINDOW + 1 + 1_800_000)
    assert desk.see("api_heartbeat_state") == "timeout"


def test_a_shorter_interval_overtakes_the_queue() -> None:
    desk = Desk()
    desk.tell(variable("1200000"))
    desk.poll(0)
    desk.tell(variable(None), 1_000)
    desk.poll(2_000)
    desk.run_until(2_000 + WINDOW)
    assert desk.see("api_heartbeat_state") == "timeout"
    desk.run_until(10_000_000)
    assert desk.see("api_heartbeat_state") == "offline"


@pytest.mark.parametrize(
    ("poll", "window"),
    [(600_000, 900_000), (2_000, 3_000), (4_500, 7_000), (1, 1_000), (0, 0)],
)
def test_the_window_is_one_and_a_half_intervals_in_whole_seconds(poll: int, window: int) -> None:
    assert window_ms(poll, CloudSettings()) == window


def test_timers_that_ended_while_the_cloud_was_down_end_when_it_is_back() -> None:
    desk = Desk()
    desk.poll(0)
    back = WINDOW + 3_600_000
    desk.timer(back)
    assert desk.see("api_heartbeat_state") == "timeout"
    assert desk.see("changed_api_heartbeat_state_on__date") == back
    assert desk.cloud.next_deadline_ms() == back + TIMEOUT


def test_a_device_that_polls_before_the_late_timer_stays_online() -> None:
    desk = Desk()
    desk.poll(0)
    desk.poll(WINDOW + 500)
    assert desk.effects == ()
    desk.timer(WINDOW + 600)
    assert desk.see("api_heartbeat_state") == "online"
    assert desk.see("changed_api_heartbeat_state_on__date") == 0


def test_changing_intervals_do_not_fill_the_queue() -> None:
    tracker = Tracker(CloudSettings())
    desk = Desk()
    device = desk.device
    now_ms = 0
    for _ in range(200):
        for window in (1_800_000, 900_000):
            now_ms += 450_000
            device.window_ms = window
            tracker.beat(device, now_ms=now_ms)
            while (ended := tracker.due(now_ms=now_ms)) is not None:
                tracker.expire(ended, now_ms=now_ms)
    assert len(tracker._queue) <= 4


def test_a_window_of_days_is_whole_to_the_second() -> None:
    assert window_ms(100_000_000, CloudSettings()) == 150_000_000


def test_every_heartbeat_is_counted() -> None:
    tracker, device = Tracker(CloudSettings()), Desk().device
    assert tracker.count == 0
    tracker.beat(device, now_ms=0)
    tracker.beat(device, now_ms=1_000)
    assert tracker.count == 2


def test_heartbeats_at_the_same_instant_or_later_keep_one_entry_in_the_queue() -> None:
    tracker, device = Tracker(CloudSettings()), Desk().device
    for now_ms in (1_000, 1_000, 2_000, 60_000):
        tracker.beat(device, now_ms=now_ms)
    assert len(tracker._queue) == 1


@pytest.mark.parametrize(
    ("state", "due_ms"),
    [
        (HeartbeatState.ONLINE, 7_000 + WINDOW),
        (HeartbeatState.TIMEOUT, 7_000 + TIMEOUT),
        (HeartbeatState.OFFLINE, None),
        (HeartbeatState.UNKNOWN, None),
    ],
)
def test_a_restored_device_has_the_whole_timer_of_its_state(
    state: HeartbeatState, due_ms: int | None
) -> None:
    tracker, device = Tracker(CloudSettings()), Desk().device
    device.heartbeat = state
    tracker.rearm(device, now_ms=7_000)
    assert tracker.next_deadline_ms() == due_ms
    if due_ms is not None:
        assert tracker.due(now_ms=due_ms - 1) is None
        assert tracker.due(now_ms=due_ms) is device


def test_a_device_that_went_offline_has_no_timer() -> None:
    tracker, device = Tracker(CloudSettings()), Desk().device
    tracker.beat(device, now_ms=0)
    for now_ms in (WINDOW, WINDOW + TIMEOUT):
        assert tracker.due(now_ms=now_ms) is device
        tracker.expire(device, now_ms=now_ms)
    assert device.heartbeat is HeartbeatState.OFFLINE
    assert device.heartbeat_due_ms == -1


@pytest.mark.parametrize("deleted", [True, False])
def test_a_timer_that_was_taken_away_ends_nothing_and_can_be_armed_again(deleted: bool) -> None:
    tracker, device = Tracker(CloudSettings()), Desk().device
    tracker.beat(device, now_ms=0)
    device.deleted = deleted
    device.heartbeat_due_ms = WINDOW if deleted else -1
    assert tracker.due(now_ms=WINDOW) is None
    assert tracker.next_deadline_ms() is None
    device.deleted = False
    tracker.beat(device, now_ms=WINDOW)
    assert tracker.next_deadline_ms() == 2 * WINDOW
