"""How devices come to be known: registration, preregistration, and the exchange of keys."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_stub.messages import AddKey, CreateFleet, DeleteDevice, Preregister
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
)

NEW = "c" * 32


def body(desk: Desk, **changes: Any) -> dict[str, Any]:
    given = {
        "application": desk.cloud.fleet_id(FLEET),
        "device_type": "raspberrypi3",
        "uuid": NEW,
        "api_key": "new-key",
        "supervisor_version": "16.1.0",
        "os_version": "balenaOS 5.0.0",
        "os_variant": "prod",
        "mac_address": "AA:BB:CC:DD:EE:FF",
    }
    return {name: value for name, value in (given | changes).items() if value is not None}


def register(desk: Desk, key: str | None = PROVISIONING, **changes: Any) -> Any:
    return desk.ask("POST", "/device/register", key, body(desk, **changes))


def test_a_device_registers_itself_and_is_active() -> None:
    desk = Desk()
    response = register(desk)
    assert response.status == 201
    assert response.body == {"id": 3, "uuid": NEW, "api_key": "new-key"}
    assert desk.see("is_active", NEW)
    assert desk.see("os_version", NEW) == "balenaOS 5.0.0"
    assert desk.see("overall_status", NEW) == "configuring"
    assert desk.poll(uuid=NEW, key="new-key").status == 200


def test_a_registration_that_does_not_say_what_it_runs_is_a_persons() -> None:
    desk = Desk()
    silent = dict.fromkeys(("supervisor_version", "os_version", "os_variant", "mac_address"))
    assert register(desk, **silent).status == 201
    assert desk.see("overall_status", NEW) == "inactive"


def test_the_api_makes_a_key_for_a_device_that_brings_none() -> None:
    desk = Desk()
    keys = [register(desk, api_key=None, uuid=uuid).body["api_key"] for uuid in (NEW, "d" * 62)]
    assert len(set(keys)) == 2
    assert all(len(key) == 32 for key in keys)
    assert desk.poll(uuid=NEW, key=keys[0]).status == 200


def test_a_device_without_a_name_gets_one_of_two_words() -> None:
    desk = Desk()
    register(desk)
    assert desk.cloud.devices[NEW].name.count("-") == 1


@pytest.mark.parametrize(
    ("changes", "status", "answer"),
    [
        ({"uuid": None}, 400, '"UUID must be specified"'),
        ({"application": None}, 400, '"Application ID must be a valid integer"'),
        ({"application": "x1"}, 400, '"Application ID must be a valid integer"'),
        (
            {"uuid": "XYZ"},
            400,
            '"Device UUID must be a 32 or 62 character long lower case hex string."',
        ),
        (
            {"uuid": "c" * 33},
            400,
            '"Device UUID must be a 32 or 62 character long lower case hex string."',
        ),
        ({"device_type": "nosuchtype"}, 404, '"Unknown device type nosuchtype"'),
        ({"uuid": UUID}, 409, '"uuid" must be unique.'),
        ({"uuid": UUID, "api_key": DEVICE}, 409, '"uuid" must be unique.'),
        ({"api_key": DEVICE}, 409, '"key" must be unique.'),
        ({"application": 999}, 401, None),
    ],
)
def test_a_registration_is_refused_as_recorded(
    changes: dict[str, Any], status: int, answer: str | None
) -> None:
    desk = Desk()
    response = register(desk, **changes)
    assert (response.status, response.body) == (status, answer)
    assert NEW not in desk.cloud.devices


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        (None, {"error": "API key required"}),
        ("no-such-key", {"error": "API key required"}),
        (DEVICE, None),
        (VPN, None),
    ],
)
def test_only_a_provisioning_key_registers(key: str | None, answer: Any) -> None:
    response = register(Desk(), key)
    assert (response.status, response.body) == (401, answer)


def test_the_provisioning_key_may_come_in_the_query() -> None:
    desk = Desk()
    query = {"apikey": PROVISIONING}
    assert desk.ask("POST", "/device/register", None, body(desk), query=query).status == 201


@pytest.mark.parametrize("key", [DEVICE, "another-key"])
def test_a_deleted_device_cannot_be_registered_again(key: str) -> None:
    desk = Desk()
    desk.tell(DeleteDevice(uuid=UUID))
    response = register(desk, uuid=UUID, api_key=key)
    assert (response.status, response.body) == (409, '"key" must be unique.')


def test_a_preregistered_device_is_inactive_until_it_speaks_to_the_api() -> None:
    desk = Desk(contacted=False)
    assert desk.see("overall_status") == "inactive"
    desk.poll(key=USER)
    desk.ask("GET", f"/services/vpn/auth/{UUID}", DEVICE)
    desk.cloudlink("connect")
    assert desk.see("overall_status") == "inactive"
    desk.poll()
    assert desk.see("is_active")
    assert desk.see("overall_status") == "operational"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (Preregister(uuid=UUID, name="x", fleet=FLEET, api_key="free"), 409),
        (Preregister(uuid=NEW, name="x", fleet=FLEET, api_key=DEVICE), 409),
        (Preregister(uuid=NEW, name="x", fleet="none", api_key="free"), 404),
        (Preregister(uuid="short", name="x", fleet=FLEET, api_key="free"), 400),
        (Preregister(uuid=NEW, name="x", fleet=FLEET, api_key="free"), 201),
    ],
)
def test_a_preregistration_follows_the_same_rules(command: Preregister, status: int) -> None:
    assert Desk().send(command).status == status


# --- finding the id, and the exchange of keys ---------------------------------------------------


def find(desk: Desk, key: str | None, uuid: str = UUID) -> Any:
    query = {"$select": "id", "$filter": f"uuid eq '{uuid}'"}
    return desk.ask("GET", "/v7/device", key, query=query)


def test_a_device_finds_its_own_id_and_that_is_contact() -> None:
    desk = Desk(contacted=False)
    assert find(desk, DEVICE).body == {"d": [{"id": 1}]}
    assert desk.see("is_active")


@pytest.mark.parametrize(
    ("key", "uuid", "found"),
    [
        (PROVISIONING, UUID, [{"id": 1}]),
        (USER, UUID, [{"id": 1}]),
        (OTHER_DEVICE, UUID, []),
        (DEVICE, UNKNOWN_UUID, []),
    ],
)
def test_others_find_what_they_may_see(key: str, uuid: str, found: Any) -> None:
    desk = Desk(contacted=False)
    assert find(desk, key, uuid).body == {"d": found}
    assert not desk.see("is_active")


def test_finding_needs_a_known_key_and_the_one_shape() -> None:
    desk = Desk()
    for key in (None, "no-such-key", VPN):
        assert find(desk, key).status == 401
    assert desk.ask("GET", "/v7/device", USER).status == 400


def test_a_provisioning_key_gives_a_device_one_more_key() -> None:
    desk = Desk()
    path = "/api-key/device/1/device-key"
    assert desk.ask("POST", path, PROVISIONING, {"apiKey": "second"}).status == 200
    assert desk.poll(key="second").status == 200
    assert desk.poll(key=DEVICE).status == 200


@pytest.mark.parametrize("key", [None, "no-such-key", DEVICE, VPN, "foreign"])
def test_others_cannot_exchange_keys(key: str | None) -> None:
    desk = Desk()
    desk.tell(CreateFleet(name="second", uuid="2" * 32))
    desk.tell(AddKey(key="foreign", kind="provisioning", owner="second"))
    path = "/api-key/device/1/device-key"
    assert desk.ask("POST", path, key, {"apiKey": "second"}).status == 401


def test_a_key_in_use_elsewhere_cannot_be_taken() -> None:
    desk = Desk()
    path = "/api-key/device/1/device-key"
    assert desk.ask("POST", path, PROVISIONING, {"apiKey": OTHER_DEVICE}).status == 409
    assert desk.ask("POST", "/api-key/device/9/device-key", PROVISIONING, {}).status == 401
    assert desk.poll(uuid=OTHER_UUID, key=OTHER_DEVICE).status == 200


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (AddKey(key="k", kind="provisioning", owner="none"), 404),
        (AddKey(key="k", kind="device", owner=UNKNOWN_UUID), 404),
        (AddKey(key=DEVICE, kind="user", owner="x"), 409),
        (AddKey(key="k", kind="device", owner=UUID), 200),
    ],
)
def test_a_person_adds_keys_of_owners_that_exist(command: AddKey, status: int) -> None:
    assert Desk().send(command).status == status
