"""Cloudlink as the API stores it: managing instance, stale and repeated events."""

from __future__ import annotations

import pytest

from cloud_stub.cloudlink import takes_down
from tests.cloud_desk import UNKNOWN_UUID, Desk

EVENTS = ("last_vpn_event", "last_connectivity_event")


def test_a_connect_sets_the_flags_the_instance_and_the_events() -> None:
    desk = Desk()
    assert desk.cloudlink("connect", 1_000).status == 200
    assert desk.changed() | {"overall_status": "", "status_display": "", "connectivity": ""} == {
        "overall_status": "",
        "status_display": "",
        "connectivity": "",
        "is_connected_to_vpn": True,
        "is_online": True,
        "last_vpn_event": 1_000,
        "last_connectivity_event": 1_000,
        "is_managed_by__service_instance": 1,
    }
    assert desk.causes() == {"cloudlink up"}


def test_a_disconnect_from_the_managing_instance_takes_it_down() -> None:
    desk = Desk()
    desk.cloudlink("connect", 1_000)
    desk.cloudlink("disconnect", 2_000)
    assert not desk.see("is_connected_to_vpn")
    assert not desk.see("is_online")
    assert desk.see("is_managed_by__service_instance") is None
    assert [desk.see(name) for name in EVENTS] == [2_000, 2_000]


def test_a_stale_disconnect_from_a_former_instance_changes_nothing() -> None:
    desk = Desk()
    desk.cloudlink("connect", 1_000, instance=1)
    desk.cloudlink("connect", 2_000, instance=2)
    assert desk.cloudlink("disconnect", 3_000, instance=1).status == 200
    assert desk.effects == ()
    assert desk.see("is_connected_to_vpn")
    assert desk.see("is_managed_by__service_instance") == 2


def test_a_late_disconnect_from_the_same_instance_takes_the_newer_tunnel_down() -> None:
    desk = Desk()
    desk.cloudlink("connect", 1_000)
    desk.cloudlink("connect", 2_000)
    desk.cloudlink("disconnect", 3_000)
    assert not desk.see("is_connected_to_vpn")


def test_a_repeated_connect_moves_the_events_and_nothing_else() -> None:
    desk = Desk()
    desk.cloudlink("connect", 1_000)
    desk.cloudlink("connect", 2_000)
    assert desk.changed() == dict.fromkeys(EVENTS, 2_000)


def test_a_disconnect_that_matches_nothing_changes_nothing() -> None:
    desk = Desk()
    assert desk.cloudlink("disconnect", 1_000).status == 200
    assert desk.effects == ()


def test_an_instance_that_does_not_exist_cannot_connect() -> None:
    desk = Desk()
    response = desk.cloudlink("connect", instance=3)
    assert response.status == 409
    assert response.body == '"Data is referenced by is_managed_by__service_instance."'
    assert not desk.see("is_connected_to_vpn")


def test_unknown_devices_are_passed_over() -> None:
    assert Desk().cloudlink("connect", uuid=UNKNOWN_UUID).status == 200


@pytest.mark.parametrize("instance", ["1", None, True, 1.5])
def test_an_instance_that_is_no_number_is_refused(instance: object) -> None:
    assert Desk().cloudlink("connect", instance=instance).status == 400


def test_without_a_disconnect_a_silent_device_stays_reduced_for_ever() -> None:
    desk = Desk()
    desk.poll(0)
    desk.cloudlink("connect", 0)
    desk.run_until(30 * 86_400_000)
    assert desk.see("overall_status") == "reduced-functionality"
    assert desk.see("connectivity") == "Cloudlink Only"


@pytest.mark.parametrize(
    ("managed_by", "connected", "says", "believed", "down"),
    [
        (7, True, 7, False, True),
        (7, True, 6, False, False),
        (7, True, 8, False, False),
        (7, True, 6, True, True),
        (None, False, 7, True, False),
        (7, False, 7, False, True),
    ],
)
def test_a_stale_disconnect_counts_only_where_the_fault_is_switched_on(
    managed_by: int | None, connected: bool, says: int, believed: bool, down: bool
) -> None:
    device = Desk().device
    device.managed_by, device.is_connected_to_vpn = managed_by, connected
    assert takes_down(device, says, believe_stale=believed) is down


def test_a_stale_disconnect_does_not_count_unless_told_so() -> None:
    device = Desk().device
    device.managed_by, device.is_connected_to_vpn = 7, True
    assert not takes_down(device, 6)


def test_instances_are_the_same_by_number() -> None:
    device = Desk().device
    device.managed_by = int("100000")
    assert takes_down(device, int("100000"))
