"""Supervisor and cloudlink as two processes, as on a board."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from agent.daemon.processes import marked
from tests.daemon.running import Agent, agent, until
from tests.tunnel.test_cloudlink import _connected, _device, _known, cloud, vpn_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stub_cloud import Stub


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _unit(config: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    words = ("agent", "--config", str(config), "--listen", f"127.0.0.1:{port}")
    process = subprocess.Popen(
        [sys.executable, "-m", "scenarios", *words, "--part", "cloudlink"],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def _board(folder: Path, stub: Stub) -> Iterator[tuple[Path, int]]:
    """A unit that runs; config.json and the supervisor's port."""
    port = _free_port()
    config = vpn_config(folder, stub, stub.fleet(), listenPort=port)
    try:
        with _unit(config, port):
            yield config, port
    finally:
        # services outlive a supervisor that is a process of its own
        for known in marked(str((config.parent / "fieldbeat" / "containers").resolve())).values():
            os.kill(known.pid, signal.SIGKILL)


def _supervisor(config: Path, port: int) -> Agent:
    """One that runs on until it is killed."""
    words = ("agent", "--config", str(config), "--listen", f"127.0.0.1:{port}")
    process = subprocess.Popen(
        [sys.executable, "-m", "scenarios", *words, "--part", "supervisor"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    return Agent(process, config, port)


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    with cloud(tmp_path) as found:
        yield found


def test_cloudlink_stays_when_the_supervisor_is_killed_and_calls_wait_for_it(
    tmp_path: Path, stub: Stub
) -> None:
    with _board(tmp_path, stub) as (config, port):
        first = _supervisor(config, port)
        uuid = _known(stub, first)
        until(lambda: _connected(stub, uuid))
        until(lambda: stub.ask("POST", "/supervisor/v1/blink", {"uuid": uuid}).status == 200)
        since = _device(stub, uuid)["last_vpn_event"]
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        second = _supervisor(config, port)
        try:
            until(lambda: stub.ask("POST", "/supervisor/v1/blink", {"uuid": uuid}).status == 200)
            assert _device(stub, uuid)["last_vpn_event"] == since
        finally:
            second.process.terminate()
            second.process.wait(60)


def test_the_supervisor_switches_the_unit_and_is_told_of_it(tmp_path: Path, stub: Stub) -> None:
    with _board(tmp_path, stub) as (config, port):
        found = _supervisor(config, port)
        try:
            uuid = _known(stub, found)
            until(lambda: _connected(stub, uuid))
            secret = found.state["api_secret"]

            def told() -> bool:
                vpn = found.ask("GET", "/v2/device/vpn", key=secret)[1]["vpn"]
                return bool(vpn["connected"])

            until(told)
            number = _device(stub, uuid)["id"]
            variable = {"device": number, "name": "BALENA_SUPERVISOR_VPN_CONTROL", "value": "false"}
            made = stub.ask("POST", "/v7/device_config_variable", variable)
            found.ask("POST", "/v1/update", {}, secret)
            until(lambda: not _connected(stub, uuid))
            until(lambda: not told())
            stub.ask("DELETE", f"/v7/device_config_variable({made.json['id']})")
            found.ask("POST", "/v1/update", {}, secret)
            until(lambda: _connected(stub, uuid))
        finally:
            found.process.terminate()
            found.process.wait(60)


def test_services_outlive_a_supervisor_that_is_stopped(tmp_path: Path, stub: Stub) -> None:
    fleet = stub.fleet()
    config = vpn_config(tmp_path, stub, fleet)
    fleet.release("b" * 32)
    containers = config.parent / "fieldbeat" / "containers"

    def running() -> set[int]:
        return {known.pid for known in marked(str(containers.resolve())).values()}

    with agent(config, "--part", "supervisor"):
        until(running)
        before = running()
    assert running() == before
    with agent(config):
        until(lambda: running() == before)
        end_s = time.monotonic() + 60
    while running():
        assert time.monotonic() < end_s


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--part", "cloudlink", "--devices", "3"), "is of one device"),
        (("--part", "cloudlink", "--tunnel", "off"), "is nothing with --tunnel off"),
    ],
)
def test_what_a_part_cannot_be_is_said(tmp_path: Path, more: tuple[str, ...], words: str) -> None:
    command = [sys.executable, "-m", "scenarios", "agent", "--config", str(tmp_path / "c"), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
