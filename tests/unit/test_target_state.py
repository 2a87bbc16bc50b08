"""Target states: bodies, ETags, and what makes a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud_stub.messages import (
    CreateFleet,
    CreateRelease,
    MoveDevice,
    PinDevice,
    ServiceSpec,
    SetFrozen,
    SetVariable,
    TrackRelease,
    WriteDevice,
)
from tests.cloud_desk import FLEET, FLEET_UUID, OTHER_UUID, USER, UUID, Desk, image, release

if TYPE_CHECKING:
    from cloud_stub.messages import Command


def test_the_v3_body_has_the_recorded_fields() -> None:
    desk = Desk()
    fleet = desk.device.fleet
    first = fleet.releases["r1"]
    service = {
        "id": fleet.service_ids["main"],
        "image_id": first.images["main"].id,
        "image": image("r1", "main"),
        "environment": {},
        "labels": {},
        "composition": {},
    }
    app = {
        "id": fleet.id,
        "name": FLEET,
        "is_host": False,
        "class": "fleet",
        "releases": {"r1": {"id": first.id, "services": {"main": service}}},
    }
    assert desk.poll().body == {
        UUID: {
            "name": "purple-wood",
            "apps": {FLEET_UUID: app},
            "config": {"RESIN_SUPERVISOR_POLL_INTERVAL": "600000"},
        }
    }


def test_the_v2_body_has_the_recorded_fields() -> None:
    desk = Desk()
    fleet = desk.device.fleet
    first = fleet.releases["r1"]
    service = {
        "imageId": first.images["main"].id,
        "serviceName": "main",
        "image": image("r1", "main"),
        "running": True,
        "environment": {},
        "labels": {},
    }
    app = {
        "releaseId": first.id,
        "commit": "r1",
        "name": FLEET,
        "services": {str(fleet.service_ids["main"]): service},
        "networks": {},
        "volumes": {},
    }
    assert desk.poll(version="v2").body == {
        "local": {
            "name": "purple-wood",
            "config": {"RESIN_SUPERVISOR_POLL_INTERVAL": "600000"},
            "apps": {str(fleet.id): app},
        },
        "dependent": {"apps": {}, "devices": {}},
    }


def test_labels_environment_and_contract_reach_the_device() -> None:
    desk = Desk()
    spec = ServiceSpec(
        name="main",
        image="registry.invalid/v2/x",
        labels={"io.balena.update.strategy": "hand-over"},
        environment={"FOO": "bar"},
        composition={"privileged": True},
        contract={"type": "sw.container", "requires": []},
    )
    desk.tell(CreateRelease(fleet=FLEET, commit="r2", services=(spec,)))
    releases = desk.poll().body[UUID]["apps"][FLEET_UUID]["releases"]
    service = releases["r2"]["services"]["main"]
    assert service["labels"] == {"io.balena.update.strategy": "hand-over"}
    assert service["environment"] == {"FOO": "bar"}
    assert service["composition"] == {"privileged": True}
    assert service["contract"] == {"type": "sw.container", "requires": []}


def test_two_services_may_share_an_image_location() -> None:
    desk = Desk()
    specs = tuple(ServiceSpec(name=name, image="registry.invalid/v2/x") for name in ("a", "b"))
    desk.tell(CreateRelease(fleet=FLEET, commit="r2", services=specs))
    releases = desk.poll().body[UUID]["apps"][FLEET_UUID]["releases"]
    assert set(releases["r2"]["services"]) == {"a", "b"}


def test_a_fleet_without_a_release_sends_none() -> None:
    desk = Desk()
    desk.tell(CreateFleet(name="empty", uuid="e" * 32))
    desk.tell(MoveDevice(uuid=UUID, fleet="empty"))
    assert desk.poll().body[UUID]["apps"]["e" * 32]["releases"] == {}
    assert "commit" not in next(iter(desk.poll(version="v2").body["local"]["apps"].values()))


def test_the_etag_is_weak_and_answers_304_without_a_body() -> None:
    desk = Desk()
    etag = desk.poll().headers["etag"]
    assert etag.startswith('W/"')
    again = desk.poll(etag=etag)
    assert (again.status, again.body, again.headers) == (304, None, {"etag": etag})
    assert desk.poll(etag=f'"other", {etag}').status == 304
    assert desk.poll(etag='W/"other"').status == 200


def test_head_is_answered_with_headers_only() -> None:
    desk = Desk()
    head = desk.poll(method="HEAD")
    assert (head.status, head.body) == (200, None)
    assert head.headers["etag"] == desk.poll().headers["etag"]


@pytest.mark.parametrize(
    "command",
    [
        release("r2"),
        PinDevice(uuid=UUID, commit="r0"),
        TrackRelease(fleet=FLEET, commit="r0"),
        MoveDevice(uuid=UUID, fleet="second"),
        SetVariable(level="device", target=UUID, name="RESIN_X", value="1"),
        SetVariable(level="fleet", target=FLEET, name="RESIN_X", value="1"),
        WriteDevice(uuid=UUID, fields={"device_name": "other"}),
    ],
)
def test_what_changes_the_target_changes_the_etag(command: Command) -> None:
    desk = Desk()
    desk.tell(release("r0", track=False))
    desk.tell(CreateFleet(name="second", uuid="2" * 32))
    etags = {version: desk.poll(version=version).headers["etag"] for version in ("v2", "v3")}
    desk.tell(command)
    for version, etag in etags.items():
        assert desk.poll(version=version, etag=etag).status == 200


@pytest.mark.parametrize(
    "command",
    [
        release("r0", track=False),
        TrackRelease(fleet=FLEET, commit="r1"),
        PinDevice(uuid=OTHER_UUID, commit="r1"),
        SetVariable(level="device", target=OTHER_UUID, name="RESIN_X", value="1"),
        SetVariable(level="device", target=UUID, name="RESIN_X", value=None),
        WriteDevice(uuid=UUID, fields={"status": "Idle"}),
    ],
)
def test_what_does_not_change_the_target_keeps_the_etag(command: Command) -> None:
    desk = Desk()
    etag = desk.poll().headers["etag"]
    desk.tell(command)
    assert desk.poll(etag=etag).status == 304


def test_the_same_target_again_has_the_same_etag_again() -> None:
    desk = Desk()
    etag = desk.poll().headers["etag"]
    for frozen in (True, False):
        desk.tell(SetFrozen(uuid=UUID, frozen=frozen))
    for value in ("1", None):
        desk.tell(SetVariable(level="device", target=UUID, name="RESIN_X", value=value))
    assert desk.poll(etag=etag).status == 304


def test_a_pin_wins_over_what_the_fleet_tracks() -> None:
    desk = Desk()
    desk.tell(PinDevice(uuid=UUID, commit="r1"))
    desk.tell(release("r2"))
    releases = desk.poll().body[UUID]["apps"][FLEET_UUID]["releases"]
    assert list(releases) == ["r1"]
    assert desk.see("should_be_running_release") == "r1"
    desk.tell(PinDevice(uuid=UUID, commit=None))
    assert desk.see("should_be_running_release") == "r2"


def test_devices_of_a_fleet_share_the_parts_they_have_in_common() -> None:
    desk = Desk()
    first = desk.poll(key=USER).body[UUID]
    second = desk.poll(key=USER, uuid=OTHER_UUID).body[OTHER_UUID]
    assert first["apps"] is second["apps"]
    assert first["config"] is second["config"]


def test_the_fleets_own_state_is_no_heartbeat() -> None:
    desk = Desk()
    response = desk.ask("GET", f"/device/v3/fleet/{FLEET_UUID}/state", "device-key")
    assert response.status == 200
    assert list(response.body[FLEET_UUID]["apps"]) == [FLEET_UUID]
    assert desk.see("api_heartbeat_state") == "unknown"
    etag = {"if-none-match": response.headers["etag"]}
    path = f"/device/v3/fleet/{FLEET_UUID}/state"
    assert desk.ask("GET", path, "device-key", headers=etag).status == 304
    assert desk.ask("GET", path).status == 401
    assert desk.ask("GET", f"/device/v3/fleet/{'9' * 32}/state", "device-key").status == 401
