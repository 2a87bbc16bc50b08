"""Calls through cloudlink: actions of people, and pushed target changes."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_stub.messages import (
    CallDevice,
    DeleteDevice,
    DeviceReplied,
    PinDevice,
    Respond,
    Response,
    SetFrozen,
    SetVariable,
)
from tests.cloud_desk import (
    DEVICE,
    FLEET,
    OTHER_UUID,
    UNKNOWN_UUID,
    USER,
    UUID,
    Desk,
    release,
)

REBOOT = "/supervisor/v1/reboot"


def calls(desk: Desk) -> list[CallDevice]:
    return [effect for effect in desk.effects if isinstance(effect, CallDevice)]


def answers(desk: Desk) -> list[tuple[int, Response]]:
    return [(effect.id, effect.response) for effect in desk.effects if isinstance(effect, Respond)]


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.poll()
    desk.cloudlink("connect")
    return desk


def act(desk: Desk, at: int = 0, body: Any = None, key: str | None = USER) -> Any:
    given = {"uuid": UUID, "method": "POST", "data": {"force": True}} if body is None else body
    request = desk.request("POST", REBOOT, key, given)
    return request.id, desk.tell(request, at)


def test_an_action_is_carried_through_cloudlink_and_answered_later(desk: Desk) -> None:
    number, response = act(desk)
    assert response is None
    [call] = calls(desk)
    assert (call.uuid, call.method, call.path) == (UUID, "POST", "/v1/reboot")
    assert call.body == {"force": True}
    assert desk.cloud.calls_pending == 1
    desk.tell(DeviceReplied(call=call.call, status=423, body={"Error": "locked"}))
    assert answers(desk) == [(number, Response(status=423, body={"Error": "locked"}))]
    assert desk.cloud.calls_pending == 0


@pytest.mark.parametrize(
    "body", [{"uuid": UNKNOWN_UUID}, {"uuid": OTHER_UUID}, {"deviceId": 2}, {}, {"deviceId": "x"}]
)
def test_without_a_tunnel_there_is_no_online_device(desk: Desk, body: Any) -> None:
    _, response = act(desk, body=body)
    assert (response.status, response.body) == (404, '"No online device(s) found"')


def test_a_device_may_be_named_by_its_id(desk: Desk) -> None:
    assert act(desk, body={"deviceId": 1})[1] is None


def test_only_people_act(desk: Desk) -> None:
    assert act(desk, key=DEVICE)[1].status == 401
    assert act(desk, key=None)[1].status == 401


def test_a_frozen_device_takes_no_actions(desk: Desk) -> None:
    desk.tell(SetFrozen(uuid=UUID, frozen=True))
    assert act(desk)[1].status == 404


def test_a_device_that_does_not_answer_is_given_up(desk: Desk) -> None:
    number, _ = act(desk, 1_000)
    assert desk.cloud.next_deadline_ms() == 51_000
    desk.timer(50_999)
    assert answers(desk) == []
    desk.timer(51_000)
    assert answers(desk) == [(number, Response(status=504))]
    desk.tell(DeviceReplied(call=1, status=200, body=None), 52_000)
    assert desk.effects == ()


def test_a_device_that_says_it_cannot_answer_is_a_time_out_at_once(desk: Desk) -> None:
    number, _ = act(desk)
    desk.tell(DeviceReplied(call=calls(desk)[0].call, status=None, body=None))
    assert answers(desk) == [(number, Response(status=504))]
    assert desk.cloud.next_deadline_ms() == 900_000


@pytest.mark.parametrize(
    "command",
    [
        release("r2"),
        PinDevice(uuid=UUID, commit="r1"),
        SetVariable(level="device", target=UUID, name="RESIN_X", value="1"),
        SetVariable(level="fleet", target=FLEET, name="RESIN_X", value="1"),
    ],
)
def test_a_changed_target_is_pushed_a_second_later(desk: Desk, command: Any) -> None:
    desk.tell(command, 10_000)
    assert calls(desk) == []
    assert desk.cloud.next_deadline_ms() == 11_000
    desk.timer(11_000)
    [call] = calls(desk)
    assert (call.uuid, call.method, call.path, call.body) == (UUID, "POST", "/v1/update", {})
    # nobody waits for the answer
    desk.tell(DeviceReplied(call=call.call, status=204, body=None), 12_000)
    assert desk.effects == ()
    assert desk.cloud.calls_pending == 0


def test_a_push_reaches_those_connected_when_it_goes_out(desk: Desk) -> None:
    desk.tell(release("r2"), 10_000)
    desk.cloudlink("connect", 10_500, uuid=OTHER_UUID)
    desk.timer(11_000)
    assert [call.uuid for call in calls(desk)] == [UUID, OTHER_UUID]
    desk.tell(release("r3"), 20_000)
    desk.cloudlink("disconnect", 20_500, uuid=OTHER_UUID)
    desk.tell(DeleteDevice(uuid=UUID), 20_500)
    desk.timer(21_000)
    assert calls(desk) == []


def test_an_unanswered_push_is_forgotten_in_the_end(desk: Desk) -> None:
    desk.tell(release("r2"), 10_000)
    desk.timer(11_000)
    assert desk.cloud.calls_pending == 1
    desk.timer(61_000)
    assert desk.cloud.calls_pending == 0
    assert desk.effects == ()


def test_one_late_timer_consumes_everything_in_order_of_the_deadlines(desk: Desk) -> None:
    desk.tell(release("r2"), 899_500)  # its push is due at 900.5 s, after the heartbeat window
    desk.timer(2_000_000)
    kinds = [type(effect).__name__ for effect in desk.effects]
    assert kinds.count("CallDevice") == 1
    assert desk.see("api_heartbeat_state") == "timeout"
    assert desk.cloud.next_deadline_ms() == 2_015_000
