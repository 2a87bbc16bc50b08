"""The agent against recordings of a real supervisor 19.0.5 (``tests/data/supervisor-wire``)."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import effects as do
from agent.config import AgentConfig
from agent.events import BoardMeasured
from agent.mirror import Box, Use
from agent.quirks import SUPERVISOR_19
from agent.report import METRICS
from agent.wire_status import status_of
from tests.toy_device import SETTLED, Toy, ToyCloud, image_of, service, target
from tests.unit.test_agent_provision import FRESH

RECORDINGS = Path(__file__).parents[1] / "data" / "supervisor-wire"
REAL = AgentConfig(quirks=SUPERVISOR_19)
FROM_THE_BOARD = {*METRICS, "is_undervolted", "ip_address"}


def recorded(name: str) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = json.loads((RECORDINGS / f"{name}.json").read_text())[
        "requests"
    ]
    return requests


def kind(method: str, url: str) -> str:
    return f"{method} {url.partition('?')[0].rsplit('/', 1)[-1]}"


def recorded_apps(name: str) -> list[dict[str, Any]]:
    """The app of every recorded report that has one."""
    bodies = [request["body"] for request in recorded(name) if request["method"] == "PATCH"]
    parts = [next(iter(body.values())) for body in bodies]
    return [next(iter(part["apps"].values())) for part in parts if "apps" in part]


def shape(app: dict[str, Any]) -> list[tuple[str, str | None, tuple[str, ...]]]:
    """Per release: oldest first by name, its update status and its services' words."""
    return [
        (
            commit[-2:],
            release.get("update_status"),
            tuple(entry["status"] for entry in release.get("services", {}).values()),
        )
        for commit, release in sorted(app["releases"].items())
    ]


def folded(shapes: list[Any]) -> list[Any]:
    return [one for n, one in enumerate(shapes) if n == 0 or one != shapes[n - 1]]


@pytest.mark.parametrize("name", ["d1", "d3", "d5"])
def test_a_first_boot_sends_the_same_requests_in_the_same_order(name: str) -> None:
    toy = Toy(ToyCloud(target(None)), persisted=FRESH, config=REAL)
    toy.run_until(1_000)
    ours = [effect for _, effect in toy.of(do.SendRequest)]
    theirs = recorded(name)[: len(ours)]
    assert len(ours) == 5
    assert [kind(effect.method, effect.path) for effect in ours] == [
        kind(request["method"], request["url"]) for request in theirs
    ]
    for effect, request in zip(ours, theirs, strict=True):
        assert effect.headers["user-agent"] == request["headers"]["user-agent"]
        for header in ("if-none-match", "authorization"):
            assert (header in effect.headers) == (header in request["headers"])


def test_the_first_bodies_have_the_recorded_keys() -> None:
    toy = Toy(ToyCloud(target(None)), persisted=FRESH, config=REAL)
    toy.run_until(1_000)
    ours = [effect.body for _, effect in toy.of(do.SendRequest)]
    theirs = [request["body"] for request in recorded("d1")[:5]]
    assert set(ours[0]) == set(theirs[0])
    assert ours[2] == {**theirs[2], "device": 1}
    (mine,), (other,) = ours[4].values(), theirs[4].values()
    assert set(mine) - FROM_THE_BOARD == set(other) - FROM_THE_BOARD
    same = set(mine) - FROM_THE_BOARD - {"api_secret", "mac_address"}
    assert {key: mine[key] for key in same} == {key: other[key] for key in same}


def test_metrics_alone_follow_after_the_recorded_pause() -> None:
    recording = recorded("d1")
    recorded_pause_ms = recording[5]["ms"] - recording[4]["ms"]
    toy = Toy(ToyCloud(target(None)), persisted=FRESH, config=REAL)
    toy.run_until(60_000)
    toy.feed(BoardMeasured(readings={"cpu_usage": 59, "memory_usage": 1854}))
    toy.run_until(800_000)
    first, second = (at_ms for at_ms, _ in toy.reports())
    assert abs(second - first - recorded_pause_ms) < 1_000
    assert toy.reports()[1][1] == next(iter(recording[5]["body"].values()))


def test_an_install_is_reported_in_the_recorded_words() -> None:
    cloud = ToyCloud(target(None))
    toy = Toy(cloud, persisted=SETTLED, config=REAL)
    toy.pull_ms = 9_150  # the release runs just before a report
    toy.run_until(60_000)
    cloud.part = target()
    toy.call("POST", "/v1/update")
    toy.run_until(120_000)
    # d3: first install while empty, release_uuid one report after done
    theirs = [app for app in recorded_apps("d3") if set(app["releases"]) == {f"{'c0ffee01' * 4}"}]
    ours = [app for _, app in toy.apps()]
    words = [(rel[1], rel[2]) for app in ours for rel in shape(app)]
    assert folded(words) == folded([(rel[1], rel[2]) for app in theirs for rel in shape(app)])
    assert ["release_uuid" in app for app in ours if shape(app)[0][1] == "done"] == [False, True]


def locked_toy(strategy: str) -> Toy:
    disk = replace(SETTLED, target=target())
    cloud = ToyCloud(target())
    toy = Toy(cloud, persisted=disk, images=(image_of("main", "r1"),), config=REAL)
    toy.run_until(60_000)
    toy.user_locks.add("main")
    labels = {"io.balena.update.strategy": strategy}
    cloud.part = target("r2", {"main": service("main", "r2", **labels)})
    toy.call("POST", "/v1/update")
    return toy


def test_a_locked_update_is_reported_and_retried_as_recorded() -> None:
    toy = locked_toy("download-then-kill")
    toy.run_until(toy.now_ms + 75_000)
    times = [at_ms for at_ms, _ in toy.of(do.TakeLocks)][-7:]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
    ours = folded([shape(app) for _, app in toy.apps() if len(app["releases"]) == 2])
    theirs = folded(
        [
            shape(app)
            for app in recorded_apps("d3")
            if {commit[-2:] for commit in app["releases"]} == {"01", "02"}
        ]
    )
    words = [[entry[1:] for entry in app] for app in ours]
    assert words == [[entry[1:] for entry in app] for app in theirs[:2]]


def test_a_new_service_is_running_once_the_old_one_is_being_stopped_as_recorded() -> None:
    old, new = (
        Box(commit, Use(image_of("main", commit), "app", "main", commit), "running")
        for commit in ("r1", "r2")
    )
    assert [status_of(box, [old, new]) for box in (old, new)] == [
        "Handing over",
        "Awaiting handover",
    ]
    old.doing = "stopping"
    words = [status_of(box, [old, new]) for box in (old, new)]
    assert words == ["Stopping", "Running"]
    # d5, hand-over
    assert [("done", (word,)) for word in words] in [
        [entry[1:] for entry in shape(app)] for app in recorded_apps("d5")
    ]


def test_kill_then_download_shows_the_old_release_downloaded_meanwhile_as_recorded() -> None:
    toy = locked_toy("kill-then-download")
    toy.run_until(toy.now_ms + 3_000)
    toy.user_locks.clear()
    toy.run_until(toy.now_ms + 60_000)
    meanwhile = [("downloaded", ("Downloaded",)), ("downloading", ("Downloading",))]
    assert meanwhile in [[entry[1:] for entry in shape(app)] for _, app in toy.apps()]
    assert meanwhile in [[entry[1:] for entry in shape(app)] for app in recorded_apps("d5")]
