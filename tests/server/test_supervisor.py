"""A real supervisor's recorded requests, sent to the stub in their order and at their times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.stub_cloud import Fleet, running

if TYPE_CHECKING:
    from tests.stub_cloud import Stub

RUNS = sorted((Path(__file__).parents[1] / "data" / "supervisor-wire").glob("*.json"))
GOOD = {"POST": (201,), "GET": (200, 304), "PATCH": (200,)}
_HEADERS = ("user-agent", "accept", "content-type", "if-none-match", "accept-encoding")


def _fleet(stub: Stub, requests: list[dict[str, Any]]) -> Fleet:
    """A fleet of the recorded uuid with the recorded releases and services."""
    apps: dict[str, dict[str, set[str]]] = {}
    for request in requests:
        for report in (request["body"] or {}).values() if request["method"] == "PATCH" else ():
            for app, value in report.get("apps", {}).items():
                for commit, release in value.get("releases", {}).items():
                    found = apps.setdefault(app, {}).setdefault(commit, set())
                    found.update(release["services"])
    ((uuid, releases),) = apps.items()
    kinds = stub.ask("GET", "/v7/device_type?$filter=slug eq 'generic-amd64'&$select=id").rows
    body = {"app_name": "recorded", "organization": 1, "uuid": uuid}
    made = stub.post("application", {**body, "is_for__device_type": kinds[0]["id"]})
    fleet = Fleet(stub, made["id"], uuid, "")
    services: dict[str, int] = {}
    for commit, names in releases.items():
        finished = {"belongs_to__application": fleet.id, "commit": commit, "status": "success"}
        release = stub.post("release", finished)["id"]
        for name in sorted(names):
            if name not in services:
                new = {"application": fleet.id, "service_name": name}
                services[name] = stub.post("service", new)["id"]
            built = {"is_a_build_of__service": services[name], "status": "success"}
            image = stub.post("image", built)
            part = {"image": image["id"], "is_part_of__release": release}
            stub.post("image__is_part_of__release", part)
            fleet.images[f"{commit}/{name}"] = image["is_stored_at__image_location"]
    answer = stub.ask("POST", f"/api-key/application/{fleet.id}/provisioning", {})
    fleet.provisioning_key = answer.json
    return fleet


def _with_our_images(body: Any, fleet: Fleet) -> Any:
    """Images have other locations here; all else of a report stays."""
    for report in body.values():
        for app in report.get("apps", {}).values():
            for commit, release in app.get("releases", {}).items():
                for name, service in release["services"].items():
                    service["image"] = fleet.images[f"{commit}/{name}"]
    return body


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_recorded_request_is_served(tmp_path: Path, path: Path) -> None:
    requests = json.loads(path.read_text())["requests"]
    with running(tmp_path) as stub:
        fleet = _fleet(stub, requests)
        began_s = stub.server.desk.now_ms() / 1_000
        device = 0
        answers = []
        for request in requests:
            stub.server.desk._clock = lambda at=request["ms"]: began_s + at / 1_000
            body, key = request["body"], request["headers"].get("authorization", "")[7:]
            if request["url"] == "/device/register":
                body, key = {**body, "application": fleet.id}, fleet.provisioning_key
            elif request["method"] == "POST":
                body = {**body, "device": device}
            elif request["method"] == "PATCH":
                body = _with_our_images(body, fleet)
            headers = {
                name: value for name, value in request["headers"].items() if name in _HEADERS
            }
            sent = body if request["method"] != "GET" else None
            answer = stub.ask(request["method"], request["url"], sent, key=key, headers=headers)
            assert answer.status in GOOD[request["method"]], (request["n"], answer)
            if request["url"] == "/device/register":
                device = answer.json["id"]
                assert answer.json["api_key"] == request["body"]["api_key"]
            answers.append(answer)
        row = stub.ask("GET", f"/v7/device({device})?$expand=image_install($select=status)").rows[0]
    assert row["api_heartbeat_state"] == "online"
    assert row["supervisor_version"] == "19.0.5"
    assert row["overall_status"] in ("reduced-functionality", "updating")
    assert {install["status"] for install in row["image_install"]} <= {
        *("Running", "deleted", "Downloading", "Downloaded", "Stopping", "Installed", "exited"),
    }
    assert len(answers) == len(requests)
