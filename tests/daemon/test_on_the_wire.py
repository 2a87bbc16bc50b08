"""The agent's requests as they arrive, beside those of a real supervisor 19.0.5 (recording d1).

What differs, and why, is in ``docs/agent.md``; ``test_recorded_runs`` goes on to the end of whole
recordings.  This is the program by itself, in both behaviours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon.odd_cloud import odd_cloud
from tests.daemon.running import agent, until

if TYPE_CHECKING:
    from tests.daemon.odd_cloud import Asked

RECORDED = json.loads(
    (Path(__file__).parents[1] / "data" / "supervisor-wire" / "d1.json").read_text()
)["requests"][:5]
"""Until the first report, all within 0.2 s of the registration."""
_READINGS = frozenset(
    (
        *("cpu_usage", "memory_usage", "memory_total", "storage_usage", "storage_total"),
        *("storage_block_device", "cpu_temp", "cpu_id", "is_undervolted", "ip_address"),
    )
)


def _cloud(uuid: str) -> Any:
    """Answers as the recording server did."""

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        kind = {"Content-Type": "application/json"}
        if asked.path == "/device/register":
            assert isinstance(asked.body, dict)
            made = {"id": 42, "uuid": asked.body["uuid"], "api_key": asked.body["api_key"]}
            return 201, kind, json.dumps(made).encode()
        if asked.path.endswith("device_config_variable"):
            return 201, kind, b"{}"
        if asked.method == "PATCH":
            return 200, {}, b"OK"
        if "If-None-Match" in asked.headers:
            return 304, {"ETag": '"1"'}, b""
        part = {uuid: {"name": "d", "config": {}, "apps": {}}}
        return 200, {**kind, "ETag": '"1"'}, json.dumps(part).encode()

    return answer


@pytest.mark.parametrize("behaviour", ["documented", "supervisor-19"])
def test_a_first_boot_asks_what_the_real_one_asked(tmp_path: Path, behaviour: str) -> None:
    register = RECORDED[0]["body"]
    config = tmp_path / "config.json"
    with odd_cloud() as odd:
        odd.answer = _cloud(register["uuid"])
        values = {
            "apiEndpoint": odd.url,
            "applicationId": register["application"],
            "deviceType": register["device_type"],
            "uuid": register["uuid"],
            "apiKey": "provkey",
        }
        config.write_text(json.dumps(values))
        # at once: to wait for 18 s of so slow a clock is longer than we do
        with agent(config, "--behaviour", behaviour, "--speed", "0.1"):
            until(lambda: len(odd.asked) >= len(RECORDED))
        # the last two go out in one moment on two connections: either may arrive first
        asked = [*odd.asked[:3], *sorted(odd.asked[3:5], key=lambda a: a.method)]
    assert [(a.method, a.path) for a in asked] == [(r["method"], r["url"]) for r in RECORDED]
    for ours, theirs in zip(asked, RECORDED, strict=True):
        assert _headers(ours.headers) == _headers(theirs["headers"]), theirs["n"]
        _same_body(ours.body, theirs["body"], register["uuid"])


def _headers(headers: dict[str, str]) -> dict[str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    for name in ("host", "content-length"):
        found.pop(name, None)
    found["accept-encoding"] = found["accept-encoding"].removesuffix(", br, zstd")
    found["authorization"] = found["authorization"].partition(" ")[0]
    found["if-none-match"] = str("if-none-match" in found)
    return found


def _same_body(ours: Any, theirs: Any, uuid: str) -> None:
    if theirs is None:
        assert ours is None
        return
    if uuid in theirs:
        ours, theirs = ours[uuid], theirs[uuid]
        assert ours.keys() - theirs.keys() <= _READINGS
        assert theirs.keys() - ours.keys() <= _READINGS
    for name in ours.keys() & theirs.keys() - _READINGS:
        if name not in ("api_secret", "api_key", "mac_address"):
            assert ours[name] == theirs[name], name
        assert type(ours[name]) is type(theirs[name]), name
