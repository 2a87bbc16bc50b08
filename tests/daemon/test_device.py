"""``fieldbeat agent`` against a real stub: registration, what it keeps, its API, its end."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon.running import DEADLINE_S, agent, command, config_file, until
from tests.stub_cloud import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stub_cloud import Stub

FIELDS = "overall_status,api_heartbeat_state,update_status,memory_total,supervisor_version"


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with running(tmp_path_factory.mktemp("stub")) as found:
        yield found


def _row(stub: Stub, uuid: str) -> dict[str, Any]:
    rows = stub.ask("GET", f"/v7/device?$filter=uuid eq '{uuid}'&$select=id,{FIELDS}").rows
    return rows[0] if rows else {}


def _installed(stub: Stub, uuid: str) -> dict[str, Any]:
    """The row of a device that has told of the end of its update: a slow one tells more before."""
    row = _row(stub, uuid)
    return row if row.get("update_status") == "done" else {}


def test_a_device_registers_reports_and_installs_its_release(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("registers")
    with agent(config_file(tmp_path, stub, fleet)) as found:
        until(lambda: "deviceId" in json.loads(found.config.read_text()))
        row = until(lambda: _installed(stub, found.uuid))
        assert row["api_heartbeat_state"] == "online"
        assert row["memory_total"] > 0
        written = json.loads(found.config.read_text())
        assert written["deviceId"] == row["id"]
        assert "apiKey" not in written
        assert written["applicationName"] == "Plant-7"
        assert found.state["current_commits"] == {fleet.uuid: "a" * 32}
        assert found.config.stat().st_mode & 0o077 == 0
    assert found.process.returncode == 0


def test_a_restarted_device_is_the_same_device(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("restarts")
    config = config_file(tmp_path, stub, fleet)
    with agent(config) as found:
        until(lambda: found.config.exists() and "deviceId" in json.loads(config.read_text()))
        uuid = found.uuid
        until(lambda: _row(stub, uuid).get("api_heartbeat_state") == "online")
    with agent(config) as found:
        until(lambda: found.ask("GET", "/v1/healthy")[0] == 200)
        assert found.uuid == uuid
    owned = stub.ask("GET", f"/v7/device?$filter=belongs_to__application eq {fleet.id}").rows
    assert [row["uuid"] for row in owned] == [uuid]


def test_a_preregistered_device_uses_its_own_key(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("before")
    device = fleet.device("7" * 32)
    own = {"uuid": device.uuid, "deviceApiKey": device.key, "registered_at": 1, "apiKey": None}
    config = config_file(tmp_path, stub, fleet, **own)
    with agent(config) as found:
        until(lambda: _row(stub, device.uuid)["api_heartbeat_state"] == "online")
        assert json.loads(found.config.read_text())["deviceId"] == device.id


def test_the_supervisor_api_asks_for_its_key(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("asks")
    with agent(config_file(tmp_path, stub, fleet)) as found:
        until(lambda: _installed(stub, found.uuid))
        assert found.ask("GET", "/ping") == (200, "OK")
        assert found.ask("GET", "/v1/device")[0] == 401
        assert found.ask("GET", "/v1/device", key="wrong")[0] == 401
        secret = found.state["api_secret"]
        status, device = found.ask("GET", "/v1/device", key=secret)
        assert (status, device["commit"]) == (200, "a" * 32)
        status, state = found.ask("GET", "/v2/state/status", key=secret)
        assert (status, state["appState"]) == (200, "applied")
        assert found.ask("GET", f"/v2/version?apikey={secret}")[1]["version"] == "19.0.5"
        assert found.ask("POST", "/v1/update", {"force": False}, secret)[0] == 204
        assert found.ask("POST", "/v1/restart", {"appId": fleet.id}, secret)[0] == 200
        status, fresh = found.ask("POST", "/v1/regenerate-api-key", {}, secret)
        assert status == 200
        assert found.ask("GET", "/v1/device", key=secret)[0] == 401
        assert found.ask("GET", "/v1/device", key=fresh)[0] == 200


def test_tags_and_host_name_are_kept_and_tags_reach_the_cloud(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("tags")
    config = config_file(tmp_path, stub, fleet)
    with agent(config) as found:
        until(lambda: _installed(stub, found.uuid))
        secret = found.state["api_secret"]
        tags = {"site": "north", "row's": "1"}
        assert found.ask("PATCH", "/v2/device/tags", tags, secret)[0] == 200

        def told() -> dict[str, str]:
            status, answer = found.ask("GET", "/v2/device/tags", key=secret)
            assert (status, answer["status"]) == (200, "success")
            return {tag["name"]: tag["value"] for tag in answer["tags"]}

        until(lambda: told() == tags)
        network = {"network": {"hostname": "pump"}}
        assert found.ask("PATCH", "/v1/device/host-config", network, secret) == (200, "OK")
    with agent(config) as found:
        assert found.ask("GET", "/v1/device/host-config", key=secret) == (200, network)


def test_the_journal_is_given_as_it_comes(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "bin" / "journalctl"
    journal.parent.mkdir()
    journal.write_text('#!/bin/sh\necho "$@"\n')
    journal.chmod(0o755)
    monkeypatch.setenv("PATH", str(journal.parent), prepend=":")
    with agent(config_file(tmp_path, stub, stub.fleet("journal"))) as found:
        until((tmp_path / "fieldbeat" / "state.json").exists)
        secret = found.state["api_secret"]
        asked = {"count": 5, "unit": "openvpn", "follow": "false", "all": True}
        status, said = found.ask("POST", "/v2/journal-logs", asked, secret)
        assert found.ask("POST", "/v2/journal-logs", asked)[0] == 401
    assert (status, said) == (200, "--no-pager --all --lines=5 --unit=openvpn --output=short\n")


def test_shut_down_ends_the_program_and_reboot_does_not(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("leaves")
    with agent(config_file(tmp_path, stub, fleet)) as found:
        until(lambda: _installed(stub, found.uuid))
        secret = found.state["api_secret"]
        kept_in_memory = tmp_path / "fieldbeat" / "run" / "services" / str(fleet.id) / "main" / "x"
        kept_in_memory.touch()
        assert found.ask("POST", "/v1/reboot", {}, secret)[0] == 202
        until(lambda: not kept_in_memory.exists())
        until(lambda: found.ask("GET", "/v1/healthy")[0] == 200)
        until(lambda: found.ask("POST", "/v1/shutdown", {}, secret)[0] == 202)
        assert found.process.wait(DEADLINE_S) == 0


def test_a_fleet_in_one_process_comes_up_and_comes_back(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("many")
    config = config_file(tmp_path, stub, fleet)
    path = f"/v7/device?$filter=belongs_to__application eq {fleet.id}&$select=uuid,update_status"
    uuids = []
    for _ in range(2):
        process = subprocess.Popen(
            command(config, "--devices", "20", "--seed", "5"), stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "20 devices are starting\n"
            rows = until(
                lambda: (
                    len(rows := stub.ask("GET", path).rows) == 20
                    and all(row["update_status"] == "done" for row in rows)
                    and rows
                )
            )
            uuids.append(sorted(row["uuid"] for row in rows))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
            process.stdout.close()
    assert uuids[0] == uuids[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config.json:1:2: is not JSON"),
        ("[]", "must hold a JSON object"),
        ('{"deviceType": "x"}', "apiEndpoint: is missing"),
        ('{"apiEndpoint": "api.x", "deviceType": "x"}', "apiEndpoint: must begin with https://"),
        ('{"apiEndpoint": "http://x", "deviceType": "x", "uuid": "ABC"}', "uuid: must be 32"),
        ('{"apiEndpoint": "http://x", "deviceType": "x", "listenPort": 0}', "listenPort:"),
        (
            '{"apiEndpoint": "http://x", "deviceType": "x", "balenaRootCA": "?"}',
            "balenaRootCA must be base64",
        ),
        (None, "there is no such file"),
    ],
)
def test_a_wrong_config_is_named_with_its_place(
    tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    done = subprocess.run(command(path), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "fieldbeat").exists()


def test_an_api_that_is_away_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    values = {"apiEndpoint": "http://127.0.0.1:9", "deviceType": "x", "bootstrapRetryDelay": 50}
    path.write_text(json.dumps({**values, "applicationId": 1, "apiKey": "k"}))
    process = subprocess.Popen(
        command(path, "--log", "json"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stderr is not None
        lines = [json.loads(process.stderr.readline()) for _ in range(2)]
        assert "Cannot connect to host 127.0.0.1:9" in lines[0]["message"]
        assert lines[1]["message"] == "provisioning failed at register: refused"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        process.stderr.close()


def test_once_ends_after_a_poll_and_a_report(stub: Stub, tmp_path: Path) -> None:
    fleet = stub.fleet("once")
    config = config_file(tmp_path, stub, fleet)
    done = subprocess.run(
        command(config, "--once"), capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr
    row = _row(stub, json.loads(config.read_text())["uuid"])
    assert row["api_heartbeat_state"] == "online"
    assert row["memory_total"] > 0


def test_a_dry_run_shows_requests_without_keys_and_leaves_no_trace(
    stub: Stub, tmp_path: Path
) -> None:
    fleet = stub.fleet("dry-run")
    config = config_file(tmp_path, stub, fleet)
    before = config.read_text()
    done = subprocess.run(
        command(config, "--dry-run"),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["method"], one["path"]) for one in shown] == [("POST", "/device/register")]
    assert fleet.provisioning_key not in done.stdout
    assert config.read_text() == before
    assert list(tmp_path.iterdir()) == [config]
    path = f"/v7/device?$filter=belongs_to__application eq {fleet.id}"
    assert stub.ask("GET", path).rows == []
