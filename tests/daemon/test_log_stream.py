"""What services and the supervisor write arrives in the cloud, while the request is still open."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cloud_stub.server.tls import development_authority
from tests.daemon.running import agent, config_file, until
from tests.daemon.test_updates import _release
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stub_cloud import Stub

COMMIT = "d" * 32
TALK = "echo to out; echo to err >&2; sleep 1; echo later; exec sleep 1000"


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """With TLS: without it a supervisor sends no lines."""
    pair = development_authority(tmp_path / "tls", ["127.0.0.1"])
    # for this process and for the agent
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls" / "ca.pem"))
    with running(tmp_path, replace(SETTINGS, certificate=pair)) as found:
        yield found


def test_lines_of_services_and_of_the_supervisor_arrive(tmp_path: Path, stub: Stub) -> None:
    fleet = stub.fleet()
    _release(fleet, COMMIT, {"io.fieldbeat.command": f"sh -c '{TALK}'"})
    config = config_file(tmp_path, stub, fleet)
    with agent(config, "--speed", "10") as found:

        def lines() -> dict[str, dict[str, Any]]:
            path = f"/device/v2/{found.uuid}/logs"
            return {line["message"]: line for line in stub.ask("GET", path).json}

        until(lambda: found.config.exists() and "deviceId" in found.config.read_text())

        def whole() -> dict[str, dict[str, Any]]:
            told = lines()
            starts = any(name.startswith("Started service") for name in told)
            return told if starts and "later" in told else {}

        told = until(whole)
    service = told["to out"]["serviceId"]
    assert isinstance(service, int)
    assert told["to err"]["serviceId"] == service
    assert [told[name].get("isStdErr", False) for name in ("to out", "to err")] == [False, True]
    system = [name for name, line in told.items() if line.get("isSystem")]
    begun = [name.partition(" '")[0] for name in system]
    order = ["Downloading image", "Downloaded image", "Installing service", "Installed service"]
    assert begun == [*order, "Starting service", "Started service"]


def test_a_cloud_that_is_told_not_to_be_told_gets_nothing(tmp_path: Path, stub: Stub) -> None:
    fleet = stub.fleet()
    _release(fleet, COMMIT, {"io.fieldbeat.command": f"sh -c '{TALK}'"})
    variable = {"application": fleet.id, "name": "BALENA_SUPERVISOR_LOG_CONTROL"}
    stub.post("application_config_variable", {**variable, "value": "false"})
    config = config_file(tmp_path, stub, fleet)
    with agent(config, "--speed", "10") as found:
        until((tmp_path / "fieldbeat" / "state.json").exists)
        until(lambda: found.state["current_commits"])
        output = next((tmp_path / "fieldbeat" / "containers").glob("*.out"))
        until(lambda: "later" in output.read_text())
        assert stub.ask("GET", f"/device/v2/{found.uuid}/logs").json == []
