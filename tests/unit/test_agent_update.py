"""The update engine: strategies, locks, retries, cancelling (``SUPERVISOR.md`` §4, §5)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from agent import effects as do
from agent.config import AgentConfig
from agent.events import ContainerChanged, HandoverSignalled
from agent.quirks import SUPERVISOR_19
from tests.toy_device import APP, PULL_MS, SETTLED, Toy, ToyCloud, image_of, service, target

STRATEGY = "io.balena.update.strategy"
HANDOVER = "io.balena.update.handover-timeout"
ENGINE = (
    do.PullImage,
    do.RemoveImage,
    do.CreateContainer,
    do.StartContainer,
    do.StopContainer,
    do.RemoveContainer,
    do.TakeLocks,
    do.ReleaseLocks,
    do.RelabelContainer,
)
REAL = AgentConfig(initial_config={}, quirks=SUPERVISOR_19)


def running_r1(config: AgentConfig | None = None, *names: str) -> Toy:
    """A device that has settled on r1."""
    services = {name: service(name, "r1") for name in names or ("main",)}
    images = tuple(image_of(name, "r1") for name in services)
    part = target("r1", services)
    disk = replace(SETTLED, target=part)
    toy = Toy(ToyCloud(part), images=images, config=config, persisted=disk)
    toy.run_until(60_000)
    assert set(toy.running().values()) == {"r1"}
    return toy


def update(toy: Toy, commit: str = "r2", **labels: str) -> list[str]:
    """Give the device a release of one service and ask it to fetch; effects of the engine since."""
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target(commit, {"main": service("main", commit, **labels)})
    before = len(toy.log)
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 120_000)
    return words(toy, before)


def words(toy: Toy, since: int = 0) -> list[str]:
    """Effects of the engine since a point of the log: kind, and image or name."""
    found = [effect for _, effect in toy.log[since:] if isinstance(effect, ENGINE)]
    named = [getattr(effect, "image", None) or getattr(effect, "name", "") for effect in found]
    return [
        f"{type(effect).__name__} {name}".strip() for effect, name in zip(found, named, strict=True)
    ]


OLD, NEW = image_of("main", "r1"), image_of("main", "r2")


def test_download_then_kill_downloads_locks_kills_cleans_up_and_starts() -> None:
    assert update(running_r1()) == [
        f"PullImage {NEW}",
        "TakeLocks",
        "StopContainer main_7_r1",
        "RemoveContainer main_7_r1",
        f"RemoveImage {OLD}",
        f"CreateContainer {NEW}",
        "StartContainer main_7_r2",
        "ReleaseLocks",
    ]


def test_kill_then_download_kills_first_and_keeps_the_old_image_until_the_new_is_here() -> None:
    assert update(running_r1(), **{STRATEGY: "kill-then-download"}) == [
        "TakeLocks",
        "StopContainer main_7_r1",
        "RemoveContainer main_7_r1",
        f"PullImage {NEW}",
        f"RemoveImage {OLD}",
        f"CreateContainer {NEW}",
        "StartContainer main_7_r2",
        "ReleaseLocks",
    ]


def test_delete_then_download_also_deletes_the_old_image_first() -> None:
    assert update(running_r1(), **{STRATEGY: "delete-then-download"}) == [
        "TakeLocks",
        "StopContainer main_7_r1",
        "RemoveContainer main_7_r1",
        f"RemoveImage {OLD}",
        f"PullImage {NEW}",
        f"CreateContainer {NEW}",
        "StartContainer main_7_r2",
        "ReleaseLocks",
    ]


def test_an_unknown_strategy_is_the_default_one() -> None:
    assert update(running_r1(), **{STRATEGY: "handover"})[0] == f"PullImage {NEW}"


HAND_OVER = {STRATEGY: "hand-over", HANDOVER: "30000"}


def test_hand_over_starts_the_new_beside_the_old_and_waits_for_its_file() -> None:
    toy = running_r1()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2", {"main": service("main", "r2", **HAND_OVER)})
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + PULL_MS + 5_000)
    states = {box.name: box.state for box in toy.containers.values()}
    assert states == {"old_main_7_r1": "running", "main_7_r2": "running"}
    toy.feed(HandoverSignalled(service="main"))
    toy.run_until(toy.now_ms + 5_000)
    assert list(toy.containers) == ["main_7_r2"]


def test_hand_over_reports_both_ends_while_they_run_side_by_side() -> None:
    toy = running_r1()
    update(toy, **HAND_OVER)
    seen = {
        (commit, entry["services"]["main"]["status"], entry["update_status"])
        for _, app in toy.apps()
        for commit, entry in app["releases"].items()
    }
    assert ("r1", "Handing over", "done") in seen
    assert ("r2", "Awaiting handover", "applying changes") in seen


def test_hand_over_ends_after_its_time_out_without_a_file() -> None:
    toy = running_r1()
    update(toy, **HAND_OVER)
    started = next(at for at, effect in toy.of(do.StartContainer) if effect.name == "main_7_r2")
    stopped = next(at for at, effect in toy.of(do.StopContainer))
    assert stopped - started == 300 + 30_000


def test_the_real_hand_over_neither_waits_nor_asks_for_locks() -> None:
    toy = running_r1(REAL)
    toy.user_locks.add("main")
    before = len(toy.log)
    update(toy, **HAND_OVER)
    assert "TakeLocks" not in words(toy, before)
    started = next(at for at, effect in toy.of(do.StartContainer) if effect.name == "main_7_r2")
    stopped = next(at for at, effect in toy.of(do.StopContainer))
    assert stopped - started == 300
    assert toy.running() == {"main": "r2"}


def test_the_documented_hand_over_respects_locks() -> None:
    toy = running_r1()
    toy.user_locks.add("main")
    update(toy, **HAND_OVER)
    assert toy.running() == {"main": "r1"}


def statuses(toy: Toy, **labels: str) -> list[str]:
    """The update statuses of r2 as one who looks all the time sees them, repeats folded."""
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2", {"main": service("main", "r2", **labels)})
    toy.call("POST", "/v1/update")
    seen: list[str] = []
    for _ in range(400):
        toy.run_until(toy.now_ms + 50)
        releases = toy.agent.update.report(toy.agent.ctx)[APP]["releases"]
        status = releases.get("r2", {}).get("update_status")
        if status is not None and seen[-1:] != [status]:
            seen.append(status)
    return seen


def test_from_the_kill_to_the_start_changes_are_applied_as_documented() -> None:
    course = ["downloading", "downloaded", "applying changes", "done"]
    assert statuses(running_r1()) == course


@pytest.mark.parametrize(
    ("config", "expected"), [(None, {"applying changes"}), (REAL, {"downloaded"})]
)
def test_what_is_said_while_the_old_container_stops(
    config: AgentConfig | None, expected: set[str]
) -> None:
    toy = running_r1(config)
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2", {"main": service("main", "r2")})
    toy.call("POST", "/v1/update")
    seen = set()
    for _ in range(400):
        toy.run_until(toy.now_ms + 50)
        releases = toy.agent.update.report(toy.agent.ctx)[APP]["releases"]
        if releases.get("r1", {}).get("services", {}).get("main", {}).get("status") == "Stopping":
            seen.add(releases["r2"]["update_status"])
    assert seen == expected


def test_the_image_an_old_release_left_is_no_downloaded_update() -> None:
    toy = running_r1()
    update(toy, **{STRATEGY: "kill-then-download"})
    said = {
        (entry["services"]["main"]["status"], entry["update_status"])
        for _, app in toy.apps()
        for commit, entry in app["releases"].items()
        if commit == "r1"
    }
    assert ("Downloaded", "done") in said


# --- locks --------------------------------------------------------------------------------------


def lock_attempts(toy: Toy, since_ms: int) -> list[int]:
    times = [at_ms for at_ms, _ in toy.of(do.TakeLocks) if at_ms > since_ms]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_a_held_lock_leaves_everything_downloaded_and_is_retried_ever_more_slowly() -> None:
    toy = running_r1()
    toy.user_locks.add("main")
    began = toy.now_ms
    update(toy)
    toy.run_until(began + 4_000_000)
    assert lock_attempts(toy, began)[:12] == [1_000 * min(2**n, 900) for n in range(12)]
    assert toy.running() == {"main": "r1"}
    _, app = toy.apps()[-1]
    assert app["releases"]["r2"]["update_status"] == "downloaded"
    assert app["releases"]["r1"]["update_status"] == "done"


def test_releasing_the_lock_takes_effect_at_the_next_retry() -> None:
    toy = running_r1()
    toy.user_locks.add("main")
    update(toy)
    attempts = len(toy.of(do.TakeLocks))
    toy.user_locks.clear()
    toy.run_until(toy.now_ms + 500)
    assert len(toy.of(do.TakeLocks)) == attempts
    toy.run_until(toy.now_ms + 130_000)
    assert toy.running() == {"main": "r2"}


def test_one_lock_stops_every_service_of_the_release() -> None:
    toy = running_r1(None, "main", "side")
    toy.user_locks.add("side")
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2", {n: service(n, "r2") for n in ("main", "side")})
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 60_000)
    assert toy.running() == {"main": "r1", "side": "r1"}


def test_kill_then_download_downloads_nothing_while_locked() -> None:
    toy = running_r1()
    toy.user_locks.add("main")
    update(toy, **{STRATEGY: "kill-then-download"})
    assert not toy.of(do.PullImage)
    release = toy.apps()[-1][1]["releases"]["r2"]
    assert release["update_status"] == "downloading"
    assert release["services"]["main"]["download_progress"] == 0


def test_force_with_cancel_removes_the_lock_at_once() -> None:
    toy = running_r1()
    toy.user_locks.add("main")
    update(toy)
    toy.call("POST", "/v1/update", force=True, cancel=True)
    toy.run_until(toy.now_ms + 5_000)
    assert toy.running() == {"main": "r2"}
    assert not toy.user_locks


def test_update_without_cancel_waits_behind_the_sleep() -> None:
    toy = running_r1()
    toy.user_locks.add("main")
    update(toy)
    attempts = len(toy.of(do.TakeLocks))
    toy.call("POST", "/v1/update", force=True)
    toy.run_until(toy.now_ms + 2_000)
    assert len(toy.of(do.TakeLocks)) == attempts


def test_the_override_variable_removes_the_lock_when_it_arrives() -> None:
    toy = running_r1()
    toy.user_locks.add("main")
    update(toy)
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = {**toy.cloud.part, "config": {"BALENA_SUPERVISOR_OVERRIDE_LOCK": "1"}}
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 5_000)
    assert toy.running() == {"main": "r2"}


# --- downloads ----------------------------------------------------------------------------------


def test_nothing_is_killed_before_every_image_of_the_release_is_here() -> None:
    toy = running_r1(None, "main", "side")
    assert isinstance(toy.cloud, ToyCloud)
    toy.missing.add(image_of("side", "r2"))
    toy.cloud.part = target("r2", {n: service(n, "r2") for n in ("main", "side")})
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 60_000)
    assert toy.running() == {"main": "r1", "side": "r1"}
    release = toy.apps()[-1][1]["releases"]["r2"]
    assert release["update_status"] == "downloading"
    assert release["services"]["main"]["status"] == "Downloaded"
    assert release["services"]["side"]["download_progress"] == 0


def test_a_failing_pull_is_retried_ever_more_slowly() -> None:
    toy = running_r1()
    toy.missing.add(NEW)
    update(toy)
    times = [at_ms for at_ms, _ in toy.of(do.PullImage)]
    gaps = [later - earlier - 100 for earlier, later in itertools.pairwise(times)]
    assert gaps[:6] == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]


def test_a_new_target_cancels_the_pull_under_way() -> None:
    toy = running_r1()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2")
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 3_000)
    toy.cloud.part = target("r3")
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 60_000)
    assert [effect.image for _, effect in toy.of(do.CancelPull)] == [NEW]
    assert toy.running() == {"main": "r3"}


def test_the_same_image_in_another_release_is_relabelled_without_a_restart() -> None:
    toy = running_r1()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2", {"main": service("main", "r1")})
    before = len(toy.log)
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 30_000)
    assert words(toy, before) == ["TakeLocks", "RelabelContainer main_7_r1", "ReleaseLocks"]
    assert toy.running() == {"main": "r2"}
    assert toy.apps()[-1][1]["release_uuid"] == "r2"


def test_a_service_that_left_the_release_is_killed_and_its_image_removed() -> None:
    toy = running_r1(None, "main", "side")
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2", {"main": service("main", "r1")})
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 30_000)
    assert toy.running() == {"main": "r2"}
    assert toy.images == {OLD}


def test_a_service_that_exited_is_left_alone_and_the_update_stays_done() -> None:
    toy = running_r1()
    toy.feed(ContainerChanged(name="main_7_r1", state="exited"))
    toy.run_until(toy.now_ms + 60_000)
    app = toy.apps()[-1][1]["releases"]["r1"]
    assert app["services"]["main"]["status"] == "exited"
    assert app["update_status"] == "done"


def test_a_service_that_requires_a_reboot_starts_after_one() -> None:
    toy = running_r1()
    update(toy, **{"io.balena.update.requires-reboot": "1"})
    assert toy.of(do.Reboot)
    assert toy.running() == {}
    statuses = [
        app["releases"]["r2"]["update_status"] for _, app in toy.apps() if "r2" in app["releases"]
    ]
    assert "applying changes" in statuses
    toy.restart(cold_boot=True)
    toy.run_until(toy.now_ms + 60_000)
    assert toy.running() == {"main": "r2"}


def test_the_stored_target_is_applied_without_any_network() -> None:
    toy = running_r1()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r2")
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 3_000)
    toy.cloud.answers = {"GET state": ["unreachable"] * 99, "PATCH": ["unreachable"] * 99}
    toy.images.discard(NEW)
    toy.restart(cold_boot=True)
    toy.run_until(toy.now_ms + 60_000)
    assert toy.running() == {"main": "r2"}


@pytest.mark.parametrize(
    "broken", [{}, {"apps": []}, {"apps": {APP: {"releases": {"r": {"services": {"m": {}}}}}}}]
)
def test_a_target_that_makes_no_sense_is_noted_and_changes_nothing(broken: dict[str, Any]) -> None:
    toy = running_r1()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = broken
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 60_000)
    assert toy.running() == {"main": "r1"}
    assert any("could not move" in effect.text for _, effect in toy.of(do.Note))


def changed(toy: Toy, commit: str = "r1", **labels: str) -> list[str]:
    """Give the running service another variable; effects of the engine since."""
    assert isinstance(toy.cloud, ToyCloud)
    part = {**service("main", "r1", **labels), "environment": {"COLOUR": "green"}}
    toy.cloud.part = target(commit, {"main": part})
    before = len(toy.log)
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 120_000)
    return words(toy, before)


RECREATED = [
    "TakeLocks",
    "StopContainer main_7_r1",
    "RemoveContainer main_7_r1",
    f"CreateContainer {OLD}",
    "StartContainer main_7_r1",
    "ReleaseLocks",
]


@pytest.mark.parametrize(
    "strategy", ["download-then-kill", "kill-then-download", "delete-then-download"]
)
def test_a_changed_variable_recreates_the_container_from_the_image_that_is_there(
    strategy: str,
) -> None:
    assert changed(running_r1(), **{STRATEGY: strategy}) == RECREATED


def test_a_changed_label_recreates_the_container_too() -> None:
    assert update(running_r1(), "r1", **{"io.balena.features.supervisor-api": "1"}) == RECREATED


def test_a_service_with_another_variable_is_left_alone_once_it_runs() -> None:
    toy = running_r1()
    changed(toy)
    before = len(toy.log)
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 60_000)
    assert words(toy, before) == []
    toy.restart()
    toy.run_until(toy.now_ms + 60_000)
    assert words(toy, before) == [], "a restarted supervisor knows what the container was made with"


def test_a_variable_that_changed_while_the_supervisor_was_away_recreates_the_container() -> None:
    toy = running_r1()
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target("r1", {"main": {**service("main", "r1"), "environment": {"A": "1"}}})
    before = len(toy.log)
    toy.restart()
    toy.run_until(toy.now_ms + 60_000)
    assert words(toy, before) == RECREATED


def test_an_empty_environment_is_no_other_than_a_missing_one() -> None:
    toy = running_r1()
    assert isinstance(toy.cloud, ToyCloud)
    part = {**service("main", "r1"), "environment": {}, "composition": {}}
    toy.cloud.part = target("r1", {"main": part})
    before = len(toy.log)
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 60_000)
    assert words(toy, before) == []


def test_a_container_of_unknown_making_is_kept() -> None:
    toy = running_r1()
    toy.containers = {name: replace(box, setup="") for name, box in toy.containers.items()}
    before = len(toy.log)
    toy.restart()
    toy.run_until(toy.now_ms + 60_000)
    assert words(toy, before) == []


def test_a_changed_variable_waits_for_the_update_lock_and_nothing_is_said_of_it() -> None:
    toy = running_r1()
    toy.user_locks.add("main")
    reports = len(toy.reports())
    began_ms = toy.now_ms
    assert set(changed(toy)) == {"TakeLocks"}
    tries = [at_ms - began_ms for at_ms, _ in toy.of(do.TakeLocks) if at_ms >= began_ms]
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
    assert toy.reports()[reports:] == [], "the service is Running and the release done, as before"
    toy.user_locks.clear()
    toy.run_until(toy.now_ms + 120_000)
    assert toy.running() == {"main": "r1"}
    assert toy.of(do.CreateContainer)[-1][0] > began_ms


def test_a_changed_variable_is_shown_as_the_container_goes_and_comes() -> None:
    toy = running_r1(AgentConfig(initial_config={}, report_gap_ms=0))
    before = len(toy.apps())
    changed(toy)
    seen = [
        (
            app["releases"]["r1"]["services"]["main"]["status"],
            app["releases"]["r1"]["update_status"],
        )
        for _, app in toy.apps()[before:]
    ]
    assert seen == [
        ("Stopping", "applying changes"),
        ("Downloaded", "applying changes"),
        ("Installing", "applying changes"),
        ("Starting", "applying changes"),
        ("Running", "done"),
    ]
    assert {app.get("release_uuid") for _, app in toy.apps()[before:]} == {"r1"}


def test_a_changed_variable_hands_over_where_the_service_says_so() -> None:
    toy = running_r1()
    assert changed(toy, **HAND_OVER) == [
        "TakeLocks",
        "RelabelContainer main_7_r1",
        f"CreateContainer {OLD}",
        "StartContainer main_7_r1",
        "StopContainer old_main_7_r1",
        "RemoveContainer old_main_7_r1",
        "ReleaseLocks",
    ]
    assert list(toy.containers) == ["main_7_r1"]


def test_the_same_image_with_another_variable_in_another_release_is_recreated() -> None:
    toy = running_r1()
    found = changed(toy, "r2")
    assert found == [*RECREATED[:4], "StartContainer main_7_r2", "ReleaseLocks"]
    assert toy.running() == {"main": "r2"}
