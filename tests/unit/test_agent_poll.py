"""When a supervisor polls its target state, and what an answer does (``SUPERVISOR.md §1``)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from agent.config import AgentConfig
from agent.quirks import SUPERVISOR_19
from tests.toy_device import SETTLED, TRIP_MS, Toy, ToyCloud, target

INTERVAL_MS = 900_000
JITTER_MS = 60_000
STATE = "GET state"


def gaps(times: list[int]) -> list[int]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_polls_at_start_and_then_after_the_interval_plus_jitter_from_each_answer() -> None:
    toy = Toy(ToyCloud(target()))
    toy.run_until(6 * INTERVAL_MS)
    polls = toy.polls()
    assert polls[0] == 0
    assert len(polls) == 6
    for gap in gaps(polls):
        assert INTERVAL_MS + TRIP_MS <= gap < INTERVAL_MS + TRIP_MS + JITTER_MS
    assert len(set(gaps(polls))) > 1, "jitter is drawn afresh"


def test_without_instant_updates_the_first_poll_waits_like_every_other() -> None:
    part = target(config={"RESIN_SUPERVISOR_INSTANT_UPDATE_TRIGGER": "false"})
    applied = {"SUPERVISOR_INSTANT_UPDATE_TRIGGER": "false"}
    toy = Toy(ToyCloud(part), persisted=replace(SETTLED, target=part, config=applied))
    toy.run_until(890_000)
    assert toy.polls() == []
    assert toy.reports() != [], "reports do not wait for it"
    toy.run_until(2 * 970_000)
    first, second = toy.polls()
    assert 900_000 <= first < 960_000
    assert 900_000 <= second - first - TRIP_MS < 960_000


def test_the_first_poll_is_unconditional_and_later_ones_carry_the_etag() -> None:
    cloud = ToyCloud(target())
    toy = Toy(cloud)
    toy.run_until(2 * INTERVAL_MS)
    sent = [request.headers.get("if-none-match") for _, request in toy.requests("GET", "/state")]
    assert sent == [None, cloud.etag]


def test_the_etag_is_forgotten_with_the_process() -> None:
    toy = Toy(ToyCloud(target()))
    toy.run_until(1_000)
    toy.restart()
    toy.run_until(2_000)
    _, request = toy.requests("GET", "/state")[-1]
    assert "if-none-match" not in request.headers


@pytest.mark.parametrize("failure", ["timeout", "refused", "unreachable", "dns", "tls", "reset"])
def test_after_failures_the_delay_doubles_without_jitter_up_to_the_interval(failure: str) -> None:
    cloud = ToyCloud(target(), answers={STATE: [failure] * 9})
    toy = Toy(cloud)
    toy.run_until(5 * INTERVAL_MS)
    took = 59_000 if failure == "timeout" else TRIP_MS
    delays = [gap - took for gap in gaps(toy.polls())[:8]]
    assert delays == [15_000, 30_000, 60_000, 120_000, 240_000, 480_000, 900_000, 900_000]


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_an_error_answer_is_a_failure_and_retry_after_is_not_looked_at(status: int) -> None:
    cloud = ToyCloud(target(), answers={STATE: [(status, {"retry-after": "3"}, None)]})
    toy = Toy(cloud)
    toy.run_until(20_000)
    assert toy.polls() == [0, TRIP_MS + 15_000]


def test_html_instead_of_json_is_a_failure() -> None:
    cloud = ToyCloud(target(), answers={STATE: [(200, {}, "<html>sign in</html>")]})
    toy = Toy(cloud)
    toy.run_until(20_000)
    assert len(toy.polls()) == 2


def test_success_resets_the_backoff() -> None:
    cloud = ToyCloud(target(), answers={STATE: ["refused", "refused"]})
    toy = Toy(cloud)
    toy.run_until(60_000)
    cloud.answers[STATE] = ["refused"]
    toy.run_until(1_100_000)
    assert gaps(toy.polls())[-1] == 15_000 + TRIP_MS


def test_a_pushed_poll_interval_counts_from_the_delay_after_the_one_that_brought_it() -> None:
    toy = Toy(ToyCloud(target(config={"RESIN_SUPERVISOR_POLL_INTERVAL": "600000"})))
    toy.run_until(3_600_000)
    first, second, *_ = gaps(toy.polls())
    assert first >= INTERVAL_MS
    assert 600_000 <= second < 600_000 + JITTER_MS + TRIP_MS


def test_the_balena_name_wins_in_the_device() -> None:
    config = {
        "RESIN_SUPERVISOR_POLL_INTERVAL": "600000",
        "BALENA_SUPERVISOR_POLL_INTERVAL": "1200000",
    }
    toy = Toy(ToyCloud(target(config=config)))
    toy.run_until(3_600_000)
    assert gaps(toy.polls())[1] >= 1_200_000


@pytest.mark.parametrize("value", ["NaN", "", "0", "soon"])
def test_a_poll_interval_that_is_no_positive_number_leaves_the_default(value: str) -> None:
    toy = Toy(ToyCloud(target(config={"RESIN_SUPERVISOR_POLL_INTERVAL": value})))
    toy.run_until(3_600_000)
    assert all(gap >= INTERVAL_MS for gap in gaps(toy.polls()))


def test_an_unsolicited_304_keeps_the_last_target_and_is_an_error_for_the_real_one() -> None:
    def poll_times(config: AgentConfig) -> list[int]:
        toy = Toy(ToyCloud(target(), answers={STATE: [(304, {}, None)]}), config=config)
        toy.run_until(100_000)
        return toy.polls()

    assert poll_times(AgentConfig(initial_config={})) == [0]
    real = AgentConfig(initial_config={}, quirks=SUPERVISOR_19)
    assert poll_times(real) == [0, TRIP_MS + 15_000]


def test_a_200_without_an_etag_makes_every_poll_unconditional() -> None:
    part = target()
    body = {"a" * 32: part}
    toy = Toy(ToyCloud(part, answers={STATE: [(200, {}, body)] * 3}))
    toy.run_until(2 * INTERVAL_MS)
    assert all(
        "if-none-match" not in request.headers for _, request in toy.requests("GET", "/state")
    )
