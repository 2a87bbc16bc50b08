"""The recorded runs of a real supervisor, played again by the program over real HTTP.

``pytest tests/daemon/recorded_runs.py``: by itself, as it is a matter of seconds of a machine that
has nothing else to do.  d3 is updates under a lock, d5 the four strategies.  Targets, locks and
calls come at the recorded moments, six times as fast; what the agent then asks and reports is held
against the recording, request by request.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon.odd_cloud import odd_cloud
from tests.daemon.running import agent, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.daemon.odd_cloud import Asked

DATA = Path(__file__).parents[1] / "data" / "supervisor-wire"
UUID = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
APP = "a" * 32
SPEED = 6
LAYERS = 4
"""Of an image; each takes a quarter of the recorded download."""
DOWNLOAD_S = {
    "d3": {"c0ffee01": 21.0, "c0ffee02": 36.0, "c0ffee03": 27.0},
    "d5": {"c0ffee01": 0.0, **{f"c0ffee0{n}": 30.0 for n in range(2, 7)}},
}
STUBBORN = "trap '' TERM; while :; do sleep 1; done"
"""A service that has to be killed after ten seconds, as the recorded one."""
REPORT_GAP_S = 10.0
TIMES_WITHIN_S = 25.0
"""Two slots of a report, and what engines and programs take."""
Token = tuple[str, Any]


class _Recording:
    """A recorded run."""

    def __init__(self, name: str) -> None:
        self.name = name
        whole = json.loads((DATA / f"{name}.json").read_text())
        self.requests: list[dict[str, Any]] = whole["requests"]
        self.marks: list[str] = whole["marks"]
        self.zero_s = self.requests[0]["ms"] / 1_000
        self.end_s = self.requests[-1]["ms"] / 1_000 - self.zero_s

    def tokens(self) -> list[tuple[Token, float]]:
        """What matters of each request, and when it came after the first."""
        found = [
            (r["method"], r["url"], r["response"]["status"], r["body"], r["ms"] / 1_000)
            for r in self.requests
        ]
        return [(token, at_s - self.zero_s) for token, at_s in _tokens(found)]

    def moment(self, words: str) -> float:
        """When a mark was made."""
        mark = next(m for m in self.marks if words in m)
        first = datetime.fromisoformat(self.requests[0]["t"])
        at = datetime.fromisoformat(mark.partition(" ")[0])
        return float((at - first).total_seconds())

    def targets(self) -> list[tuple[float, str, dict[str, str]]]:
        """When a new release was answered, its commit and its labels."""
        found = []
        for request in self.requests:
            body = request["response"].get("body")
            if request["method"] != "GET" or not isinstance(body, dict):
                continue
            app = next(iter(body[UUID]["apps"].values()))
            for commit, release in app["releases"].items():
                at_s = request["ms"] / 1_000 - self.zero_s
                found.append((at_s, commit, release["services"]["main"]["labels"]))
        return found


class _Cloud:
    """An API whose target a test sets, and a registry that takes its time."""

    def __init__(self, download_s: dict[str, float]) -> None:
        self._download_s = download_s
        self.part: dict[str, Any] = {"name": "sim-device", "config": {}, "apps": self._apps({})}
        self.tag = 1
        self.host = ""
        self.times: list[float] = []
        self._blobs: dict[str, tuple[bytes, float]] = {}

    @staticmethod
    def _apps(releases: dict[str, Any]) -> dict[str, Any]:
        app = {"id": 1234567, "name": "simfleet", "class": "fleet", "is_host": False}
        return {APP: {**app, "releases": releases}}

    def track(self, commit: str, labels: dict[str, str]) -> None:
        """A new target."""
        service = {
            "id": 101,
            "image_id": int(commit[-1]) * 1_000 + 1,
            "image": f"{self.host}/v2/{commit}",
            "environment": {},
            "labels": {**labels, "io.fieldbeat.command": f'sh -c "{STUBBORN}"'},
            "composition": {"restart": "always"},
        }
        release = {"id": int(commit[-1]), "services": {"main": service}}
        self.part = {**self.part, "apps": self._apps({commit: {**release, "volumes": {}}})}
        self.tag += 1

    def __call__(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        kind = {"Content-Type": "application/json"}
        if asked.path.startswith("/v2/"):
            return self._image(asked)
        self.times.append(time.monotonic())
        if asked.path == "/device/register":
            assert isinstance(asked.body, dict)
            made = {"id": 42, "uuid": asked.body["uuid"], "api_key": asked.body["api_key"]}
            return 201, kind, json.dumps(made).encode()
        if asked.path.endswith("device_config_variable"):
            return 201, kind, b"{}"
        if asked.method == "PATCH":
            return 200, {}, b"OK"
        etag = f'"{self.tag}"'
        if asked.headers.get("If-None-Match") == etag:
            return 304, {"ETag": etag}, b""
        return 200, {**kind, "ETag": etag}, json.dumps({UUID: self.part}).encode()

    def _image(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        name, _, wanted = asked.path.removeprefix("/v2/").rpartition("/")
        if name.endswith("/manifests"):
            commit = name.split("/")[-2][:8]
            pause_s = self._download_s[commit] / LAYERS / SPEED
            layers = [b"{}", *(f"{commit}{n}".encode() * 2_000 for n in range(LAYERS))]
            names = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
            for number, (digest, data) in enumerate(zip(names, layers, strict=True)):
                self._blobs[digest] = (data, pause_s if number else 0.0)
            parts = [
                {"digest": digest, "size": len(data)}
                for digest, data in zip(names, layers, strict=True)
            ]
            manifest = {"config": parts[0], "layers": parts[1:]}
            return 200, {"Content-Type": "application/json"}, json.dumps(manifest).encode()
        data, pause_s = self._blobs[wanted]
        time.sleep(pause_s)
        return 200, {}, data


def _tokens(found: list[tuple[str, str, int, Any, float]]) -> Iterator[tuple[Token, float]]:
    """Each request as what matters of it, repeats folded: progress takes several reports."""
    last: Token | None = None
    for method, path, status, body, at_s in found:
        token: Token = (method, path.rpartition("/")[2])
        if method == "GET":
            token = (method, status)
        elif method == "PATCH":
            part = next(iter(body.values()))
            if "apps" not in part:
                token = (method, "device")
                if last is not None and last[0] == "PATCH":
                    continue  # readings of the board alone
            else:
                token = (method, _shape(next(iter(part["apps"].values()))))
        if token != last or method != "PATCH":
            yield token, at_s
        last = token


def _shape(app: dict[str, Any]) -> Any:
    """What is told of each release, without what is a matter of milliseconds.

    Between the end of its container and that of its image an old one is ``going``.  Whether
    ``release_uuid`` comes with ``done`` or a report later is left out: both are recorded.
    """
    releases: dict[str, Any] = {
        commit[:8]: (
            release.get("update_status"),
            sorted(entry["status"] for entry in release.get("services", {}).values()),
        )
        for commit, release in app["releases"].items()
    }
    for commit, (word, statuses) in releases.items():
        if statuses == ["Downloading"]:  # at 100 % the precedence of the real one falls through
            releases[commit] = ("downloading" if word == "done" else word, statuses)
    old = min(releases) if len(releases) > 1 else None
    if old is not None and releases[old][1] in (["Deleting"], ["Downloaded"]):
        releases[old] = "going"
    return json.dumps(releases, sort_keys=True)


def _steps(recording: _Recording) -> list[tuple[float, str, Any]]:
    """Targets, locks and calls, in order of time."""
    steps: list[tuple[float, str, Any]] = [
        (at_s, "target", (commit, labels)) for at_s, commit, labels in recording.targets()
    ]
    if recording.name == "d3":
        steps += [
            (recording.moment("user takes lock"), "lock", None),
            (recording.moment("user releases lock"), "unlock", None),
            (recording.moment("lock again"), "lock", None),
            (recording.moment("force=true"), "update", {"force": True, "cancel": True}),
        ]
    else:
        steps += [
            (recording.moment("with lock held"), "lock", None),
            (recording.moment("lock removed"), "unlock", None),
            (recording.moment("lock removed") + 0.1, "update", {"cancel": True}),
        ]
    return sorted(steps, key=lambda step: step[0])


@pytest.mark.parametrize("name", ["d3", "d5"])
def test_updates_are_talked_of_as_recorded(tmp_path: Path, name: str) -> None:
    recording, cloud = _Recording(name), _Cloud(DOWNLOAD_S[name])
    config = tmp_path / "config.json"
    lock = tmp_path / "fieldbeat/run/services/1234567/main/updates.lock"
    first = recording.requests[0]["body"]
    with odd_cloud() as odd:
        cloud.host = odd.url.removeprefix("http://")
        odd.answer = cloud
        values = {
            "apiEndpoint": odd.url,
            "applicationId": first["application"],
            "deviceType": first["device_type"],
            "uuid": UUID,
            "apiKey": "provkey",
        }
        config.write_text(json.dumps(values))
        more = ("--behaviour", "supervisor-19", "--speed", str(SPEED))
        with agent(config, *more) as found:
            until(lambda: cloud.times)
            began_s = cloud.times[0]

            def update(body: dict[str, Any]) -> None:
                assert found.ask("POST", "/v1/update", body, found.state["api_secret"])[0] < 300

            for at_s, what, how in _steps(recording):
                time.sleep(max(0.0, began_s + at_s / SPEED - time.monotonic()))
                match what:
                    case "lock":
                        until(lambda: not lock.exists())
                        lock.touch(exist_ok=False)
                    case "unlock":
                        lock.unlink()
                    case "target":
                        cloud.track(*how)
                        update({})
                    case _:
                        update(how)
            end_s = began_s + (recording.end_s + 2 * REPORT_GAP_S) / SPEED
            time.sleep(max(0.0, end_s - time.monotonic()))
        asked = [one for one in odd.asked if not one.path.startswith("/v2/")]
    unchanged = _unchanged(asked)
    said = [
        (a.method, a.path, 304 if n in unchanged else 200, a.body, (at_s - began_s) * SPEED)
        for n, (a, at_s) in enumerate(zip(asked, cloud.times, strict=True))
    ]
    ours, theirs = list(_tokens(said)), recording.tokens()
    # of the first moment's two requests either may arrive first
    assert sorted(str(t) for t, _ in ours[:5]) == sorted(str(t) for t, _ in theirs[:5])
    matched, besides = _aligned(ours[5:], theirs[5:])
    # our engine deletes an image in no time: that a release is done is told a report earlier
    assert all('"done", ["Running"]' in str(token) for token in besides), besides
    assert max(abs(mine - other) for mine, other in matched) < TIMES_WITHIN_S
    patches = [at_s for a, at_s in zip(asked, cloud.times, strict=True) if a.method == "PATCH"]
    gaps = [(b - a) * SPEED for a, b in itertools.pairwise(patches[1:])]
    assert min(gaps) > REPORT_GAP_S - 1


def _aligned(
    ours: list[tuple[Token, float]], theirs: list[tuple[Token, float]]
) -> tuple[list[tuple[float, float]], list[Token]]:
    """Times of what both said, in order, and what only ours did; all of theirs must come."""
    matched: list[tuple[float, float]] = []
    more: list[Token] = []
    rest = iter(ours)
    for token, other_s in theirs:
        for mine, at_s in rest:
            if mine == token:
                matched.append((at_s, other_s))
                break
            more.append(mine)
        else:
            raise AssertionError(f"never said: {token}; said besides: {more}")
    return matched, more + [token for token, _ in rest]


def _unchanged(asked: list[Asked]) -> set[int]:
    """Polls that were answered 304: the ETag they named was the newest."""
    gets = [number for number, one in enumerate(asked) if one.method == "GET"]
    tags = [asked[number].headers.get("If-None-Match") for number in gets]
    following = [*tags[1:], None]
    found = set()
    for number, tag, after in zip(gets, tags, following, strict=True):
        if tag is not None and (after == tag or number == gets[-1]):
            found.add(number)
    return found
