"""The poll by itself: delays, what an answer means, what is noted (``SUPERVISOR.md §1``)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.config import AgentConfig
from agent.context import Context
from agent.effects import Note, SendRequest
from agent.events import RequestFailed, ResponseReceived
from agent.poll import Poll
from agent.quirks import SUPERVISOR_19
from tests.toy_device import SETTLED

INTERVAL_MS = 900_000
NOW_MS = 1_000_003


class Half:
    """Every draw is one half: the jitter is 30 s."""

    def random(self) -> float:
        return 0.5


def context(**config: Any) -> Context:
    return Context(AgentConfig(initial_config={}, **config), SETTLED, Half())


def started(ctx: Context) -> Poll:
    poll = Poll()
    poll.start(ctx, now_ms=NOW_MS)
    poll.due(ctx, now_ms=NOW_MS)
    return poll


def answer(status: int, body: Any = None, **headers: str) -> ResponseReceived:
    return ResponseReceived(id=1, status=status, headers=headers, body=body)


def notes(ctx: Context) -> list[str]:
    return [effect.text for effect in ctx.take() if isinstance(effect, Note)]


def requests(ctx: Context) -> int:
    return sum(isinstance(effect, SendRequest) for effect in ctx.take())


def test_the_delay_is_the_interval_plus_a_drawn_part_of_the_jitter() -> None:
    ctx = context(poll_jitter_max_ms=50_002)
    poll = started(ctx)
    poll.succeeded(ctx, now_ms=NOW_MS)
    assert poll.next_ms == NOW_MS + INTERVAL_MS + 25_001
    assert poll.last_success_ms == NOW_MS


def test_a_poll_that_is_late_is_sent_and_one_that_is_early_or_answered_for_is_not() -> None:
    ctx = context()
    poll = Poll()
    poll.due(ctx, now_ms=NOW_MS)
    assert requests(ctx) == 0, "nothing has been started"
    poll.start(ctx, now_ms=NOW_MS)
    poll.due(ctx, now_ms=NOW_MS - 1)
    assert requests(ctx) == 0
    poll.due(ctx, now_ms=NOW_MS + 7)
    assert requests(ctx) == 1
    poll.next_ms = NOW_MS
    poll.due(ctx, now_ms=NOW_MS + 8)
    assert requests(ctx) == 0, "one poll is under way"


def test_only_the_first_failure_in_a_row_is_noted_and_the_recovery_says_how_many() -> None:
    ctx = context()
    poll = started(ctx)
    ctx.take()
    for _ in range(3):
        poll.no_answer(ctx, RequestFailed(id=1, reason="refused"), now_ms=NOW_MS)
    assert notes(ctx) == ["poll failed: refused, next in 15000 ms"]
    assert poll.next_ms == NOW_MS + 60_000
    poll.answered(ctx, answer(304), now_ms=NOW_MS)
    assert notes(ctx) == ["poll answered again after 3 failures"]
    poll.answered(ctx, answer(304), now_ms=NOW_MS)
    assert notes(ctx) == []


@pytest.mark.parametrize("status", [100, 199, 201, 302, 303, 305, 500])
def test_only_200_and_304_are_answers(status: int) -> None:
    ctx = context()
    assert started(ctx).read(ctx, answer(status, {})) == f"HTTP {status}"


def test_a_target_of_another_device_is_noted_and_is_no_failure() -> None:
    ctx = context()
    poll = started(ctx)
    ctx.take()
    assert poll.answered(ctx, answer(200, {"b" * 32: {}}), now_ms=NOW_MS) is None
    assert poll.failures == 0
    (note,) = notes(ctx)
    assert "another device" in note


def test_a_status_is_compared_by_its_number() -> None:
    ctx = context()
    part: dict[str, Any] = {"apps": {}}
    body = {SETTLED.uuid: part}
    assert started(ctx).read(ctx, answer(int("200"), body)) == part
    assert started(ctx).read(ctx, answer(int("304"))) is None


def test_a_304_delivers_what_came_while_provisioning_once() -> None:
    ctx = context()
    poll = started(ctx)
    poll.undelivered = {"apps": {}}
    assert poll.read(ctx, answer(304)) == {"apps": {}}
    assert poll.read(ctx, answer(304)) is None


def test_a_200_replaces_what_came_while_provisioning() -> None:
    ctx = context()
    poll = started(ctx)
    poll.undelivered = {"apps": {}}
    poll.read(ctx, answer(200, {SETTLED.uuid: {"config": {}}}, etag="e"))
    assert poll.read(ctx, answer(304)) is None
    assert poll.etag == "e"


def test_a_304_is_an_error_for_the_real_supervisor_only_without_a_cached_etag() -> None:
    ctx = context(quirks=SUPERVISOR_19)
    poll = Poll()
    assert poll.read(ctx, answer(304)) == "HTTP 304 without a cached ETag"
    poll.etag = "e"
    poll.start(ctx, now_ms=NOW_MS)
    poll.due(ctx, now_ms=NOW_MS)
    assert poll.read(ctx, answer(304)) is None


@pytest.mark.parametrize("first", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("second", [(False, False), (True, False), (False, True)])
def test_updates_asked_for_while_one_is_under_way_are_one_request_with_the_wishes_of_both(
    first: tuple[bool, bool], second: tuple[bool, bool]
) -> None:
    ctx, poll = context(), Poll()
    for force, cancel in (first, second):
        poll.ask_now(ctx, force=force, cancel=cancel)
    assert poll.instant == (1, first[0] or second[0], first[1] or second[1])
    assert requests(ctx) == 1
    assert poll.next_ms is None, "the poll's own time is not moved"


def test_without_instant_updates_the_first_poll_is_a_whole_delay_after_the_start() -> None:
    settled = replace(SETTLED, config={"SUPERVISOR_INSTANT_UPDATE_TRIGGER": "false"})
    ctx, poll = Context(AgentConfig(initial_config={}), settled, Half()), Poll()
    poll.start(ctx, now_ms=NOW_MS)
    assert poll.next_ms == NOW_MS + INTERVAL_MS + 30_000
