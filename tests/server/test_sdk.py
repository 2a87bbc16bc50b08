"""balena's own Python SDK, unpatched, works against the stub; ``docs/sdk.md`` says the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloud_stub.settings import CloudSettings
from tests.sdk_tour import Tour, document, sdk
from tests.stub_cloud import EMAIL, PASSWORD, SETTINGS, running

if TYPE_CHECKING:
    from tests.stub_cloud import Stub

ROOT = Path(__file__).parents[2]
WIRE = json.loads((ROOT / "tests" / "data" / "sdk-wire.json").read_text())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_method_of_the_tour_works(stub: Stub, tmp_path: Path) -> None:
    steps = Tour(sdk(stub.url, str(tmp_path)), email=EMAIL, password=PASSWORD).walk()
    assert [step for step in steps if not step.held] == []
    assert len(steps) > 140
    assert (ROOT / "docs" / "sdk.md").read_text() == document(steps)


# --- the recorded requests of the SDK, with the real API's answers ------------------------------


def _shape(value: Any, depth: int = 0) -> Any:
    """Names and kinds of what an answer holds; null fits everything."""
    if isinstance(value, dict):
        if value.keys() == {"__id"}:
            return "ref"
        return {name: _shape(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_shape(item, depth + 1) for item in value[:1]]
    return type(value).__name__ if depth > 1 else "value"


def _fits(ours: Any, theirs: Any) -> bool:
    if ours == theirs or "NoneType" in (ours, theirs):
        return True
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_fits(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return not ours or not theirs or _fits(ours[0], theirs[0])
    return False


def test_recorded_requests_get_answers_of_the_recorded_shape(tmp_path: Path) -> None:
    """Each recorded row of a resource has the same fields here, of the same kinds."""
    settings = replace(SETTINGS, cloud=CloudSettings(profile="open-balena"))
    with running(tmp_path, settings) as stub:
        fleet = stub.fleet("recd54c3d")
        device = fleet.device("d94a49732bbae3105908d6442b4dcb59")
        known = {
            "application": fleet.id,
            "device": device.id,
            "release": fleet.releases["a" * 32],
            "service": fleet.service,
        }
        stub.post("device_tag", {"device": device.id, "tag_key": "t", "value": "1"})
        stub.post("application_tag", {"application": fleet.id, "tag_key": "t", "value": "1"})
        stub.ask("POST", "/api-key/user/full", {"name": "k", "description": "d"})
        compared = 0
        for row in WIRE:
            resource = row["path"].removeprefix("/v7/").partition("?")[0].partition("(")[0]
            if row["status"] >= 400 or not row["path"].startswith("/v7/"):
                continue
            theirs = row["response"]
            if row["method"] == "POST":
                answer = stub.ask("GET", f"/v7/{resource}?$top=1").rows
                ours, theirs = (answer[:1], [theirs]) if answer else ([], [])
            elif row["method"] == "GET" and theirs and theirs["d"]:
                path = row["path"].replace("'c20fcdaf727251af5ad70e1294b9772a'", f"'{'a' * 32}'")
                for name, number in known.items():
                    path = _with_number(path, name, number)
                found = stub.ask("GET", path)
                assert found.status == 200, (row["path"], found)
                ours, theirs = found.json["d"], theirs["d"]
            else:
                continue
            if isinstance(ours, list) and ours and theirs:
                compared += 1
                here, there = _shape(ours[0], 1), _shape(theirs[0], 1)
                different = {
                    name: (here.get(name), there.get(name))
                    # keys are kept hashed: nobody can be shown one
                    for name in (here.keys() | there.keys()) - {"key"}
                    if not _fits(here.get(name, "nothing"), there.get(name, "nothing"))
                }
                assert different == {}, row["path"]
        assert compared > 25


def _with_number(path: str, name: str, number: int) -> str:
    """The number a row has here in the place of the recorded one."""
    import re

    old = {"application": 36, "device": 796, "release": 51, "service": 57}[name]
    path = re.sub(rf"/{name}\({old}\)", f"/{name}({number})", path)
    return re.sub(rf"((?:\w*{name}) eq ){old}\b", rf"\g<1>{number}", path)
