"""Golden answers of the real API (``WIRE.md``): request and credential → status and body."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cloud_desk import (
    DEVICE,
    FLEET_UUID,
    OTHER_DEVICE,
    OTHER_UUID,
    PROVISIONING,
    UNKNOWN_UUID,
    USER,
    UUID,
    VPN,
    Desk,
    image,
)

ROWS = json.loads(
    (Path(__file__).parents[1] / "data" / "wire" / "cloud.json").read_text(encoding="utf-8")
)
NAMES = {
    "<UUID>": UUID,
    "<OTHERUUID>": OTHER_UUID,
    "<UNKNOWN>": UNKNOWN_UUID,
    "<FLEET>": FLEET_UUID,
    "<IMAGE>": image("r1", "main"),
}
KEYS = {
    "device": DEVICE,
    "other device": OTHER_DEVICE,
    "provisioning": PROVISIONING,
    "user": USER,
    "vpn": VPN,
    "unknown": "nosuchkey",
    "none": None,
}


def filled(value: Any) -> Any:
    text = json.dumps(value)
    for name, real in NAMES.items():
        text = text.replace(name, real)
    return json.loads(text)


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['method']} {row['path']} as {row['key']}: {row['status']}"
)
def test_the_answer_is_the_recorded_one(row: dict[str, Any]) -> None:
    desk = Desk()
    path = filled(row["path"])
    response = desk.ask(row["method"], path, KEYS[row["key"]], filled(row.get("body")))
    assert response.status == row["status"]
    if "answer" in row:
        assert response.body == row["answer"]
    online = desk.see("api_heartbeat_state") == "online"
    assert online == row.get("heartbeat", False)
    assert ("etag" in response.headers) == row.get("etag", False)
