"""What ``balena-sdk`` asked of the real API, in its order: the stub gives the same shapes.

Names, kinds, nulls and empty lists of every answer are compared, in the ``open-balena`` profile.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_stub.settings import CloudSettings
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    from tests.stub_cloud import Answered, Stub

WIRE: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "sdk-wire.json").read_text()
)
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NUMBERS = {"application": 36, "device": 796, "release": 51, "service": 57, "image": 101}
"""Ids of the recording, by resource."""
REFERENCES = {
    "belongs_to__application": "application",
    "installs__service": "service",
    "is_a_build_of__service": "service",
    "is_part_of__release": "release",
    "should_be_running__release": "release",
    "is_pinned_on__release": "release",
    "actorTypeId": "application",
    "appId": "application",
    "deviceId": "device",
    "id": "device",
}
"""Fields that hold ids of other resources than their name says."""
OTHERWISE = {
    ("PATCH", "/v7/device(796)", 500): "the stub stores a location, that API cannot",
    ("GET", "/v7/api_key?$orderby=name asc", 200): "keys are kept hashed: nobody can be shown one",
}
ELSEWHERE = ("BALENA_SUPERVISOR_VPN_CONTROL", "recfdd616", "f0cf8b7bb93865fff41ab950ad73e452")
"""What the recording read had been made in another one."""


def shape(value: Any) -> Any:
    """The kinds of an answer's values; of a list, its first element's."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    if isinstance(value, str) and DATE.fullmatch(value):
        return "a date"
    return value if value is None else type(value).__name__


class Session:
    """The recorded session, here."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.numbers: dict[str, int] = {}
        self.words: dict[str, str] = {}
        self.provisioning_key = ""
        slug = "$filter=slug eq 'raspberrypi4-64'"
        self.kind = stub.ask("GET", f"/v7/device_type?{slug}").rows[0]["id"]

    def path(self, text: str) -> str:
        for name, number in self.numbers.items():
            text = text.replace(f"/{name}({NUMBERS[name]})", f"/{name}({number})")
            text = text.replace(f"(device={NUMBERS['device']},", f"(device={number},")
            fields = [name, *(field for field, of in REFERENCES.items() if of == name)]
            pattern = rf"\b({'|'.join(fields)}) eq {NUMBERS[name]}\b"
            text = re.sub(pattern, rf"\g<1> eq {number}", text)
        for old, new in self.words.items():
            text = text.replace(old, new)
        return text

    def body(self, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        found = {name: self.body(value) for name, value in given.items()}
        for name, value in given.items():
            number = self.numbers.get(REFERENCES.get(name, name))
            if value == NUMBERS.get(REFERENCES.get(name, name)) and number is not None:
                found[name] = number
        if "is_for__device_type" in found:
            found["is_for__device_type"] = self.kind
        if "service_install" in found:
            found["service_install"] = self.stub.ask("GET", "/v7/service_install").rows[0]["id"]
        return found

    def ask(self, row: dict[str, Any]) -> Answered:
        key = self.provisioning_key if row["path"] == "/device/register" else ""
        answer = self.stub.ask(
            row["method"], self.path(row["path"]), self.body(row.get("body")), key=key
        )
        self._learn(row, answer)
        return answer

    def _learn(self, row: dict[str, Any], answer: Answered) -> None:
        name = row["path"].rpartition("/")[2]
        if row["path"] == "/api-key/v1/":
            self.provisioning_key = self.provisioning_key or answer.json
        if answer.status != 201:
            return
        name = "device" if name == "register" else name
        if name in NUMBERS:
            self.numbers.setdefault(name, answer.json["id"])
        for field in ("uuid", "device_name"):
            ours, theirs = answer.json.get(field), row["response"].get(field)
            if theirs is not None and ours != theirs:
                self.words[theirs] = ours
        if name == "device":
            row = self.stub.ask("GET", "/v7/device?$select=device_name").rows[0]
            self.words["fierce-mountain"] = row["device_name"]


def test_every_recorded_request_of_the_sdk_gets_an_answer_of_the_recorded_shape(
    tmp_path: Path,
) -> None:
    settings = replace(SETTINGS, cloud=CloudSettings(profile="open-balena"))
    compared = 0
    with running(tmp_path, settings) as stub:
        session = Session(stub)
        for number, row in enumerate(WIRE):
            if row["path"] == "/login_" or any(word in row["path"] for word in ELSEWHERE):
                continue
            answer = session.ask(row)
            if (row["method"], row["path"], row["status"]) in OTHERWISE:
                continue
            where = f"{number}: {row['method']} {row['path']}"
            assert answer.status == row["status"], (where, answer)
            theirs = row["response"]
            if theirs is None:
                assert answer.raw == b"", where
                continue
            compared += 1
            ours = answer.json
            if "/fleet/" in row["path"]:
                # both name the fleet's uuid; which release is tracked came from elsewhere
                ours, theirs = next(iter(ours.values())), next(iter(theirs.values()))
                ours["apps"] = theirs["apps"] = {}
            assert shape(ours) == shape(theirs), where
    assert compared > 70
