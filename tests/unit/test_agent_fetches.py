"""Deltas and their fall-backs, and a supervisor in local mode."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent import effects as do
from agent.config import AgentConfig, ImageRow, Persisted
from agent.context import Context
from agent.events import PullFailed
from agent.fetches import DELTA_APPLY_TRIES, Fetches
from agent.mirror import Mirror
from agent.target import TargetService
from scenarios.streams import Stream
from tests.toy_device import APP, SETTLED, Toy, ToyCloud, image_of, target

if TYPE_CHECKING:
    from typing import Literal

WANTED = TargetService(name="main", image="new")


class Fetching:
    """One image that a service of a device with an older one needs."""

    def __init__(self, *, delta: bool = True) -> None:
        config = {"SUPERVISOR_DELTA": "1"} if delta else {}
        disk = Persisted(uuid="u", device_api_key="k", config=config)
        self.ctx = Context(AgentConfig(), disk, Stream(1))
        self.mirror = Mirror()
        self.mirror.add_rows([ImageRow("old", APP, "main", "r1"), ImageRow("x", APP, "side", "r1")])
        self.fetches = Fetches()

    def begin(self, now_ms: int = 0) -> list[do.Effect]:
        self.fetches.begin(self.ctx, self.mirror, APP, WANTED, now_ms=now_ms)
        return self.ctx.take()

    def fails(self, delta: Literal["", "none", "broken"], now_ms: int = 0) -> list[do.Effect]:
        assert self.mirror.pulls is not None
        del self.mirror.pulls["new"]
        event = PullFailed(image="new", reason="as told", delta=delta)
        self.fetches.failed(self.ctx, self.mirror, event, now_ms=now_ms)
        return [effect for effect in self.ctx.take() if isinstance(effect, do.PullImage)]


def test_a_delta_is_asked_from_the_same_service_s_older_image() -> None:
    assert Fetching().begin() == [do.PullImage(image="new", base="old")]


def test_without_the_variable_images_are_pulled_whole() -> None:
    assert Fetching(delta=False).begin() == [do.PullImage(image="new")]


def test_where_there_is_no_delta_the_whole_image_is_pulled_at_once() -> None:
    fetching = Fetching()
    fetching.begin()
    assert fetching.fails("none") == [do.PullImage(image="new")]


def test_a_delta_that_cannot_be_applied_is_tried_three_times() -> None:
    fetching = Fetching()
    fetching.begin()
    tries = [fetching.fails("broken")[0].base for _ in range(DELTA_APPLY_TRIES)]
    assert tries == ["old", "old", ""]


def test_after_any_other_failure_the_delta_is_asked_for_again_later() -> None:
    fetching = Fetching()
    fetching.begin()
    assert fetching.fails("", now_ms=1_000) == []
    assert fetching.fetches.wake_ms(now_ms=1_000) == 2_000
    assert fetching.begin(1_999) == []
    assert fetching.begin(2_000) == [do.PullImage(image="new", base="old")]


def local(toy: Toy, value: str, commit: str = "r1") -> None:
    """A person switches local mode."""
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.part = target(commit, config={"BALENA_SUPERVISOR_LOCAL_MODE": value})
    toy.call("POST", "/v1/update")
    toy.run_until(toy.now_ms + 120_000)


def settled() -> Toy:
    part = target("r1")
    disk = replace(SETTLED, target=part)
    toy = Toy(ToyCloud(part), images=(image_of("main", "r1"),), persisted=disk)
    toy.run_until(60_000)
    return toy


def test_in_local_mode_the_fleet_s_services_stop_and_their_images_stay() -> None:
    toy = settled()
    local(toy, "1")
    assert toy.running() == {}
    assert toy.of(do.RemoveImage) == []


def test_in_local_mode_a_release_of_the_cloud_is_not_fetched_until_it_ends() -> None:
    toy = settled()
    local(toy, "1")
    local(toy, "1", commit="r2")
    assert toy.of(do.PullImage) == []
    local(toy, "0", commit="r2")
    assert toy.running() == {"main": "r2"}
