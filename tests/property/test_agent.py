"""Whatever happens in whatever order, a supervisor keeps its own rules."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent import effects as do
from agent.config import AgentConfig, Persisted
from agent.events import (
    ApiCalled,
    BoardMeasured,
    ContainerChanged,
    EngineSnapshot,
    Event,
    HandoverSignalled,
    ImageRemoved,
    LocksRefused,
    LocksTaken,
    PullFailed,
    PullFinished,
    PullProgressed,
    RequestFailed,
    ResponseReceived,
    Started,
    TimerFired,
)
from agent.machine import Agent
from agent.quirks import Quirk
from tests.toy_device import APP, APP_ID, SETTLED, UUID, Toy, ToyCloud, image_of, service, target

NAMES = st.sampled_from(["main_7_r1", "main_7_r2", "old_main_7_r1", "nobody"])
IMAGES = st.sampled_from([image_of("main", "r1"), image_of("main", "r2"), "other"])
NUMBERS = st.integers(0, 30)
PARTS = st.sampled_from(
    [
        target(),
        target("r2"),
        target(None),
        target("r2", {"main": service("main", "r2", **{"io.balena.update.strategy": "hand-over"})}),
        target(config={"RESIN_SUPERVISOR_POLL_INTERVAL": "NaN", "RESIN_HOST_CONFIG_a": "1"}),
        {"apps": 5},
        {},
    ]
)
BODIES = st.one_of(
    st.none(), st.just("<html>"), PARTS.map(lambda part: {UUID: part}), st.just({"d": [{"id": 1}]})
)
PATHS = st.sampled_from(
    ["/v1/update", "/v1/reboot", "/v1/restart", "/v1/purge", "/v1/healthy", "/ping", "/x"]
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(TimerFired()),
    st.builds(
        ResponseReceived,
        id=NUMBERS,
        status=st.sampled_from([200, 201, 304, 401, 409, 429, 500]),
        headers=st.sampled_from([{}, {"etag": "e"}, {"retry-after": "5"}, {"retry-after": "x"}]),
        body=BODIES,
    ),
    st.builds(RequestFailed, id=NUMBERS, reason=st.sampled_from(["timeout", "refused", "dns"])),
    st.builds(PullProgressed, image=IMAGES, percent=st.integers(0, 100)),
    st.builds(PullFinished, image=IMAGES),
    st.builds(PullFailed, image=IMAGES, reason=st.just("HTTP 404")),
    st.builds(ImageRemoved, image=IMAGES),
    st.builds(
        ContainerChanged,
        name=NAMES,
        state=st.sampled_from(["created", "running", "exited", "dead", "removed"]),
    ),
    st.builds(LocksTaken, attempt=st.integers(0, 9)),
    st.builds(LocksRefused, attempt=st.integers(0, 9), app=st.just(APP), service=st.just("main")),
    st.builds(HandoverSignalled, service=st.sampled_from(["main", "side"])),
    st.builds(
        ApiCalled,
        call=st.integers(0, 99),
        method=st.sampled_from(["GET", "POST"]),
        path=PATHS,
        body=st.sampled_from([{}, {"appId": APP_ID}, {"force": True, "cancel": True}]),
    ),
    st.builds(
        BoardMeasured,
        readings=st.sampled_from([{"cpu_temp": 40}, {"is_undervolted": True}, {"cpu_usage": None}]),
    ),
)
DISKS = st.sampled_from(
    [
        SETTLED,
        replace(SETTLED, target=target()),
        Persisted(provisioning_key="p", application_id=7),
        Persisted(uuid=UUID, device_api_key="k", registered_at_ms=0),
    ]
)
QUIRKS = st.frozensets(st.sampled_from(list(Quirk)))


class Watched:
    """An agent whose requests in flight are counted."""

    def __init__(self, disk: Persisted, quirks: frozenset[Quirk]) -> None:
        self.agent = Agent(AgentConfig(quirks=quirks), disk, random.Random(3))
        self.flying: dict[int, do.SendRequest] = {}
        self.persisted = disk

    def feed(self, event: Event, now_ms: int) -> None:
        if isinstance(event, ResponseReceived | RequestFailed):
            self.flying.pop(event.id, None)
        for effect in self.agent.handle(event, now_ms=now_ms):
            if isinstance(effect, do.SendRequest):
                self.flying[effect.id] = effect
            elif isinstance(effect, do.Persist):
                assert effect.state != self.persisted, "only changes are written"
                self.persisted = effect.state

    def in_flight(self, method: str) -> int:
        return sum(request.method == method for request in self.flying.values())


@settings(max_examples=300)
@given(DISKS, QUIRKS, st.lists(st.tuples(EVENTS, st.integers(0, 100_000)), max_size=40))
def test_no_order_of_events_breaks_it(
    disk: Persisted, quirks: frozenset[Quirk], events: list[tuple[Event, int]]
) -> None:
    watched = Watched(disk, quirks)
    now_ms = 0
    engine = EngineSnapshot(images=frozenset({image_of("main", "r1")}))
    watched.feed(Started(engine=engine, cold_boot=True), 0)
    for event, wait_ms in events:
        deadline = watched.agent.next_deadline_ms()
        now_ms += wait_ms
        if deadline is not None and deadline < now_ms:
            watched.feed(TimerFired(), max(deadline, now_ms - wait_ms))
        watched.feed(event, now_ms)
        assert watched.in_flight("PATCH") <= 1, "one report at a time"
        assert watched.in_flight("GET") <= 2, "the poll, and one that /v1/update asked for"
        if isinstance(event, TimerFired):
            following = watched.agent.next_deadline_ms()
            assert following is None or following > now_ms - 1


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_the_short_poll_is_the_long_poll(seed: int, trip_ms: int) -> None:
    def fresh() -> Toy:
        part = target()
        disk = replace(SETTLED, target=part)
        toy = Toy(ToyCloud(part), persisted=disk, images=(image_of("main", "r1"),), seed=seed)
        toy.run_until(60_000)
        return toy

    long, short = fresh(), fresh()
    for _ in range(5):
        sent_ms = long.agent.next_deadline_ms()
        assert sent_ms is not None
        assert sent_ms == short.agent.next_deadline_ms()
        (request,) = long.agent.handle(TimerFired(), now_ms=sent_ms)
        assert isinstance(request, do.SendRequest)
        assert request.headers["if-none-match"] == short.agent.steady_poll_etag()
        answer = ResponseReceived(id=request.id, status=304, headers={}, body=None)
        assert long.agent.handle(answer, now_ms=sent_ms + trip_ms) == []
        following = short.agent.steady_poll_done(sent_ms=sent_ms, answered_ms=sent_ms + trip_ms)
        assert following == short.agent.next_deadline_ms() == long.agent.next_deadline_ms()
        assert vars_of(long.agent.poll) == vars_of(short.agent.poll)
        assert long.agent.ctx.requests == short.agent.ctx.requests


def vars_of(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__slots__}


def test_a_short_poll_is_not_offered_while_anything_is_pending() -> None:
    toy = Toy(ToyCloud(target()), persisted=replace(SETTLED, target=target()))
    assert toy.agent.steady_poll_etag() is None
    toy.run_until(60_000)
    assert toy.agent.steady_poll_etag() is not None
    toy.feed(BoardMeasured(readings={"cpu_usage": 99}))
    assert toy.agent.steady_poll_etag() is None, "metrics are due"
    toy.run_until(400_000)
    assert toy.agent.steady_poll_etag() is not None
    assert isinstance(toy.cloud, ToyCloud)
    toy.cloud.answers["GET state"] = ["refused"] * 9
    toy.run_until(1_000_000)
    assert toy.agent.steady_poll_etag() is None, "it recovers from a failure"
