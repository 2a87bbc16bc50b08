"""Every exchange printed in ``WIRE.md``, in its order: status, headers and body as recorded.

Only what differs from run to run is put in place: ids, keys, names, dates; ETags are those of the
bodies.  How an empty body is framed (chunks or a length of 0) is not compared.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cloud_stub.settings import CloudSettings
from scenarios.testing import stub as stub_cloud
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    import pytest

    from tests.stub_cloud import Stub

DATA = Path(__file__).parents[1] / "data" / "wire" / "exchanges.json"
EXCHANGES: list[dict[str, Any]] = json.loads(DATA.read_text())
UUID, LONG_UUID, KEY, COMMIT = "d" * 32, "e" * 62, "k" * 32, "c" * 40
IMAGES = {
    "main": "127.0.0.1:9/v2/c6d37f1a9bd8caa2bcf8ef158499ad9e",
    "aux": "127.0.0.1:9/v2/acc41d60cb009b2a2268cb866d1f0bcb",
}
EMAIL, PASSWORD, VPN_KEY = "test@balena.io", "Password01", "vpn_service_api_key"
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UNCOMPARED = {"date", "server", "connection", "keep-alive", "vary", "content-length"}


def etag_of(body: bytes) -> str:
    """The rule the recorded ETags follow."""
    digest = base64.b64encode(hashlib.sha1(body).digest()).decode()
    return f'W/"{len(body):x}-{digest[:27]}"'


def test_the_rule_of_etags_is_the_recorded_one() -> None:
    whole = [
        row
        for row in EXCHANGES
        if "etag" in row["answer_headers"] and row["answer"] and "<" not in row["answer"]
    ]
    told = {row["answer_headers"]["etag"] for row in whole}
    assert {etag_of(row["answer"].encode()) for row in whole} == told
    assert len(told) > 10


class Recording:
    """What the recorded identifiers are here."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.words: dict[str, str] = {}
        self.etag = ""
        kinds = stub.ask("GET", "/v7/device_type?$filter=slug eq 'raspberrypi3'").rows
        body = {"app_name": "wire3394", "organization": 1, "is_for__device_type": kinds[0]["id"]}
        fleet = stub.post("application", body)
        finished = {"belongs_to__application": fleet["id"], "commit": COMMIT, "status": "success"}
        release = stub.post("release", finished)["id"]
        self._number(fleet["id"], '"application":32', '"id":32,"name"', "/32/", '{"__id":32}')
        self._number(fleet["id"], '"32":{"releaseId"')
        self._number(release, '"id":49', '"releaseId":49', '{"__id":49}')
        for name, old, old_image in (("main", 53, 97), ("aux", 54, 98)):
            body = {"application": fleet["id"], "service_name": name}
            service = stub.post("service", body)["id"]
            image = stub.post("image", {"is_a_build_of__service": service, "status": "success"})
            body = {"image": image["id"], "is_part_of__release": release}
            part = stub.post("image__is_part_of__release", body)["id"]
            if name == "main":
                label = "io.balena.features.supervisor-api"
                body = {"release_image": part, "label_name": label, "value": "1"}
                stub.post("image_label", body)
            self._number(service, f'"id":{old}', f'"{old}":')
            self._number(image["id"], f'"image_id":{old_image}', f'"imageId":{old_image}')
            self.words[IMAGES[name]] = image["is_stored_at__image_location"]
        variable = {"application": fleet["id"], "name": "FOO", "value": "bar"}
        stub.post("application_environment_variable", variable)
        instance = stub.ask("POST", "/v7/service_instance", key=VPN_KEY).json["id"]
        self._number(instance, '"serviceId":18')
        self.words |= {
            "<UUID>": UUID,
            "<UUID62>": LONG_UUID,
            "<DEVICEKEY>": KEY,
            "<RELEASECOMMIT>": COMMIT,
            "<FLEETUUID>": fleet["uuid"],
            "USERTOKEN": stub.token,
        }

    def _number(self, ours: int, *places: str) -> None:
        for place in places:
            self.words[place] = re.sub(r"\d+", str(ours), place, count=1)

    def here(self, text: str) -> str:
        """A recorded text with the identifiers of this run."""
        for old, new in self.words.items():
            text = text.replace(old, new)
        return text

    def send(self, row: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """One recorded request."""
        body = row["body"]
        body = '{"a":"' + "x" * 600_000 + '"}' if body == "@big.json" else body
        headers = {name: self.here(value) for name, value in row["headers"].items()}
        if "if-none-match" in headers:
            headers["if-none-match"] = self.etag
        connection = http.client.HTTPConnection(self.stub.url.partition("//")[2], timeout=20)
        try:
            path = quote(self.here(row["path"]), safe="/?&=$(),;:%@'")
            sent = None if body is None else self.here(body)
            connection.request(row["method"], path, sent, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def learn(self, row: dict[str, Any], headers: dict[str, str], raw: bytes) -> None:
        """Identifiers that the stub chose itself."""
        if row["path"].endswith("/provisioning"):
            self.words["<PROVISIONINGKEY>"] = json.loads(raw)
        if '"id":791' in row["answer"] and "791" not in str(self.words):
            text = raw.decode()
            found = re.search(r'"id":(\d+)', text)
            assert found is not None
            self._number(int(found[1]), '"id":791', '"device":791', '{"__id":791}')
        if "purple-wood" in row["answer"] and "purple-wood" not in self.words:
            found = re.search(r'"name":"([a-z-]+)"', raw.decode())
            assert found is not None
            self.words["purple-wood"] = found[1]
        if row["path"] == "/device/v3/<UUID>/state" and "etag" in headers:
            self.etag = headers["etag"]


NEW = {"id": "new", "api_key": "new"}


def comparable(text: str, *, made: bool) -> Any:
    """A body without what differs from run to run."""
    try:
        value = json.loads(DATE.sub("a date", text))
    except ValueError:
        return text.strip()
    if made and isinstance(value, dict):
        return value | {name: new for name, new in NEW.items() if name in value}
    return value


def different(
    recording: Recording, row: dict[str, Any], headers: dict[str, str], raw: bytes
) -> list[str]:
    """What an answer has otherwise than the recorded one."""
    found = []
    theirs = row["answer_headers"]
    for name in sorted((headers.keys() | theirs.keys()) - UNCOMPARED):
        ours, recorded = headers.get(name), theirs.get(name)
        if name == "etag" and ours is not None and recorded is not None:
            recorded = etag_of(raw) if raw else recording.etag
        if name == "location" and ours is not None and recorded is not None:
            ours, recorded = (re.sub(r"\d+$", "", text) for text in (ours, recorded))
        if ours != recorded:
            found.append(f"{name}: {ours!r}, recorded {recorded!r}")
    here = recording.here(row["answer"])
    if "<JWT>" in here:
        return found if raw.count(b".") == 2 else [*found, "no token"]
    if row["path"].endswith("/provisioning"):
        return found if len(json.loads(raw)) == len(json.loads(here)) else [*found, "no key"]
    made = row["status"] == 201
    if comparable(raw.decode(), made=made) != comparable(here, made=made):
        found.append(f"body: {raw.decode()}, recorded {here}")
    return found


def test_every_exchange_of_the_recording_is_answered_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub_cloud, "EMAIL", EMAIL)
    monkeypatch.setattr(stub_cloud, "PASSWORD", PASSWORD)
    settings = replace(
        SETTINGS,
        admin_email=EMAIL,
        admin_password=PASSWORD,
        vpn_service_key=VPN_KEY,
        cloud=CloudSettings(profile="open-balena", default_poll_interval_ms=2_000),
    )
    with running(tmp_path, settings) as stub:
        recording = Recording(stub)
        for number, row in enumerate(EXCHANGES):
            status, headers, raw = recording.send(row)
            where = f"{number}: {row['method']} {row['path']}"
            assert status == row["status"], (where, raw)
            recording.learn(row, headers, raw)
            assert different(recording, row, headers, raw) == [], where
    assert len(EXCHANGES) == 50
