"""What a person's changes through a server do to the core: names, variables, deletion, keys."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_stub.core import Cloud
from cloud_stub.messages import (
    AddKey,
    CreateFleet,
    DeleteFleet,
    DeleteRelease,
    DeviceSpoke,
    KeyStored,
    PinDevice,
    Preregister,
    RenameFleet,
    Request,
    RevokeKey,
    SetEnvironment,
    SetFrozen,
)
from cloud_stub.settings import CloudSettings
from tests.cloud_desk import (
    DEVICE,
    FLEET,
    FLEET_UUID,
    OTHER_DEVICE,
    OTHER_UUID,
    PROVISIONING,
    UUID,
    Desk,
    release,
)


def _environment(desk: Desk, key: str = DEVICE, uuid: str = UUID) -> Any:
    app = desk.poll(key=key, uuid=uuid).body[uuid]["apps"][FLEET_UUID]
    return app["releases"]["r1"]["services"]["main"]["environment"]


def test_the_nearest_variable_of_a_service_wins() -> None:
    desk = Desk()
    for level, target, service, value in (
        ("fleet", FLEET, None, "fleet"),
        ("fleet", FLEET, "main", "fleet's service"),
        ("device", UUID, None, "device"),
        ("device", UUID, "main", "device's service"),
    ):
        desk.tell(
            SetEnvironment(level=level, target=target, service=service, name="A", value=value)  # type: ignore[arg-type]
        )
        assert _environment(desk)["A"] == value
    assert _environment(desk, OTHER_DEVICE, OTHER_UUID)["A"] == "fleet's service"


def test_a_deleted_variable_is_gone_and_makes_a_new_etag() -> None:
    desk = Desk()
    put = SetEnvironment(level="fleet", target=FLEET, service=None, name="A", value="1")
    desk.tell(put)
    etag = desk.poll().headers["etag"]
    gone = SetEnvironment(level="fleet", target=FLEET, service=None, name="A", value=None)
    desk.tell(gone)
    assert desk.poll(etag=etag).status == 200
    assert _environment(desk) == {}


def test_a_variable_of_a_service_does_not_reach_its_neighbour() -> None:
    desk = Desk()
    desk.tell(release("r2", "main", "aside"))
    desk.tell(SetEnvironment(level="fleet", target=FLEET, service="aside", name="A", value="1"))
    app = desk.poll().body[UUID]["apps"][FLEET_UUID]
    services = app["releases"]["r2"]["services"]
    assert [services[name]["environment"] for name in ("main", "aside")] == [{}, {"A": "1"}]


def test_a_renamed_fleet_keeps_its_uuid_and_its_devices_learn_the_name() -> None:
    desk = Desk()
    etag = desk.poll().headers["etag"]
    desk.tell(RenameFleet(fleet=FLEET_UUID, name="renamed"))
    answer = desk.poll(etag=etag)
    assert answer.status == 200
    assert answer.body[UUID]["apps"][FLEET_UUID]["name"] == "renamed"


def test_a_deleted_release_takes_pins_installs_and_the_running_release_along() -> None:
    desk = Desk()
    desk.tell(release("r2", track=False))
    desk.tell(PinDevice(uuid=UUID, commit="r2"))
    desk.report_release("r2", running="r2", status="Running", update_status="done")
    desk.tell(DeleteRelease(fleet=FLEET, commit="r2"))
    device = desk.device
    assert (device.pinned, device.running_release, device.installs) == (None, None, ())
    assert device.should_run is not None
    assert device.should_run.commit == "r1"
    assert desk.report_release("r2", status="Running").status == 401


def test_a_deleted_fleet_takes_its_devices_along() -> None:
    desk = Desk()
    desk.tell(DeleteFleet(fleet=FLEET))
    assert dict(desk.cloud.devices) == {}
    assert desk.cloud.fleet_of(FLEET_UUID) is None
    assert desk.poll().status == 304  # as for every deleted device (WIRE.md)
    body = {"application": 1, "uuid": "9" * 32, "device_type": "raspberrypi4-64"}
    assert desk.ask("POST", "/device/register", PROVISIONING, body).status == 401


def test_a_revoked_key_opens_nothing() -> None:
    desk = Desk()
    assert desk.poll().status == 200
    desk.tell(RevokeKey(sealed=DEVICE))
    assert desk.poll().status == 401


@pytest.mark.parametrize(("frozen", "woken"), [(False, True), (True, False)])
def test_a_request_that_the_shell_answers_is_contact_unless_frozen(
    frozen: bool, woken: bool
) -> None:
    desk = Desk(contacted=False)
    desk.tell(SetFrozen(uuid=UUID, frozen=frozen))
    before = desk.device.heartbeat
    desk.tell(DeviceSpoke(uuid=UUID), 5_000)
    assert (desk.device.is_active, desk.device.heartbeat) == (woken, before)


# --- keys ---------------------------------------------------------------------------------------


def _sealed() -> Cloud:
    cloud = Cloud(CloudSettings(), seal=lambda key: f"sealed {key[::-1]}")
    for command in (
        CreateFleet(name=FLEET, uuid=FLEET_UUID),
        release("r1"),
        AddKey(key="provision", kind="provisioning", owner=FLEET),
    ):
        cloud.handle(command, now_ms=0)
    return cloud


def _ask(cloud: Cloud, method: str, path: str, key: str, body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {key}"}
    request = Request(id=1, method=method, path=path, query={}, headers=headers, body=body)
    return cloud.handle(request, now_ms=0)


def test_the_core_keeps_keys_only_as_sealed() -> None:
    cloud = _sealed()
    number = cloud.fleet_id(FLEET)
    body = {
        "application": number,
        "uuid": UUID,
        "device_type": "raspberrypi4-64",
        "api_key": "mine",
    }
    outcome = _ask(cloud, "POST", "/device/register", "provision", body)
    assert outcome.response.status == 201
    stored = [effect for effect in outcome.effects if isinstance(effect, KeyStored)]
    assert stored == [KeyStored(sealed="sealed enim", uuid=UUID)]
    assert _ask(cloud, "GET", f"/device/v3/{UUID}/state", "mine").response.status == 200
    # what a thief of the store would send
    stolen = _ask(cloud, "GET", f"/device/v3/{UUID}/state", "sealed enim")
    assert stolen.response.status == 401


def test_a_key_comes_back_by_what_was_kept_of_it() -> None:
    cloud = _sealed()
    cloud.handle(Preregister(uuid=UUID, name="d", fleet=FLEET, api_key="first"), now_ms=0)
    cloud.restore_key("sealed dnoces", "device", UUID, expires_at_ms=None)
    cloud.restore_key("sealed tsol", "device", "f" * 32, expires_at_ms=None)
    for key, status in (("first", 200), ("second", 200), ("lost", 401)):
        answer = _ask(cloud, "GET", f"/device/v3/{UUID}/state", key)
        assert answer.response.status == status, key
