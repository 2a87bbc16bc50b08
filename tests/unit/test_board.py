"""A simulated board: pulls and layers, containers, locks, disk faults, what a power cut takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import effects as do
from agent.config import Persisted
from agent.events import (
    ContainerChanged,
    Event,
    HandoverSignalled,
    ImageRemoved,
    LocksRefused,
    LocksTaken,
    PullFailed,
    PullFinished,
    PullProgressed,
)
from scenarios.board import Board, Catalog
from scenarios.pulls import Registry

MEGABYTE = 1_000_000
FAST = Registry(MEGABYTE)


class Driven:
    """A board at a moment."""

    def __init__(self, rate: Registry = FAST) -> None:
        catalog = Catalog()
        for name in ("big", "other"):
            catalog.add(name, size_bytes=10 * MEGABYTE, start_time_ms=0, stop_time_ms=0)
        catalog.add("slow", size_bytes=1, start_time_ms=9_000, stop_time_ms=30_000)
        self.board = Board(catalog)
        self.now_ms = 0
        self.seen: list[tuple[int, Event]] = []
        self.board.set_registry(rate, 0)
        self.board.power_on()

    def do(self, effect: do.Effect) -> None:
        for event in self.board.carry_out(effect, self.now_ms):
            self.seen.append((self.now_ms, event))

    def run_until(self, at_ms: int) -> None:
        while (deadline := self.board.next_deadline_ms()) is not None and deadline <= at_ms:
            assert deadline >= self.now_ms
            self.now_ms = deadline
            self.seen += [(deadline, event) for event in self.board.advance(deadline)]
        self.now_ms = at_ms

    def of(self, kind: type[Any]) -> list[tuple[int, Any]]:
        return [(at_ms, event) for at_ms, event in self.seen if isinstance(event, kind)]

    def create(self, name: str = "c", image: str = "big", service: str = "main") -> None:
        self.do(do.CreateContainer(name=name, app="app", service=service, commit="r1", image=image))
        self.do(do.StartContainer(name=name))
        self.run_until(self.now_ms + 20_000)

    def states(self) -> dict[str, str]:
        return {box.name: box.state for box in self.board.snapshot().containers}


def pull(image: str = "big") -> do.PullImage:
    return do.PullImage(image=image)


# --- pulls --------------------------------------------------------------------------------------


def test_a_pull_takes_size_over_rate_and_tells_its_percents_each_second() -> None:
    driven = Driven()
    driven.do(pull())
    driven.run_until(60_000)
    assert [at for at, _ in driven.of(PullFinished)] == [10_000]
    assert [e.percent for _, e in driven.of(PullProgressed)] == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert driven.board.snapshot().images == {"big"}


def test_pulls_share_the_rate() -> None:
    driven = Driven()
    driven.do(pull())
    driven.do(pull("other"))
    driven.run_until(60_000)
    assert [at for at, _ in driven.of(PullFinished)] == [20_000, 20_000]


def test_an_image_that_is_here_is_pulled_at_once() -> None:
    driven = Driven()
    driven.board.flash(Persisted(), ("big",))
    driven.do(pull())
    driven.run_until(1)
    assert driven.of(PullFinished)[0][0] == 0


@pytest.mark.parametrize("how", ["power", "cancel", "supervisor"])
def test_finished_layers_survive_an_interruption_and_the_unfinished_one_does_not(how: str) -> None:
    driven = Driven()
    driven.do(pull())
    driven.run_until(7_500)
    if how == "power":
        driven.board.power_cut()
        driven.board.power_on()
    elif how == "cancel":
        driven.do(do.CancelPull(image="big"))
    else:
        driven.board.supervisor_gone()
    driven.seen.clear()
    driven.run_until(100_000)
    assert driven.seen == [], "nothing of it may arrive any more"
    driven.do(pull())
    driven.run_until(200_000)
    assert driven.of(PullFinished)[0][0] == 100_000 + 4_000, "6 of 10 MB were whole layers"


def test_each_layer_takes_its_time_besides_its_bytes() -> None:
    driven = Driven(FAST._replace(layer_ms=500))
    driven.do(pull())
    driven.run_until(60_000)
    # 10 MB at 1 MB/s, in five layers
    assert [at for at, _ in driven.of(PullFinished)] == [10_000 + 5 * 500]
    told = [(at, event.percent) for at, event in driven.of(PullProgressed)]
    assert told[:3] == [(1_000, 8), (2_000, 16), (3_000, 24)]


def test_a_stalled_pull_fails_after_thirty_seconds_unless_bytes_flow_again() -> None:
    driven = Driven()
    driven.do(pull())
    driven.run_until(5_000)
    driven.board.set_registry(Registry(None), 5_000)
    driven.run_until(20_000)
    driven.board.set_registry(FAST, 20_000)
    driven.run_until(60_000)
    assert [at for at, _ in driven.of(PullFinished)] == [25_000]
    stuck = Driven(Registry(None))
    stuck.do(pull())
    stuck.run_until(60_000)
    assert [(at, e.reason) for at, e in stuck.of(PullFailed)] == [(30_000, "timeout")]


def test_a_registry_error_fails_every_pull_at_once() -> None:
    driven = Driven()
    driven.do(pull())
    driven.run_until(1_500)
    driven.board.set_registry(Registry(None, "HTTP 503"), 1_500)
    driven.run_until(60_000)
    assert [(at, e.reason) for at, e in driven.of(PullFailed)] == [(1_500, "HTTP 503")]


def test_an_image_the_registry_does_not_have_is_not_found() -> None:
    driven = Driven()
    driven.do(pull("nothing"))
    driven.run_until(1_000)
    assert driven.of(PullFailed)[0][1].reason == "not found"


def test_an_image_is_removed_a_moment_later() -> None:
    driven = Driven()
    driven.board.flash(Persisted(), ("big",))
    driven.do(do.RemoveImage(image="big"))
    assert driven.board.snapshot().images == {"big"}
    driven.run_until(1_000)
    assert len(driven.of(ImageRemoved)) == 1
    assert driven.board.snapshot().images == frozenset()


# --- containers ---------------------------------------------------------------------------------


def test_a_container_is_created_started_stopped_and_removed() -> None:
    driven = Driven()
    driven.create()
    driven.do(do.StopContainer(name="c", grace_ms=10_000))
    driven.do(do.RelabelContainer(name="x", new_name="y", commit="r2"))
    driven.run_until(driven.now_ms + 1_000)
    driven.do(do.RemoveContainer(name="c"))
    driven.run_until(driven.now_ms + 1_000)
    assert [e.state for _, e in driven.of(ContainerChanged)] == [
        "created",
        "running",
        "exited",
        "removed",
    ]
    assert driven.states() == {}


def test_a_slow_service_is_killed_after_its_grace() -> None:
    driven = Driven()
    driven.create(image="slow")
    began = driven.now_ms
    driven.do(do.StopContainer(name="c", grace_ms=10_000))
    driven.run_until(began + 60_000)
    assert driven.of(ContainerChanged)[-1][0] - began == 10_000


def test_relabelling_keeps_the_container_running() -> None:
    driven = Driven()
    driven.create()
    driven.do(do.RelabelContainer(name="c", new_name="old_c", commit="r9"))
    (box,) = driven.board.snapshot().containers
    assert (box.name, box.commit, box.state) == ("old_c", "r9", "running")


def test_after_a_power_cut_the_engine_starts_what_ran_and_not_what_was_stopped() -> None:
    driven = Driven()
    driven.create("a", service="a")
    driven.create("b", service="b")
    driven.do(do.StopContainer(name="b", grace_ms=1_000))
    driven.run_until(driven.now_ms + 5_000)
    driven.board.power_cut()
    assert driven.states() == {"a": "exited", "b": "exited"}
    driven.board.power_on()
    assert driven.states() == {"a": "running", "b": "exited"}


@pytest.mark.parametrize(("state", "back"), [("exit", False), ("crash", True), ("restart", True)])
def test_user_code_that_ends_is_started_again_unless_it_left_for_good(
    state: Any, back: bool
) -> None:
    driven = Driven()
    driven.create()
    events = driven.board.misbehave("main", state, driven.now_ms)
    assert [event.state for event in events if isinstance(event, ContainerChanged)] == ["exited"]
    driven.run_until(driven.now_ms + 60_000)
    assert driven.states() == {"c": "running" if back else "exited"}


def test_every_crash_makes_the_engine_wait_longer() -> None:
    driven = Driven()
    driven.create()
    waits = []
    for _ in range(4):
        began = driven.now_ms
        driven.board.misbehave("main", "crash", began)
        driven.run_until(began + 100_000)
        waits.append(driven.of(ContainerChanged)[-1][0] - began)
    assert waits == [600, 700, 900, 1_300]


# --- locks and tmpfs ----------------------------------------------------------------------------


def take(*services: str, force: bool = False) -> do.TakeLocks:
    return do.TakeLocks(attempt=1, app="app", services=services, force=force)


def test_locks_are_taken_all_or_none_and_the_first_held_one_is_named() -> None:
    driven = Driven()
    driven.board.hold_lock("app", "side")
    driven.do(take("main", "side"))
    assert driven.seen[-1][1] == LocksRefused(attempt=1, app="app", service="side")
    driven.do(take("main"))
    assert driven.seen[-1][1] == LocksTaken(attempt=1)


def test_force_removes_the_files_of_users() -> None:
    driven = Driven()
    driven.board.hold_lock("app", "main")
    driven.do(take("main", force=True))
    driven.do(do.ReleaseLocks(app="app"))
    driven.do(take("main"))
    assert [type(event) for _, event in driven.seen] == [LocksTaken, LocksTaken]


def test_a_released_lock_no_longer_refuses() -> None:
    driven = Driven()
    driven.board.hold_lock("app", "main")
    driven.board.release_lock("app", "main")
    driven.do(take("main"))
    assert isinstance(driven.seen[-1][1], LocksTaken)


def test_tmpfs_is_gone_after_a_reboot_and_the_disk_is_not() -> None:
    driven = Driven()
    driven.board.hold_lock("app", "main")
    driven.do(do.CacheReport(report=[1]))
    driven.do(do.MarkRebootNeeded())
    driven.board.persist(Persisted(uuid="u"))
    driven.board.shut_down()
    driven.board.power_on()
    driven.do(take("main"))
    assert isinstance(driven.seen[-1][1], LocksTaken)
    assert driven.board.report_cache is None
    assert not driven.board.reboot_needed
    assert driven.board.persisted == Persisted(uuid="u")


# --- the disk -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words"), [("full", "no space left"), ("read_only", "read-only")]
)
def test_a_bad_disk_fails_running_and_new_pulls(state: Any, words: str) -> None:
    driven = Driven()
    driven.do(pull())
    driven.run_until(1_000)
    driven.board.set_disk(state, 1_000)
    driven.run_until(2_000)
    driven.do(pull("other"))
    driven.run_until(3_000)
    assert [words in e.reason for _, e in driven.of(PullFailed)] == [True, True]


def test_a_read_only_disk_keeps_nothing_new() -> None:
    driven = Driven()
    assert driven.board.persist(Persisted(uuid="u"))
    driven.board.set_disk("read_only", 0)
    assert not driven.board.persist(Persisted(uuid="v"))
    assert driven.board.persisted == Persisted(uuid="u")


def test_the_hand_over_file_is_told() -> None:
    assert Driven().board.handover_complete("main") == [HandoverSignalled(service="main")]


# --- any order ----------------------------------------------------------------------------------

NAMES = st.sampled_from(["c", "d"])
IMAGES = st.sampled_from(["big", "other", "nothing"])
EFFECTS: st.SearchStrategy[do.Effect] = st.one_of(
    st.builds(do.PullImage, image=IMAGES),
    st.builds(do.CancelPull, image=IMAGES),
    st.builds(do.RemoveImage, image=IMAGES),
    st.builds(
        do.CreateContainer,
        name=NAMES,
        app=st.just("app"),
        service=NAMES,
        commit=st.just("r"),
        image=IMAGES,
    ),
    st.builds(do.StartContainer, name=NAMES),
    st.builds(do.StopContainer, name=NAMES, grace_ms=st.just(1_000)),
    st.builds(do.RemoveContainer, name=NAMES),
)
FAULTS = st.sampled_from(["cut", "full", "ok", "stall", "fast", "error", "none"])


@settings(max_examples=150)
@given(st.lists(st.tuples(EFFECTS, FAULTS, st.integers(0, 20_000)), max_size=25))
def test_no_order_of_effects_and_faults_breaks_it(
    steps: list[tuple[do.Effect, str, int]],
) -> None:
    driven = Driven()
    for effect, fault, wait_ms in steps:
        driven.do(effect)
        driven.run_until(driven.now_ms + wait_ms)
        match fault:
            case "cut":
                driven.board.power_cut()
                driven.board.power_on()
            case "full" | "ok":
                driven.board.set_disk("full" if fault == "full" else "ok", driven.now_ms)
            case "stall" | "fast" | "error":
                registry = {"stall": Registry(None), "error": Registry(None, "HTTP 500")}
                driven.board.set_registry(registry.get(fault, FAST), driven.now_ms)
            case _:
                pass
    percents = [(e.image, e.percent) for _, e in driven.of(PullProgressed)]
    assert all(0 < percent < 100 for _, percent in percents)
