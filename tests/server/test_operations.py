"""Running the server: TLS, health, metrics, faults, limits, shutdown, systemd."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cloud_stub.server.faults import SPARED
from cloud_stub.server.settings import SettingsError, cloud_settings
from cloud_stub.server.tls import development_authority, server_context
from tests.stub_cloud import SETTINGS, VPN_KEY, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.stub_cloud import Answered, Stub

UUID = "d94a49732bbae3105908d6442b4dcb59"
DEADLINE_S = 120


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    with running(tmp_path) as found:
        yield found


def test_it_is_healthy_while_the_store_takes_writes(stub: Stub) -> None:
    assert stub.ask("GET", "/healthz", key=None).json == {"ok": True}


def test_metrics_count_heartbeats_devices_and_requests(stub: Stub) -> None:
    device = stub.fleet().device(UUID)
    etag = device.poll().headers["etag"]
    device.poll(etag)
    device.report({"status": "Idle"})
    text = stub.ask("GET", "/metrics", key=None).raw.decode()
    assert "fieldbeat_heartbeats_total 2.0" in text
    assert 'fieldbeat_devices{api_heartbeat_state="online"} 1.0' in text
    assert 'fieldbeat_http_requests_total{route="/device/v3/state",status="200"} 1.0' in text


def test_a_development_authority_serves_https_that_clients_can_check(tmp_path: Path) -> None:
    pair = development_authority(tmp_path / "tls", ["127.0.0.1", "localhost"])
    with running(tmp_path, replace(SETTINGS, certificate=pair)) as stub:
        context = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.pem"))
        with urllib.request.urlopen(
            f"{stub.url}/ping", context=context, timeout=DEADLINE_S
        ) as answer:
            assert answer.read() == b"OK"
    assert (tmp_path / "tls" / "ca.key").stat().st_mode & 0o077 == 0


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nosuch\.pem"):
        server_context(str(tmp_path / "nosuch.pem"), str(tmp_path / "nosuch.key"))


def test_the_real_apis_variables_set_the_timings() -> None:
    given = {"DEFAULT_SUPERVISOR_POLL_INTERVAL": "2000", "API_HEARTBEAT_STATE_TIMEOUT_SECONDS": "3"}
    settings = cloud_settings(given, "balena-cloud")
    assert (settings.default_poll_interval_ms, settings.heartbeat_timeout_ms) == (2_000, 3_000)
    with pytest.raises(SettingsError, match="DEFAULT_SUPERVISOR_POLL_INTERVAL"):
        cloud_settings({"DEFAULT_SUPERVISOR_POLL_INTERVAL": "soon"}, "balena-cloud")


# --- bounds -------------------------------------------------------------------------------------


def _connect(stub: Stub) -> socket.socket:
    host, port = stub.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE_S)


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_sends_no_whole_head_is_cut_off(tmp_path: Path, sent: bytes) -> None:
    with running(tmp_path, replace(SETTINGS, slow_client_s=1)) as stub, _connect(stub) as slow:
        slow.sendall(sent)
        with contextlib.suppress(ConnectionResetError):  # what was sent came too late to be read
            assert slow.recv(1) == b""


def test_a_body_that_does_not_arrive_is_a_time_out(tmp_path: Path) -> None:
    head = b"POST /login_ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    # longer than it may take from the connection to what is sent on it
    with running(tmp_path, replace(SETTINGS, slow_client_s=3)) as stub, _connect(stub) as slow:
        slow.sendall(head + b'Content-Length: 100\r\n\r\n{"user')
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_connections_beyond_the_bound_are_told_to_come_back(tmp_path: Path) -> None:
    with running(tmp_path, replace(SETTINGS, connections_max=1)) as stub:
        with _connect(stub) as first:
            first.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert first.recv(100).startswith(b"HTTP/1.1 200 ")
            with _connect(stub) as second:
                assert second.recv(100).startswith(b"HTTP/1.1 503 ")
        until_s = time.monotonic() + DEADLINE_S
        while not _served(stub):  # until the server has seen that the first one is gone
            assert time.monotonic() < until_s
            time.sleep(0.01)


def _served(stub: Stub) -> bool:
    try:
        return stub.ask("GET", "/ping", key=None).status == 200
    except OSError:  # refused before it was sent whole
        return False


# --- faults -------------------------------------------------------------------------------------


def _put(stub: Stub, faults: Any) -> None:
    assert stub.ask("PUT", "/fieldbeat/v1/faults", faults).status == 200


def test_a_fault_hits_one_device_and_not_another(stub: Stub) -> None:
    fleet = stub.fleet()
    one, other = fleet.device(UUID), fleet.device("f" * 32)
    _put(stub, {"api": [{"device": UUID, "state": "error", "status": 503, "retry_after": 30}]})
    refused = one.poll()
    assert (refused.status, refused.headers["retry-after"]) == (503, "30")
    assert one.report({"status": "Idle"}).status == 503
    spared = stub.ask("GET", f"/device/v3/{UUID}/state", key=one.key, headers={SPARED: "1"})
    assert spared.status == 200
    assert other.poll().status == 200
    assert stub.ask("DELETE", "/fieldbeat/v1/faults").status == 200
    assert one.poll().status == 200


def test_faults_of_the_registry_and_of_the_api_are_apart(stub: Stub) -> None:
    device = stub.fleet().device(UUID)
    _put(stub, {"registry": [{"state": "error", "status": 500}]})
    assert stub.ask("GET", "/v2/", key=None).status == 500
    assert stub.ask("GET", "/auth/v1/token", key=None).status == 500
    assert device.poll().status == 200
    _put(stub, {"api": [{"state": "error", "status": 500}]})
    assert stub.ask("GET", "/v2/", key=None).status == 401
    assert device.poll().status == 500


def test_a_cut_connection_has_no_answer(stub: Stub) -> None:
    device = stub.fleet().device(UUID)
    _put(stub, {"api": [{"state": "down"}]})
    with pytest.raises(OSError):  # noqa: PT011  # whatever the library makes of it
        device.poll()


def test_a_hanging_api_answers_when_it_is_well_again(stub: Stub) -> None:
    device = stub.fleet().device(UUID)
    _put(stub, {"api": [{"state": "hang", "device": UUID}]})
    host, port = stub.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as waiting:
        waiting.sendall(
            f"GET /device/v3/{UUID}/state HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {device.key}\r\n\r\n".encode()
        )
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        stub.ask("DELETE", "/fieldbeat/v1/faults")
        waiting.settimeout(DEADLINE_S)
        assert waiting.recv(1) == b""


def test_slow_answers_are_slow_for_as_long_as_was_asked(stub: Stub) -> None:
    device = stub.fleet().device(UUID)
    _put(stub, {"api": [{"latency": 0.3, "device": UUID}]})
    began_s = time.monotonic()
    assert device.poll().status == 200
    assert time.monotonic() - began_s >= 0.3


def test_vpn_servers_that_go_down_report_their_clients_gone(stub: Stub) -> None:
    device = stub.fleet().device(UUID)
    instance = stub.ask("POST", "/v7/service_instance", key=VPN_KEY).json["id"]
    body = {"uuids": [UUID], "serviceId": instance}
    stub.ask("POST", "/services/vpn/client-connect", body, key=VPN_KEY)
    assert device.row("is_connected_to_vpn") == {"is_connected_to_vpn": True}
    _put(stub, {"vpn_server": "down"})
    assert device.row("is_connected_to_vpn") == {"is_connected_to_vpn": False}
    assert stub.ask("GET", f"/services/vpn/auth/{UUID}", key=device.key).status == 503


def test_an_incident_is_had_until_the_faults_are_others(stub: Stub) -> None:
    device = stub.fleet().device(UUID)
    first, second = (
        stub.ask("POST", "/v7/service_instance", key=VPN_KEY).json["id"] for _ in range(2)
    )

    def told(word: str, instance: int) -> Any:
        body = {"uuids": [UUID], "serviceId": instance}
        stub.ask("POST", f"/services/vpn/client-{word}", body, key=VPN_KEY)
        return device.row("is_connected_to_vpn")["is_connected_to_vpn"]

    told("connect", first)
    _put(stub, {"incidents": ["stale-disconnect"]})
    assert told("disconnect", second) is False
    assert told("connect", first) is True
    _put(stub, {})
    assert told("disconnect", second) is True
    answer = stub.ask("PUT", "/fieldbeat/v1/faults", {"incidents": ["odd"]})
    assert (answer.status, "incidents.0" in answer.json) == (400, True)


@pytest.mark.parametrize(
    ("faults", "named"),
    [({"api": [{"state": "odd"}]}, "api.0.state"), ({"dns": "down"}, "dns"), ([], "valid")],
)
def test_a_fault_that_is_not_understood_is_named(stub: Stub, faults: Any, named: str) -> None:
    answer = stub.ask("PUT", "/fieldbeat/v1/faults", faults)
    assert answer.status == 400
    assert named in answer.json


def test_faults_are_for_the_administrator(stub: Stub) -> None:
    device = stub.fleet().device(UUID)
    assert stub.ask("PUT", "/fieldbeat/v1/faults", {}, key=None).status == 401
    assert stub.ask("PUT", "/fieldbeat/v1/faults", {}, key=device.key).status == 403


# --- limits -------------------------------------------------------------------------------------


def test_too_many_requests_of_a_key_are_told_when_to_come_back(tmp_path: Path) -> None:
    with running(tmp_path, replace(SETTINGS, requests_per_s=1)) as stub:
        device = stub.fleet().device(UUID)
        assert device.poll().status == 200
        refused = _when_refused(device.poll)
        assert int(refused.headers["retry-after"]) >= 1


def test_guessing_passwords_is_slowed_down(stub: Stub) -> None:
    guess = {"username": "admin", "password": "guess"}
    assert stub.ask("POST", "/login_", guess, key=None).status == 401
    refused = _when_refused(lambda: stub.ask("POST", "/login_", guess, key=None))
    assert int(refused.headers["retry-after"]) >= 1


def _when_refused(ask: Callable[[], Answered]) -> Answered:
    """The first answer that one asked too often; how many there are before is a matter of pace."""
    until_s = time.monotonic() + DEADLINE_S
    while (answer := ask()).status != 429:
        assert time.monotonic() < until_s
    return answer


# --- as a program -------------------------------------------------------------------------------


@contextmanager
def _program(folder: Path, *more: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A server; it has ended afterwards, whatever the test finds."""
    command = [sys.executable, "-m", "scenarios", "cloud", "--listen", "127.0.0.1:0"]
    command += ["--db", str(folder / "cloud.sqlite"), *more]
    clean = {name: value for name, value in os.environ.items() if "FIELDBEAT" not in name}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, **variables},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_first_start_prints_what_it_made_once_and_stops_on_a_signal(tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        with _program(tmp_path) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "listens on" in line:
                    break
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        said.append("".join(lines))
    assert "admin password" in said[0]
    assert "VPN service key" in said[0]
    assert "password" not in said[1]


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        channel.settimeout(DEADLINE_S)
        with _program(tmp_path, NOTIFY_SOCKET=str(address), WATCHDOG_USEC="200000") as process:
            assert channel.recv(1_000).startswith(b"READY=1")
            assert channel.recv(1_000) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            told = [channel.recv(1_000)]
            while told[-1] != b"STOPPING=1":
                told.append(channel.recv(1_000))
            assert process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--listen", "nowhere"], 2, "HOST:PORT"),
        (["--tls", "one-file"], 2, "CERT,KEY"),
        (["--mqtt", "http://x"], 2, "mqtt://"),
        (["--db", "nosuchdriver://x/y"], 2, "cannot open the database"),
        (["--db", "/nosuch/folder/x.sqlite"], 2, "cannot open the database"),
        (["--listen", "203.0.113.1:80"], 3, "cannot listen"),
    ],
)
def test_a_wrong_flag_is_one_line_and_an_exit_status(
    tmp_path: Path, flags: list[str], status: int, words: str
) -> None:
    with _program(tmp_path, *flags) as process:
        _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == status
    assert words in told
    assert "Traceback" not in told


def test_logs_can_be_json(tmp_path: Path) -> None:
    with _program(tmp_path, "--log", "json", "--mqtt", "mqtt://127.0.0.1:1") as process:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert line["level"] == "warning"
    assert "MQTT broker" in line["message"]
