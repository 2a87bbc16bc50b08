"""What the server acknowledged is there after it was killed, and nobody is shown gone for it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import pytest

from cloud_stub.server.run import again
from cloud_stub.settings import CloudSettings
from scenarios.bench_cloud import Fleet as Load
from scenarios.bench_cloud import stub as process
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    from pathlib import Path

UUID = "d94a49732bbae3105908d6442b4dcb59"
ROUNDS = int(os.environ.get("FIELDBEAT_CRASH_ROUNDS", "4"))
_FIELDS = (
    *("overall_status", "api_heartbeat_state", "is_connected_to_vpn", "status", "update_status"),
    *("os_version", "device_name", "is_pinned_on__release", "last_update_status_event"),
    *("is_active", "is_frozen", "note", "cpu_usage", "ip_address", "is_running__release"),
)


def test_everything_is_as_it_was_after_a_restart(tmp_path: Path, database: str) -> None:
    with running(tmp_path, db=database) as stub:
        fleet = stub.fleet()
        device = fleet.device(UUID)
        device.poll()
        image = {"image": fleet.images["a" * 32], "status": "Running"}
        releases = {"a" * 32: {"services": {"main": image}, "update_status": "done"}}
        apps = {fleet.uuid: {"release_uuid": "a" * 32, "releases": releases}}
        report = {"status": "Idle", "os_version": "balenaOS 5.0.0", "cpu_usage": 7, "apps": apps}
        assert device.report(report).status == 200
        stub.post("device_config_variable", {"device": device.id, "name": "BALENA_X", "value": "5"})
        stub.post("device_environment_variable", {"device": device.id, "name": "E", "value": "6"})
        stub.ask("PATCH", f"/v7/device({device.id})", {"note": "by the door", "is_frozen": False})
        stub.ask(
            "PATCH", f"/v7/device({device.id})", {"is_pinned_on__release": fleet.releases["a" * 32]}
        )
        gone = fleet.device("f" * 32)
        stub.ask("DELETE", f"/v7/device({gone.id})")
        before, state = device.row(*_FIELDS), device.poll()
    with running(tmp_path, db=database) as stub:
        again = device._replace(stub=stub)
        assert again.row(*_FIELDS) == before
        # the same target under the same ETag: a fleet does not download it anew
        assert again.poll(state.headers["etag"]).status == 304
        assert again.poll().json == state.json
        body = {"application": fleet.id, "uuid": "f" * 32, "device_type": "raspberrypi4-64"}
        assert stub.ask("POST", "/device/register", body, key=fleet.provisioning_key).status == 409
        third = fleet.__class__(stub, fleet.id, fleet.uuid, "")
        third.provisioning_key = fleet.provisioning_key
        assert third.device("e" * 32).id == gone.id + 1


def test_a_device_online_before_a_restart_has_a_whole_window_after_it(tmp_path: Path) -> None:
    with running(tmp_path) as stub:
        device = stub.fleet().device(UUID)
        device.poll()
        began_s = stub.server.desk.now_ms() / 1_000
    settings = replace(SETTINGS, cloud=CloudSettings())
    with running(tmp_path, settings) as stub:
        row = stub.server.desk.cloud.devices[UUID]
        assert row.heartbeat.value == "online"
        assert row.heartbeat_due_ms >= (began_s + 900) * 1_000


def test_an_api_that_restarts_alone_keeps_its_timers_and_its_tunnels(tmp_path: Path) -> None:
    """A window of 900 s that began before it goes on; VPN instances are the same ones."""
    settings = replace(SETTINGS, cloud=CloudSettings(), vpn=(("vpn1", "127.0.0.1", 0),))
    with running(tmp_path, settings) as stub:
        device = stub.fleet().device(UUID)
        device.poll()
        before, vpn = stub.server, stub.server.vpn.running["vpn1"]
        due_ms = before.desk.cloud.devices[UUID].heartbeat_due_ms
        assert stub.ask("POST", "/fieldbeat/v1/restart", {"down_for": 0}).status == 202
        stub.wait(before.restarting.wait())  # it is answered before it happens
        stub.server = stub.wait(again(before, before.settings, time.time))
        row = stub.server.desk.cloud.devices[UUID]
        assert (row.heartbeat.value, row.heartbeat_due_ms) == ("online", due_ms)
        assert stub.server.vpn.running == {"vpn1": vpn}
        # a key the VPN service had before is good
        assert device.poll().status == 200
        stub.wait(stub.server.close())


@pytest.mark.parametrize("down", ["soon", True, -1, None])
def test_a_restart_of_no_length_is_refused(tmp_path: Path, down: object) -> None:
    with running(tmp_path) as stub:
        answer = stub.ask("POST", "/fieldbeat/v1/restart", {"down_for": down})
        assert answer.status == 400
        assert stub.ask("POST", "/fieldbeat/v1/restart", {}, key="x").status == 401
        assert not stub.server.restarting.is_set()


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    with running(tmp_path):
        pass
    file = tmp_path / "cloud.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    command = [sys.executable, "-m", "scenarios", "cloud", "--db", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 2
    assert "later fieldbeat" in done.stderr
    assert "Traceback" not in done.stderr


class _Writers:
    """Threads that write without pause and remember what was acknowledged."""

    def __init__(self, load: Load, port: int, draws: random.Random) -> None:
        self._load = load
        self._port = port
        self._stop = threading.Event()
        self._draws = draws
        self.notes: dict[str, int] = {}
        self.variables: dict[str, str] = {}
        self.registered: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._report, self._configure, self._register)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _client(self) -> Load:
        client = Load.__new__(Load)
        client.__dict__ |= self._load.__dict__
        client.connect(self._port)
        return client

    def _each(self, work: Any) -> None:
        client, number = self._client(), 0
        try:
            while not self._stop.is_set():
                number += 1
                work(client, number)
        except (OSError, HTTPException, ValueError):
            pass  # the server was killed
        finally:
            client.close()

    def _report(self) -> None:
        uuids = list(self._load.keys)

        def work(client: Load, number: int) -> None:
            uuid = uuids[number % len(uuids)]
            body = {uuid: {"provisioning_progress": number}}
            client.ask("PATCH", "/device/v3/state", body, self._load.keys[uuid])
            self.notes[uuid] = number

        self._each(work)

    def _configure(self) -> None:
        base = self._draws.getrandbits(40)

        def work(client: Load, number: int) -> None:
            name = f"BALENA_V{base}_{number}"
            body = {"application": 1, "name": name, "value": str(number)}
            client.ask("POST", "/v7/application_config_variable", body)
            self.variables[name] = str(number)

        self._each(work)

    def _register(self) -> None:
        base = self._draws.getrandbits(64)

        def work(client: Load, number: int) -> None:
            uuid = f"{base:016x}{number:016x}"
            body = {"application": 1, "uuid": uuid, "device_type": "raspberrypi4-64"}
            answer = json.loads(
                client.ask("POST", "/device/register", body, self._load.provisioning_key)
            )
            self.registered[uuid] = answer["api_key"]

        self._each(work)


class _Devices(threading.Thread):
    """Devices that poll twice a second whatever happens to the server."""

    def __init__(self, load: Load) -> None:
        super().__init__(daemon=True)
        self.load = load
        self.port = load.port
        self.done = threading.Event()
        self.answered = 0

    def run(self) -> None:
        client = Load.__new__(Load)
        client.__dict__ |= self.load.__dict__
        client.connect(self.port)
        while not self.done.wait(0.5):
            if client.port != self.port:
                client.close()
                client.connect(self.port)
            for uuid, key in self.load.keys.items():
                try:
                    client.ask("GET", f"/device/v3/{uuid}/state", key=key)
                    self.answered += 1
                except (OSError, HTTPException):
                    client.close()
        client.close()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path, seed: int) -> None:
    draws = random.Random(seed)
    # a heartbeat window of 15 s: who misses it is seen, and a busy machine does not
    short = {"DEFAULT_SUPERVISOR_POLL_INTERVAL": "10000"}
    with process(tmp_path, **short) as (port, pid):
        load = Load(port).made(8)
        devices = _Devices(load)
        devices.start()
        writers = _Writers(load, port, draws)
        writers.start()
        _wait_for(lambda: devices.answered > 8 and writers.registered and writers.variables)
        devices.done.wait(draws.uniform(0.0, 1.0))
        os.kill(pid, signal.SIGKILL)
        writers.stop()
    with process(tmp_path, **short) as (port, _):
        before, devices.port = devices.answered, port
        load.close()
        load.connect(port)
        for uuid, number in writers.notes.items():
            path = f"/v7/device(uuid='{uuid}')?$select=provisioning_progress"
            assert load.rows(path)[0]["provisioning_progress"] >= number
        names = load.rows("/v7/application_config_variable?$select=name,value")
        assert writers.variables.items() <= {row["name"]: row["value"] for row in names}.items()
        for uuid, key in writers.registered.items():
            assert load.ask("GET", f"/device/v3/{uuid}/state", key=key)
        _wait_for(lambda: devices.answered >= before + 8 * 33)  # 16 s: more than a window
        load.close()  # it was idle: the server may have closed it by now
        page = json.loads(load.ask("GET", "/fieldbeat/v1/events?field=api_heartbeat_state"))
        gone = [event for event in page["events"] if event["to"] != "online"]
        assert [event for event in gone if event["device"] in load.keys] == []
        devices.done.set()
        devices.join(60)
        load.close()


def _wait_for(condition: Any) -> None:
    until_s = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.02)
