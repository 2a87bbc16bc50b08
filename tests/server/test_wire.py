"""Over HTTP the stub answers as the open-source API was recorded to (``WIRE.md``)."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.stub_cloud import VPN_KEY

if TYPE_CHECKING:
    from tests.stub_cloud import Device, Stub

UUID = "d94a49732bbae3105908d6442b4dcb59"
OTHER = "f0cf8b7bb93865fff41ab950ad73e452"
BAD_PAGE = b"<pre>Bad Request</pre>"


@pytest.fixture
def device(stub: Stub) -> Device:
    return stub.fleet().device(UUID)


def test_a_password_gives_a_token_as_text_and_a_wrong_one_an_empty_401(stub: Stub) -> None:
    assert stub.token.count(".") == 2
    wrong = stub.ask("POST", "/login_", {"username": "qa@example.com", "password": "x"}, key=None)
    assert (wrong.status, wrong.raw) == (401, b"")


def test_a_device_is_inactive_until_it_speaks(device: Device) -> None:
    assert device.row("overall_status") == {"overall_status": "inactive"}
    device.poll()
    assert device.row("api_heartbeat_state", "is_active") == {
        "api_heartbeat_state": "online",
        "is_active": True,
    }


def test_the_target_state_names_the_release_and_its_image(device: Device) -> None:
    answer = device.poll()
    app = answer.json[UUID]["apps"][device.fleet.uuid]
    (commit,) = app["releases"]
    service = app["releases"][commit]["services"]["main"]
    assert commit == "a" * 32
    assert service["image"] == device.fleet.images[commit]
    assert answer.headers["etag"].startswith('W/"')


def test_an_unchanged_target_is_an_empty_304_and_a_heartbeat(device: Device) -> None:
    etag = device.poll().headers["etag"]
    answer = device.poll(etag)
    assert (answer.status, answer.raw, answer.headers["etag"]) == (304, b"", etag)


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("{etag}", 304),
        ('W/"1-x", {etag}', 304),
        ("{bare}", 304),
        ("*", 304),
        ('W/"1-x"', 200),
        ("", 200),
    ],
)
@pytest.mark.parametrize("path", [f"/device/v3/{UUID}/state", f"/v7/device(uuid='{UUID}')"])
def test_an_etag_is_known_alone_in_a_list_and_without_its_weakness(
    stub: Stub, device: Device, path: str, known: str, status: int
) -> None:
    device.poll()
    etag = stub.ask("GET", path).headers["etag"]
    shown = known.format(etag=etag, bare=etag.removeprefix("W/"))
    answer = stub.ask("GET", path, headers={"If-None-Match": shown})
    assert answer.status == status
    assert (answer.raw == b"") == (status == 304)
    assert answer.headers["etag"] == etag


def test_a_head_has_the_headers_of_the_get(stub: Stub, device: Device) -> None:
    path = f"/device/v3/{UUID}/state"
    got = stub.ask("GET", path, key=device.key)
    head = stub.ask("HEAD", path, key=device.key)
    assert head.raw == b""
    for name in ("content-type", "content-length", "etag"):
        assert head.headers[name] == got.headers[name]


def test_head_answers_without_a_body_and_counts_as_a_heartbeat(stub: Stub, device: Device) -> None:
    answer = stub.ask("HEAD", f"/device/v3/{UUID}/state", key=device.key)
    assert (answer.status, answer.raw) == (200, b"")
    assert device.row("api_heartbeat_state") == {"api_heartbeat_state": "online"}


@pytest.mark.parametrize(
    ("key", "status"), [("none", 401), ("unknown", 401), ("other", 401), ("provisioning", 401)]
)
def test_a_target_state_is_for_its_device_and_its_people(
    stub: Stub, device: Device, key: str, status: int
) -> None:
    other = device.fleet.device(OTHER)
    keys = {"none": None, "unknown": "x", "other": other.key}
    given = keys.get(key, device.fleet.provisioning_key)
    answer = stub.ask("GET", f"/device/v3/{UUID}/state", key=given)
    assert (answer.status, answer.raw) == (status, b"")
    assert stub.ask("GET", f"/device/v3/{UUID}/state").status == 200  # a person of the fleet
    assert device.row("api_heartbeat_state") == {"api_heartbeat_state": "unknown"}


def test_a_person_of_another_organization_sees_nothing(stub: Stub, device: Device) -> None:
    stranger = _person(stub)
    assert stub.ask("GET", f"/device/v3/{UUID}/state", key=stranger).status == 401
    assert stub.ask("GET", "/v7/device", key=stranger).rows == []
    assert stub.ask("GET", "/v7/device/$count", key=stranger).json == {"d": 0}
    assert (
        stub.ask("PATCH", f"/v7/device(uuid='{UUID}')", {"note": "x"}, key=stranger).status == 200
    )
    assert device.row("note") == {"note": None}
    body = {"uuid": UUID, "data": {}}
    refused = stub.ask("POST", "/supervisor/v1/reboot", body, key=stranger)
    assert (refused.status, refused.json) == (404, "No online device(s) found")


def _person(stub: Stub, name: str = "guest") -> str:
    body = {"username": name, "email": f"{name}@example.com", "password": "another password"}
    assert stub.ask("POST", "/fieldbeat/v1/users", body).status == 201
    login = {"username": name, "password": "another password"}
    return stub.ask("POST", "/login_", login, key=None).raw.decode()


def test_an_unknown_device_is_304_before_any_look_at_the_key(stub: Stub) -> None:
    answer = stub.ask("GET", f"/device/v3/{'f' * 32}/state", key=None)
    assert (answer.status, answer.raw) == (304, b"")
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"status": "Idle"}, 200),
        ({"status": 5}, 400),
        ({"provisioning_progress": 12.5}, 400),
        ({"apps": {"nosuch": {"releases": {"c": {"services": {}}}}}}, 401),
        ({"unknown_field": 1}, 200),
    ],
)
def test_reports_are_taken_or_refused_as_recorded(device: Device, body: Any, status: int) -> None:
    answer = device.report(body)
    assert (answer.status, answer.raw) == (status, b"")


def test_a_report_is_stored_and_shown(device: Device) -> None:
    services = {"main": {"image": device.fleet.images["a" * 32], "status": "Running"}}
    releases = {"a" * 32: {"services": services, "update_status": "done"}}
    device.report({"status": "Idle", "apps": {device.fleet.uuid: {"releases": releases}}})
    row = device.stub.ask(
        "GET",
        f"/v7/device(uuid='{UUID}')?$select=update_status&$expand=image_install($select=status)",
    ).rows[0]
    assert row == {"update_status": "done", "image_install": [{"status": "Running"}]}


def test_a_compressed_report_is_read(stub: Stub, device: Device) -> None:
    raw = gzip.compress(json.dumps({UUID: {"status": "Idle"}}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = stub.ask("PATCH", "/device/v3/state", key=device.key, headers=headers, raw=raw)
    assert answer.status == 200
    assert device.row("status") == {"status": "Idle"}


@pytest.mark.parametrize(
    ("raw", "kind", "status", "text"),
    [
        (b"{bad", "application/json", 400, BAD_PAGE),
        (
            b'{"a":' + b"1" * 600_000 + b"}",
            "application/json",
            413,
            b"<pre>Payload Too Large</pre>",
        ),
        (b'{"x":{"status":"Idle"}}', "text/plain", 401, b""),
        (b'"text"', "application/json", 400, BAD_PAGE),
        (b"\xff\xfe{}", "application/json", 400, BAD_PAGE),
    ],
)
def test_bodies_that_cannot_be_read_get_the_recorded_page(
    stub: Stub, device: Device, raw: bytes, kind: str, status: int, text: bytes
) -> None:
    headers = {"Content-Type": kind}
    answer = stub.ask("PATCH", "/device/v3/state", key=device.key, headers=headers, raw=raw)
    assert answer.status == status
    assert text in answer.raw


def test_without_a_key_the_error_says_so(stub: Stub, device: Device) -> None:
    answer = stub.ask("PATCH", "/device/v3/state", {UUID: {"status": "Idle"}}, key=None)
    assert (answer.status, answer.json) == (401, {"error": "API key required"})


def test_registering_twice_is_a_conflict(stub: Stub, device: Device) -> None:
    body = {"application": device.fleet.id, "uuid": UUID, "device_type": "raspberrypi4-64"}
    answer = stub.ask("POST", "/device/register", body, key=device.fleet.provisioning_key)
    assert (answer.status, answer.raw) == (409, b'"uuid" must be unique.')
    assert answer.headers["content-type"].startswith("text/html")


def test_the_vpn_service_moves_the_tunnel_and_a_stale_one_does_not(
    stub: Stub, device: Device
) -> None:
    first, second = (
        stub.ask("POST", "/v7/service_instance", key=VPN_KEY).json["id"] for _ in range(2)
    )
    assert stub.ask("GET", f"/services/vpn/auth/{UUID}", key=device.key).status == 200

    def tell(event: str, instance: int) -> int:
        body = {"uuids": [UUID], "serviceId": instance}
        return stub.ask("POST", f"/services/vpn/client-{event}", body, key=VPN_KEY).status

    assert tell("connect", first) == 200
    assert tell("connect", second) == 200
    assert tell("disconnect", first) == 200  # stale
    assert device.row("is_connected_to_vpn") == {"is_connected_to_vpn": True}
    row = stub.ask(
        "GET",
        f"/v7/device(uuid='{UUID}')?$select=id&$expand=is_managed_by__service_instance($select=id)",
    ).rows[0]
    assert row["is_managed_by__service_instance"] == [{"id": second}]
    assert tell("connect", 99) == 409


def test_an_action_without_a_tunnel_finds_no_device(stub: Stub, device: Device) -> None:
    answer = stub.ask("POST", "/supervisor/v1/reboot", {"deviceId": device.id, "data": {}})
    assert (answer.status, answer.json) == (404, "No online device(s) found")


def test_variables_of_all_levels_reach_the_target_state(stub: Stub, device: Device) -> None:
    fleet = device.fleet
    stub.post(
        "application_environment_variable", {"application": fleet.id, "name": "A", "value": "1"}
    )
    stub.post("service_environment_variable", {"service": fleet.service, "name": "B", "value": "2"})
    stub.post("device_environment_variable", {"device": device.id, "name": "A", "value": "3"})
    install = stub.ask("GET", f"/v7/service_install?$filter=device eq {device.id}").rows[0]["id"]
    body = {"service_install": install, "name": "C", "value": "4"}
    stub.post("device_service_environment_variable", body)
    stub.post("device_config_variable", {"device": device.id, "name": "BALENA_X", "value": "5"})
    state = device.poll().json[UUID]
    service = state["apps"][fleet.uuid]["releases"]["a" * 32]["services"]["main"]
    assert service["environment"] == {"A": "3", "B": "2", "C": "4"}
    assert state["config"]["BALENA_X"] == "5"
    stub.ask("DELETE", f"/v7/device_environment_variable?$filter=device eq {device.id}")
    state = device.poll().json[UUID]
    service = state["apps"][fleet.uuid]["releases"]["a" * 32]["services"]["main"]
    assert service["environment"] == {"A": "1", "B": "2", "C": "4"}


def test_a_new_release_is_tracked_and_a_pin_holds_against_it(stub: Stub, device: Device) -> None:
    pin = {"is_pinned_on__release": device.fleet.releases["a" * 32]}
    stub.ask("PATCH", f"/v7/device({device.id})", pin)
    device.fleet.release("b" * 32, semver="1.1.0")
    assert "a" * 32 in device.poll().json[UUID]["apps"][device.fleet.uuid]["releases"]
    stub.ask("PATCH", f"/v7/device({device.id})", {"is_pinned_on__release": None})
    assert "b" * 32 in device.poll().json[UUID]["apps"][device.fleet.uuid]["releases"]


def test_logs_are_stored_and_bounded(stub: Stub, device: Device) -> None:
    lines = [{"message": f"line {number}", "timestamp": number} for number in range(1_200)]
    answer = stub.ask("POST", f"/device/v2/{UUID}/logs", lines[:600], key=device.key)
    assert answer.status == 201
    raw = gzip.compress("\n".join(json.dumps(line) for line in lines[600:]).encode())
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    path = f"/device/v2/{UUID}/log-stream"
    assert stub.ask("POST", path, key=device.key, headers=headers, raw=raw).status == 201
    stored = stub.ask("GET", f"/device/v2/{UUID}/logs").json
    assert stored[-1] == lines[-1]
    assert len(stored) <= 1_000
    newest = stub.ask("GET", f"/device/v2/{UUID}/logs?count=2").json
    assert newest == lines[-2:]


def test_a_deleted_device_cannot_come_back(stub: Stub, device: Device) -> None:
    assert stub.ask("DELETE", f"/v7/device(uuid='{UUID}')").status == 200
    assert device.poll().status == 304
    assert device.report({"status": "Idle"}).status == 401
    assert stub.ask("GET", f"/services/vpn/auth/{UUID}", key=device.key).status == 401
    body = {"application": device.fleet.id, "uuid": UUID, "device_type": "raspberrypi4-64"}
    answer = stub.ask("POST", "/device/register", body, key=device.fleet.provisioning_key)
    assert answer.status == 409


def test_the_old_name_of_a_pin_is_known_in_v6(stub: Stub, device: Device) -> None:
    release = device.fleet.releases["a" * 32]
    path = f"/v6/device(uuid='{UUID}')"
    assert stub.ask("PATCH", path, {"should_be_running__release": release}).status == 200
    assert device.row("is_pinned_on__release") == {"is_pinned_on__release": {"__id": release}}
    row = stub.ask("GET", path + "?$select=should_be_running__release").rows[0]
    assert row == {"should_be_running__release": {"__id": release}}


def test_an_expired_key_is_refused(stub: Stub, device: Device) -> None:
    body = {"actorType": "device", "actorTypeId": device.id, "roles": ["device-api-key"]}
    late = {**body, "expiryDate": "2001-01-01T00:00:00Z"}
    assert stub.ask("POST", "/api-key/v1/", late).status == 400
    good = {**body, "expiryDate": "2999-01-01T00:00:00Z"}
    key = stub.ask("POST", "/api-key/v1/", good).json
    assert stub.ask("GET", f"/device/v3/{UUID}/state", key=key).status == 200
    stub.server.desk._clock = lambda: 4e10  # the year 3237
    assert stub.ask("GET", f"/device/v3/{UUID}/state", key=key).status == 401


def test_keys_are_not_in_the_database_in_clear(stub: Stub, device: Device, tmp_path: Any) -> None:
    for file in tmp_path.glob("cloud.sqlite*"):
        raw = file.read_bytes()
        for secret in (
            device.key,
            device.fleet.provisioning_key,
            VPN_KEY,
            "a password of the test",
        ):
            assert secret.encode() not in raw
