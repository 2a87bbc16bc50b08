"""An API that is not the stub: only what was recorded of the open-source one (``WIRE.md``).

Nothing else is there: every other path is 404, no route is fieldbeat's, no VPN service is spoken.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon.odd_cloud import odd_cloud
from tests.daemon.running import agent, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.odd_cloud import Asked

APP, COMMIT, ID = "f" * 32, "e" * 32, 791
JSON = {"Content-Type": "application/json; charset=utf-8"}
LAYER = b"a layer" * 1_000
STATUSES = ("rejected", "aborted", "downloading", "downloaded", "applying changes", "done")
INTEGERS = ("cpu_temp", "cpu_usage", "memory_usage", "memory_total", "storage_usage")

Answer = tuple[int, dict[str, str], bytes]
EMPTY_401: Answer = (401, {}, b"")


class OpenBalena:
    """Answers as recorded, strictly; ``known`` is a device that is registered already."""

    def __init__(self, host: str, *, known: bool) -> None:
        self.image = f"{host}/v2/c6d37f1a9bd8caa2bcf8ef158499ad9e"
        self.uuid = ""
        self.key = ""
        self.known = known
        self.reported: dict[str, Any] = {}
        self.not_found: list[str] = []

    def __call__(self, asked: Asked) -> Answer:
        path = asked.path.partition("?")[0]
        key = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        match asked.method, path.strip("/").split("/"):
            case "POST", ["device", "register"]:
                return self._register(asked.body, key)
            case "GET", ["v7", "device"]:
                allowed = key == "provisioning" or key == self.key
                return (200, JSON, b'{"d":[{"id":791}]}') if allowed else EMPTY_401
            case "POST", ["api-key", "device", "791", "device-key"] if key == "provisioning":
                self.key = asked.body["apiKey"]
                return 200, JSON, json.dumps(self.key).encode()
            case "POST", ["v7", "device_config_variable"]:
                return (201, JSON, b"{}") if key == self.key else EMPTY_401
            case "GET", ["device", "v3", uuid, "state"]:
                return self._state(asked, uuid, key)
            case "PATCH", ["device", "v3", "state"]:
                return self._report(asked.body, key)
            case "GET", ["v2", *rest]:
                return self._registry(rest)
            case _:
                self.not_found.append(f"{asked.method} {path}")
                return 404, {}, b""

    def _register(self, body: Any, key: str) -> Answer:
        if key != "provisioning":
            return EMPTY_401
        self.uuid = body["uuid"]
        if self.known:
            kind = {"Content-Type": "text/html; charset=utf-8"}
            return 409, kind, b'"uuid" must be unique.'
        self.key = body["api_key"]
        made = {"id": ID, "uuid": self.uuid, "api_key": self.key}
        return 201, JSON, json.dumps(made).encode()

    def _state(self, asked: Asked, uuid: str, key: str) -> Answer:
        if uuid != self.uuid:
            return 304, {}, b""
        if key != self.key:
            return EMPTY_401
        service = {"id": 53, "image_id": 97, "image": self.image, "environment": {}, "labels": {}}
        release = {"id": 49, "services": {"main": {**service, "composition": {}}}}
        app = {"id": 32, "name": "wire", "is_host": False, "class": "fleet"}
        apps = {APP: {**app, "releases": {COMMIT: release}}}
        config = {"RESIN_SUPERVISOR_POLL_INTERVAL": "2000"}
        part = {uuid: {"name": "purple-wood", "apps": apps, "config": config}}
        raw = json.dumps(part, separators=(",", ":")).encode()
        etag = f'W/"{len(raw):x}-{hashlib.sha256(raw).hexdigest()[:27]}"'
        if asked.headers.get("If-None-Match") == etag:
            return 304, {"ETag": etag}, b""
        return 200, {**JSON, "ETag": etag}, raw

    def _report(self, body: Any, key: str) -> Answer:
        if key != self.key or not isinstance(body, dict) or list(body) != [self.uuid]:
            return EMPTY_401
        part = body[self.uuid]
        assert all(isinstance(part[name], int) for name in INTEGERS if name in part)
        for app, told in part.get("apps", {}).items():
            for commit, release in told["releases"].items():
                images = {service["image"] for service in release["services"].values()}
                if app != APP or commit != COMMIT or images != {self.image}:
                    return EMPTY_401
                assert release["update_status"] in STATUSES
        self.reported |= part
        return 200, {}, b""

    def _registry(self, rest: list[str]) -> Answer:
        parts = [
            {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
            for data in (b"{}", LAYER)
        ]
        if rest[-2] == "manifests":
            manifest = {"schemaVersion": 2, "config": parts[0], "layers": parts[1:]}
            return 200, JSON, json.dumps(manifest).encode()
        return 200, {}, LAYER if rest[-1] == parts[1]["digest"] else b"{}"


@pytest.mark.parametrize("known", [False, True], ids=["new", "registered-already"])
@pytest.mark.parametrize("behaviour", ["documented", "supervisor-19"])
def test_the_agent_needs_nothing_but_the_recorded_api(
    tmp_path: Path, behaviour: str, known: bool
) -> None:
    config = tmp_path / "config.json"
    with odd_cloud() as odd, odd_cloud() as vpn:
        api = odd.answer = OpenBalena(odd.url.removeprefix("http://"), known=known)
        vpn.answer = lambda _: (404, {}, b"")
        values = {
            "apiEndpoint": odd.url,
            "applicationId": 32,
            "deviceType": "raspberrypi3",
            "apiKey": "provisioning",
            "appUpdatePollInterval": 2_000,
            # a VPN service is there, and it is none of ours
            "vpnEndpoint": "127.0.0.1",
            "vpnPort": int(vpn.url.rpartition(":")[2]),
        }
        config.write_text(json.dumps(values))
        with agent(config, "--behaviour", behaviour, "--speed", "20") as found:

            def done() -> bool:
                app = api.reported.get("apps", {}).get(APP, {})
                release = app.get("releases", {}).get(COMMIT, {})
                told = app.get("release_uuid"), release.get("update_status")
                return told == (COMMIT, "done")

            until(done)
            before = len(odd.asked)
            until(lambda: len(odd.asked) > before)  # a poll: it goes on
            until(lambda: vpn.asked)
            assert found.ask("GET", "/ping") == (200, "OK")
    assert api.not_found == []
    written = json.loads(config.read_text())
    assert written["deviceId"] == ID
    assert "apiKey" not in written
    assert {"uuid", "deviceApiKey"} <= written.keys()
