"""What other clients of balena ask: its JavaScript SDK, its command line, its dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.daemon.running import agent, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stub_cloud import Stub

UUIDS = ["1" * 32, "2" * 32, "3" * 32]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("uuid in ('{0}')", [0]),
        ("uuid in ( '{0}' )", [0]),
        ("uuid in ('{0}','{2}')", [0, 2]),
        ("id in (2)", [1]),
        ("id in (1,3)", [0, 2]),
        ("device_tag/any(t:t/tag_key in ('in(1)'))", [2]),
        ("device_tag/any(t:t/tag_key eq 'in(1)')", [2]),
        ("not(uuid in ('{0}'))", [1, 2]),
    ],
)
def test_a_list_may_hold_one(stub: Stub, text: str, found: list[int]) -> None:
    fleet = stub.fleet()
    devices = [fleet.device(uuid) for uuid in UUIDS]
    stub.post("device_tag", {"device": devices[2].id, "tag_key": "in(1)", "value": "x"})
    path = "/v7/device?$select=uuid&$orderby=id asc&$filter=" + text.format(*UUIDS)
    assert [row["uuid"] for row in stub.ask("GET", path).rows] == [UUIDS[at] for at in found]


def test_keys_are_made_under_either_version(stub: Stub) -> None:
    fleet = stub.fleet()
    body = {"actorType": "application", "actorTypeId": fleet.id, "roles": ["provisioning-api-key"]}
    fleet.provisioning_key = stub.ask("POST", "/api-key/v2/", body).json
    assert fleet.device(UUIDS[0]).poll().status == 200


@pytest.mark.parametrize("resource", ["team", "credit_bundle", "user__has__public_key"])
def test_what_the_stub_has_none_of_is_an_empty_list(stub: Stub, resource: str) -> None:
    assert stub.ask("GET", f"/v7/{resource}?$select=id").rows == []
    assert stub.ask("POST", f"/v7/{resource}", {"name": "x"}).status == 404


def test_the_names_of_variables_are_told(stub: Stub) -> None:
    told = stub.ask("GET", "/config/vars?deviceType=raspberrypi3", key=None).json
    assert told["reservedNamespaces"] == ["RESIN_", "BALENA_"]
    assert "BALENA_SUPERVISOR_POLL_INTERVAL" in told["configVarSchema"]["properties"]


def test_a_device_comes_up_from_a_downloaded_config(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet()
    body = {"appId": fleet.id, "version": "5.0.0", "network": "ethernet"}
    answer = stub.ask("POST", "/download-config", body)
    assert answer.status == 200
    assert answer.json["apiEndpoint"] == stub.url
    config = tmp_path / "config.json"
    config.write_bytes(answer.raw)
    with agent(config):
        path = "/v7/device?$select=api_heartbeat_state"
        until(lambda: stub.ask("GET", path).rows == [{"api_heartbeat_state": "online"}])


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"appId": None}, 400),
        ({"appId": 99}, 401),
        ({"deviceType": "nosuchtype"}, 404),
        ({"provisioningKeyExpiryDate": "2001-01-01T00:00:00Z"}, 400),
    ],
)
def test_a_config_that_cannot_be_made_is_refused(
    stub: Stub, more: dict[str, object], status: int
) -> None:
    fleet = stub.fleet()
    keys = len(stub.ask("GET", "/v7/api_key").rows)
    assert stub.ask("POST", "/download-config", {"appId": fleet.id, **more}).status == status
    assert len(stub.ask("GET", "/v7/api_key").rows) == keys


def test_a_config_holds_what_was_asked_for(stub: Stub) -> None:
    fleet = stub.fleet()
    body = {
        "appId": str(fleet.id),
        "network": "wifi",
        "wifiSsid": "Hall",
        "wifiKey": "secret",
        "appUpdatePollInterval": "20",
        "deviceType": "raspberrypi5",
        "developmentMode": True,
    }
    made = stub.ask("POST", "/download-config", body).json
    assert made["wifiSsid"] == "Hall"
    assert made["wifiKey"] == "secret"
    assert made["appUpdatePollInterval"] == 1_200_000
    assert made["deviceType"] == "raspberrypi5"
    assert made["developmentMode"] is True
    assert stub.ask("POST", "/download-config", body, key=None).status == 401
    assert stub.ask("POST", "/download-config", body, key=fleet.provisioning_key).status == 401


def test_a_client_may_want_no_row_back(stub: Stub) -> None:
    device = stub.fleet().device(UUIDS[0])
    body = {"device": device.id, "tag_key": "a", "value": "1"}
    answer = stub.ask("POST", "/v7/device_tag?returnResource=false", body)
    assert (answer.status, answer.json) == (201, {"id": 1})
    assert answer.headers["location"] == "/v7/device_tag(@id)?@id=1"


@pytest.mark.parametrize("key", ["", "a b", "io.balena.x", "io.resin.x"])
def test_a_tag_with_such_a_name_is_refused(stub: Stub, key: str) -> None:
    device = stub.fleet().device(UUIDS[0])
    body = {"device": device.id, "tag_key": key, "value": "1"}
    answer = stub.ask("POST", "/v7/device_tag", body)
    assert (answer.status, answer.json[:8]) == (400, "Tag keys")
    assert stub.ask("GET", "/v7/device_tag").rows == []
