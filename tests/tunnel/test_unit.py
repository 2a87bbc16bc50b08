"""Supervisor and cloudlink as two processes, as on a board."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from agent.daemon.processes import marked
from tests.daemon.running import DEADLINE_S, Agent, agent, until
from tests.ports import free_port
from tests.tunnel.test_cloudlink import _connected, _device, _known, cloud, vpn_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stub_cloud import Stub


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
        process.wait(DEADLINE_S)


@contextmanager
def _board(folder: Path, stub: Stub) -> Iterator[tuple[Path, int]]:
    """A unit that runs; config.json and the supervisor's port."""
    port = free_port()
    config = vpn_config(folder, stub, stub.fleet(), listenPort=port)
    try:
        with _unit(config, port):
            yield config, port
    finally:
        # services outlive a supervisor that is a process of its own
        for known in marked(str((config.parent / "fieldbeat" / "containers").resolve())).values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(known.pid, signal.SIGKILL)


@contextmanager
def _supervisor(config: Path, port: int) -> Iterator[Agent]:
    """One that runs until the block ends, if nobody kills it before."""
    words = ("agent", "--config", str(config), "--listen", f"127.0.0.1:{port}")
    process = subprocess.Popen(
        [sys.executable, "-m", "scenarios", *words, "--part", "supervisor"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Agent(process, config, port)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    with cloud(tmp_path) as found:
        yield found


def test_cloudlink_stays_when_the_supervisor_is_killed_and_calls_wait_for_it(
    tmp_path: Path, stub: Stub
) -> None:
    with _board(tmp_path, stub) as (config, port):
        with _supervisor(config, port) as first:
            uuid = _known(stub, first)
            until(lambda: _connected(stub, uuid))
            until(lambda: stub.ask("POST", "/supervisor/v1/blink", {"uuid": uuid}).status == 200)
            since = _device(stub, uuid)["last_vpn_event"]
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
        with _supervisor(config, port):
            until(lambda: stub.ask("POST", "/supervisor/v1/blink", {"uuid": uuid}).status == 200)
            assert _device(stub, uuid)["last_vpn_event"] == since


def test_the_supervisor_switches_the_unit_and_is_told_of_it(tmp_path: Path, stub: Stub) -> None:
    with _board(tmp_path, stub) as (config, port), _supervisor(config, port) as found:
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
    until(lambda: not running())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--part", "cloudlink", "--devices", "3"), "is of one device"),
        (("--part", "cloudlink", "--tunnel", "off"), "is nothing with --tunnel off"),
    ],
)
def test_what_a_part_cannot_be_is_said(tmp_path: Path, more: tuple[str, ...], words: str) -> None:
    command = [sys.executable, "-m", "scenarios", "agent", "--config", str(tmp_path / "c"), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
