"""What the stub shows of a real agent: Heartbeat Only, Operational, Updating, and why."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.daemon.odd_cloud import odd_cloud
from tests.daemon.running import DEADLINE_S, agent, config_file, until
from tests.stub_cloud import SETTINGS, VPN_KEY, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.odd_cloud import Asked
    from tests.stub_cloud import Stub


def _tunnel(stub: Stub, uuid: str, word: str) -> None:
    """A VPN server's word; the agent of this version opens no tunnel itself."""
    instance = stub.ask("POST", "/v7/service_instance", {"ip_address": "10.0.0.1"}, key=VPN_KEY)
    body = {"uuids": [uuid], "serviceId": instance.json["id"]}
    assert stub.ask("POST", f"/services/vpn/client-{word}", body, key=VPN_KEY).status == 200


def _status(stub: Stub, uuid: str) -> Any:
    path = f"/v7/device(uuid='{uuid}')?$select=overall_status,update_status,overall_progress"
    return stub.ask("GET", path).rows[0]


class _Slow:
    """A registry of images of two layers, which keeps the second back until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self._blobs: dict[str, bytes] = {}

    def __call__(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        name, _, wanted = asked.path.removeprefix("/v2/").rpartition("/")
        if name.endswith("/manifests"):
            layers = [b"{}", name.encode() + b"x" * 60_000, name.encode() + b"y" * 40_000]
            digests = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
            self._blobs.update(zip(digests, layers, strict=True))
            parts = [
                {"digest": digest, "size": len(data)}
                for digest, data in zip(digests, layers, strict=True)
            ]
            manifest = {"config": parts[0], "layers": parts[1:]}
            return 200, {"Content-Type": "application/json"}, json.dumps(manifest).encode()
        data = self._blobs[wanted]
        if data.endswith(b"y"):
            assert self.let_go.wait(DEADLINE_S)
        return 200, {}, data


def test_an_agent_is_shown_as_a_device_is(tmp_path: Path) -> None:
    with odd_cloud() as registry:
        host = registry.url.removeprefix("http://")
        with running(tmp_path, replace(SETTINGS, registry=host)) as stub:
            registry.answer = slow = _Slow()
            slow.let_go.set()
            _watch(tmp_path, stub, slow)


def _watch(folder: Path, stub: Stub, registry: _Slow) -> None:
    fleet = stub.fleet()
    with agent(config_file(folder, stub, fleet)) as found:
        until(lambda: "uuid" in found.config.read_text())
        uuid = found.uuid
        until(lambda: stub.ask("GET", f"/v7/device?$filter=uuid eq '{uuid}'").rows)
        until(lambda: _status(stub, uuid)["overall_status"] == "reduced-functionality")
        _tunnel(stub, uuid, "connect")
        until(lambda: _status(stub, uuid)["overall_status"] == "operational")
        until(lambda: _status(stub, uuid)["update_status"] == "done")
        registry.let_go.clear()
        fleet.release("b" * 32)
        secret = found.state["api_secret"]
        assert found.ask("POST", "/v1/update", {}, secret)[0] == 204
        row = until(lambda: (row := _status(stub, uuid))["overall_status"] == "updating" and row)
        # a report for each percent would be a flood: which one arrived is a matter of time
        assert (row["update_status"], 0 <= row["overall_progress"] <= 60) == ("downloading", True)
        registry.let_go.set()
        until(lambda: found.state["current_commits"].get(fleet.uuid) == "b" * 32)
        until(lambda: _status(stub, uuid)["update_status"] == "done")
        assert _status(stub, uuid)["overall_status"] == "operational"
    path = f"/fieldbeat/v1/events?device={uuid}&field=overall_status"
    shown = [event["to"] for event in stub.ask("GET", path).json["events"]]
    assert shown[-3:] == ["operational", "updating", "operational"]
