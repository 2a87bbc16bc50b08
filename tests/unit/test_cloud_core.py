"""The cloud core as a whole: denials, contact, people's commands, and what is observed."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_stub.messages import (
    CreateFleet,
    DeleteDevice,
    FieldChanged,
    MoveDevice,
    PinDevice,
    SetActive,
    SetFrozen,
    SetVariable,
    TrackRelease,
    WriteDevice,
)
from cloud_stub.observe import FIELDS
from tests.cloud_desk import (
    DEVICE,
    FLEET,
    OTHER_DEVICE,
    OTHER_UUID,
    PROVISIONING,
    UNKNOWN_UUID,
    USER,
    UUID,
    VPN,
    Desk,
    release,
)

VPN_CONTROL = "BALENA_SUPERVISOR_VPN_CONTROL"
OLD_VPN_CONTROL = "RESIN_SUPERVISOR_VPN_CONTROL"
REDUCED = "reduced-functionality"


def vpn_auth(desk: Desk, key: str | None = DEVICE, uuid: str = UUID) -> int:
    return desk.ask("GET", f"/services/vpn/auth/{uuid}", key).status


# --- denials (STATUS.md §7) ---------------------------------------------------------------------


def test_a_deleted_device_keeps_its_last_target_and_is_denied_all_else() -> None:
    desk = Desk()
    desk.poll()
    desk.tell(DeleteDevice(uuid=UUID))
    assert desk.changed() == {"deleted": True}
    for key in (DEVICE, USER, None):
        response = desk.poll(1_000, key=key)
        assert (response.status, response.headers, response.body) == (304, {}, None)
    assert desk.report({"status": "Idle"}).status == 401
    assert desk.report_v2({"status": "Idle"}).status == 200
    assert vpn_auth(desk) == 401
    assert desk.cloudlink("connect").status == 200
    desk.run_until(10_000_000)
    assert desk.effects == ()
    assert desk.see("api_heartbeat_state") == "online"
    assert desk.see("deleted")


def test_a_frozen_device_gets_304_and_is_no_longer_alive() -> None:
    desk = Desk()
    desk.poll()
    desk.tell(SetFrozen(uuid=UUID, frozen=True), 1_000)
    assert desk.see("overall_status") == "frozen"
    for key in (DEVICE, USER, None):
        assert (desk.poll(2_000, key=key).status, desk.poll(2_000).headers) == (304, {})
    assert desk.report({"status": "Idle"}).status == 401
    assert desk.report_v2({"status": "Idle"}).status == 200
    assert desk.see("status") is None
    assert vpn_auth(desk) == 401
    desk.run_until(915_000)
    assert desk.see("api_heartbeat_state") == "offline"
    desk.tell(SetFrozen(uuid=UUID, frozen=False), 916_000)
    assert desk.poll(917_000).status == 200
    assert desk.see("api_heartbeat_state") == "online"


@pytest.mark.parametrize("key", [OTHER_DEVICE, PROVISIONING, VPN, "no-such-key", None])
def test_a_wrong_key_gets_an_empty_401(key: str | None) -> None:
    response = Desk().poll(key=key)
    assert (response.status, response.body) == (401, None)


@pytest.mark.parametrize("uuid", [UNKNOWN_UUID, "malformed"])
def test_an_unknown_uuid_gets_304_before_the_key_is_looked_at(uuid: str) -> None:
    assert Desk().poll(uuid=uuid, key=None).status == 304


@pytest.mark.parametrize(
    ("key", "uuid", "status", "body"),
    [
        (DEVICE, UUID, 200, None),
        (OTHER_DEVICE, UUID, 401, None),
        (PROVISIONING, UUID, 401, None),
        (DEVICE, UNKNOWN_UUID, 401, None),
        (USER, UUID, 401, {"error": "API key required"}),
        (None, UUID, 401, {"error": "API key required"}),
    ],
)
def test_vpn_authentication(key: str | None, uuid: str, status: int, body: Any) -> None:
    response = Desk().ask("GET", f"/services/vpn/auth/{uuid}", key)
    assert (response.status, response.body) == (status, body)


# --- contact ------------------------------------------------------------------------------------


def test_a_deactivated_device_is_active_again_when_it_comes_back() -> None:
    desk = Desk()
    desk.poll(0)
    desk.tell(SetActive(uuid=UUID, active=False), 1_000)
    assert desk.see("overall_status") == "inactive"
    assert desk.causes() == {"deactivated"}
    desk.poll(2_000)
    assert desk.see("overall_status") == "reduced-functionality"
    assert desk.changed()["is_active"] is True
    assert desk.causes() == {"contact with the API"}


def test_an_unauthorized_request_is_no_contact() -> None:
    desk = Desk(contacted=False)
    desk.report({"status": 5})
    desk.report({"status": "Idle"}, key="no-such-key")
    desk.poll(key=None)
    assert not desk.see("is_active")


def test_in_open_balena_nobody_is_inactive_or_frozen() -> None:
    desk = Desk(contacted=False, profile="open-balena")
    assert desk.see("overall_status") == "configuring"
    desk.tell(SetFrozen(uuid=UUID, frozen=True))
    assert desk.see("overall_status") == "configuring"


# --- people's commands --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        DeleteDevice(uuid=UNKNOWN_UUID),
        SetActive(uuid=UNKNOWN_UUID, active=True),
        SetFrozen(uuid=UNKNOWN_UUID, frozen=True),
        PinDevice(uuid=UNKNOWN_UUID, commit=None),
        PinDevice(uuid=UUID, commit="nosuch"),
        MoveDevice(uuid=UUID, fleet="nosuch"),
        TrackRelease(fleet=FLEET, commit="nosuch"),
        TrackRelease(fleet="nosuch", commit="r1"),
        SetVariable(level="device", target=UNKNOWN_UUID, name="RESIN_X", value="1"),
        SetVariable(level="fleet", target="nosuch", name="RESIN_X", value="1"),
        release("r2", fleet="nosuch"),
        WriteDevice(uuid=UNKNOWN_UUID, fields={}),
    ],
)
def test_a_command_about_what_is_not_there_is_refused(command: Any) -> None:
    assert Desk().send(command).status == 404


def test_names_and_commits_are_taken_once() -> None:
    desk = Desk()
    assert desk.send(CreateFleet(name=FLEET, uuid="9" * 32)).status == 409
    assert desk.send(release("r1")).status == 409


def test_a_variable_is_created_changed_and_deleted() -> None:
    desk = Desk()
    for value, status in (("1", 201), ("2", 200), ("2", 200), (None, 200), (None, 200)):
        for level, target in (("device", UUID), ("fleet", FLEET)):
            command = SetVariable(
                level="device" if level == "device" else "fleet",
                target=target,
                name="RESIN_X",
                value=value,
            )
            assert desk.send(command).status == status


def test_a_variable_outside_the_namespaces_is_refused() -> None:
    response = Desk().send(SetVariable(level="device", target=UUID, name="FOO", value="1"))
    assert response.status == 400
    assert "RESIN_, BALENA_" in response.body


@pytest.mark.parametrize(
    ("variables", "status"),
    [
        ([("device", VPN_CONTROL, "false")], "operational"),
        ([("fleet", VPN_CONTROL, "false")], "operational"),
        ([("device", OLD_VPN_CONTROL, "false")], "operational"),
        ([("device", VPN_CONTROL, "0")], REDUCED),
        ([("fleet", VPN_CONTROL, "false"), ("device", VPN_CONTROL, "true")], REDUCED),
        ([("fleet", VPN_CONTROL, "false"), ("device", OLD_VPN_CONTROL, "true")], REDUCED),
        ([("device", OLD_VPN_CONTROL, "true"), ("device", VPN_CONTROL, "false")], "operational"),
    ],
)
def test_cloudlink_switched_off_by_a_variable_is_not_missed(
    variables: list[tuple[str, str, str]], status: str
) -> None:
    desk = Desk()
    desk.poll()
    for level, name, value in variables:
        desk.tell(
            SetVariable(
                level="device" if level == "device" else "fleet",
                target=UUID if level == "device" else FLEET,
                name=name,
                value=value,
            )
        )
    assert desk.see("overall_status") == status


def test_a_fleets_variable_shows_on_every_device_of_it() -> None:
    desk = Desk()
    desk.poll()
    desk.poll(uuid=OTHER_UUID, key=OTHER_DEVICE)
    desk.tell(SetVariable(level="fleet", target=FLEET, name=VPN_CONTROL, value="false"))
    for uuid in (UUID, OTHER_UUID):
        assert desk.changed(uuid)["overall_status"] == "operational"
    assert desk.causes() == {"configuration"}


def test_a_direct_write_always_moves_the_update_event() -> None:
    desk = Desk()
    for at in (1_000, 2_000):
        desk.tell(WriteDevice(uuid=UUID, fields={"update_status": "downloading"}), at)
        assert desk.see("last_update_status_event") == at


def test_a_direct_write_of_the_heartbeat_moves_neither_its_date_nor_a_timer() -> None:
    desk = Desk()
    desk.tell(WriteDevice(uuid=UUID, fields={"api_heartbeat_state": "online"}), 1_000)
    assert desk.see("api_heartbeat_state") == "online"
    assert desk.see("changed_api_heartbeat_state_on__date") is None
    assert desk.cloud.next_deadline_ms() is None


@pytest.mark.parametrize(
    "fields", [{"api_heartbeat_state": "bogus"}, {"update_status": "Done"}, {"nosuch": 1}]
)
def test_a_direct_write_of_what_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    desk = Desk()
    assert desk.send(WriteDevice(uuid=UUID, fields={"status": "x", **fields})).status == 400
    assert desk.see("status") is None


# --- the host, and the first environment --------------------------------------------------------


def progress(desk: Desk, key: str, body: Any, uuid: str = UUID) -> int:
    query = {"$filter": f"uuid eq '{uuid}'"}
    return desk.ask("PATCH", "/v6/device", key, body, query=query).status


@pytest.mark.parametrize("key", [DEVICE, PROVISIONING])
def test_the_flasher_reports_how_far_it_is(key: str) -> None:
    desk = Desk(contacted=False)
    desk.cloudlink("connect")
    flashing = {
        "provisioning_progress": 40,
        "provisioning_state": "Flashing balenaOS on internal media",
        "status": "configuring",
    }
    assert progress(desk, key, flashing) == 200
    assert desk.see("overall_status") == "configuring"
    assert desk.see("status_display") == "Configuring (Flashing balenaOS on internal media)"
    assert desk.see("overall_progress") == 40
    done = {"provisioning_progress": "100", "provisioning_state": "Post-Provisioning"}
    assert progress(desk, key, done) == 200
    assert desk.see("status_display") == "Post Provisioning"
    assert desk.see("overall_progress") == 100


def test_progress_of_a_device_that_is_not_the_callers_goes_nowhere() -> None:
    desk = Desk()
    body = {"provisioning_progress": 1}
    assert progress(desk, OTHER_DEVICE, body) == 200
    assert progress(desk, DEVICE, body, UNKNOWN_UUID) == 200
    assert desk.see("provisioning_progress") is None
    assert progress(desk, USER, body) == 401
    assert progress(desk, DEVICE, {"provisioning_progress": "many"}) == 400
    assert progress(desk, DEVICE, None) == 400


def test_a_device_adds_a_variable_once() -> None:
    desk = Desk(contacted=False)
    body = {"device": 1, "name": "RESIN_HOST_FIREWALL_MODE", "value": ""}
    made = desk.ask("POST", "/v7/device_config_variable", DEVICE, body)
    assert made.status == 201
    assert made.body["device"] == {"__id": 1}
    assert desk.see("is_active")
    again = desk.ask("POST", "/v7/device_config_variable", DEVICE, body)
    assert (again.status, again.body) == (409, '"\\"device\\" and \\"name\\" must be unique."')
    assert desk.poll().body[UUID]["config"]["RESIN_HOST_FIREWALL_MODE"] == ""


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        (OTHER_DEVICE, {"device": 1, "name": "RESIN_X", "value": "1"}, 401),
        (None, {"device": 1, "name": "RESIN_X", "value": "1"}, 401),
        (DEVICE, {"device": 99, "name": "RESIN_X", "value": "1"}, 401),
        (DEVICE, {"device": 1, "name": "FOO", "value": "1"}, 400),
        (DEVICE, {"device": 1, "name": "RESIN_X", "value": 1}, 400),
        (USER, {"device": 1, "name": "RESIN_X", "value": "1"}, 201),
    ],
)
def test_variables_of_a_device_are_its_own_business(
    key: str | None, body: Any, status: int
) -> None:
    assert Desk().ask("POST", "/v7/device_config_variable", key, body).status == status


# --- what is observed ---------------------------------------------------------------------------


def test_the_view_holds_every_field() -> None:
    desk = Desk()
    assert list(desk.cloud.view(UUID, now_ms=0)) == list(FIELDS)


def test_services_show_the_release_the_device_should_run_else_what_is_there() -> None:
    desk = Desk()
    desk.report_release("r1", status="Running")
    assert desk.see("services.main") == "Running"
    desk.tell(release("r2"))
    assert desk.see("services.main") == "Running"
    desk.report_release("r2", status="Downloading", download_progress=1)
    assert desk.see("services.main") == "Downloading"
    assert desk.changed()["services.main"] == "Downloading"


def test_a_service_that_is_gone_is_reported_as_gone() -> None:
    desk = Desk()
    desk.report_release("r1", status="Running")
    desk.tell(release("r2", "other"))
    desk.report({"apps": {}})
    assert "services.main" not in desk.cloud.view(UUID, now_ms=0)
    gone = [change for change in desk.effects if isinstance(change, FieldChanged)]
    assert [(change.field, change.old, change.new) for change in gone] == [
        ("services.main", "Running", None)
    ]


def test_a_new_release_shows_on_the_devices_that_track_it() -> None:
    desk = Desk()
    desk.tell(PinDevice(uuid=OTHER_UUID, commit="r1"))
    desk.tell(release("r2"))
    assert desk.changed() == {"should_be_running_release": "r2"}
    assert desk.changed(OTHER_UUID) == {}


def test_undervoltage_and_versions_are_seen() -> None:
    desk = Desk()
    desk.report({"is_undervolted": True, "os_version": "os", "supervisor_version": "19.0.5"})
    assert desk.changed() == {
        "is_undervolted": True,
        "os_version": "os",
        "supervisor_version": "19.0.5",
    }


def test_moving_to_another_fleet_changes_what_should_run() -> None:
    desk = Desk()
    desk.tell(PinDevice(uuid=UUID, commit="r1"))
    desk.tell(CreateFleet(name="second", uuid="2" * 32))
    desk.tell(release("s1", fleet="second"))
    desk.tell(MoveDevice(uuid=UUID, fleet="second"))
    assert desk.changed() == {"should_be_running_release": "s1"}
