"""Cloudlink's TCP in the virtual lab: peers with a new kernel, and links that lose packets."""

from __future__ import annotations

import itertools

import pytest

from scenarios.compile import compile_text
from scenarios.virtual import run_virtual

CUT_MS = 1_800_000
MINUTE_MS = 60_000


def _shown(*steps: str, seed: int = 1) -> list[tuple[int, bool]]:
    """When cloudlink was shown up or down after the cut, ms since then."""
    lines = "\n".join(f"  - {{{step}}}" for step in ("at: 0s, do: power_on", *steps))
    text = f"scenario: Test\ntimeline:\n{lines}\n"
    history = run_virtual(compile_text(text), seed=seed)
    return [
        (change.at_ms - CUT_MS, change.new)
        for change in history.changes
        if change.field == "is_connected_to_vpn" and change.at_ms >= CUT_MS
    ]


CUT, BACK, END = "at: 30m, do: power_off", "at: 30m + 3s, do: power_on", "at: 40m, do: end"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_board_that_logs_in_again_soon_is_not_missed(seed: int) -> None:
    assert _shown(CUT, BACK, END, seed=seed) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_new_kernel_resets_its_old_session_at_the_servers_next_try(seed: int) -> None:
    # it has a network and finds no name: nobody logs in
    shown = _shown("at: 29m, do: dns, state: error", CUT, BACK, END, seed=seed)
    assert [up for _, up in shown] == [False]
    # the first ping in vain was sent within 10 s, and again 0.2, 0.7, 1.7 … 30 and 61 s later
    assert 28_000 < shown[0][0] < 73_000


def test_a_board_that_stays_off_is_missed_after_the_servers_time() -> None:
    (shown,) = _shown(CUT, END)
    assert shown[1] is False
    assert 110_000 <= shown[0] <= 122_000


@pytest.mark.parametrize("direction", ["both", "in", "out"])
def test_a_reset_needs_the_way_there_and_back(direction: str) -> None:
    block = f"at: 29m + 55s, do: firewall, block: vpn, direction: {direction}"
    (shown,) = _shown(block, CUT, BACK, END)
    assert shown[1] is False
    assert 100_000 <= shown[0] <= 122_000


def test_the_server_tries_again_once_the_way_is_open() -> None:
    shown = _shown(
        "at: 29m, do: dns, state: error",
        CUT,
        "at: 30m + 3s, do: firewall, block: vpn",
        BACK,
        "at: 30m + 45s, do: firewall, allow: vpn",
        END,
    )
    assert [up for _, up in shown] == [False]
    assert 45_000 < shown[0][0] < 73_000


def test_where_a_fifth_is_lost_a_tunnel_falls_silent_now_and_then_and_comes_back() -> None:
    shown = _shown("at: 1m, do: impair, loss: 20%, latency: 300ms", "at: 24h, do: end")
    ups = [up for _, up in shown]
    assert 10 < ups.count(False) < 60
    assert all(one is not other for one, other in itertools.pairwise(ups))
    down_ms = [back - gone for (gone, _), (back, _) in zip(shown[::2], shown[1::2], strict=False)]
    assert max(down_ms) < 2 * MINUTE_MS


def test_where_one_in_fifty_is_lost_it_holds_all_day() -> None:
    assert _shown("at: 1m, do: impair, loss: 2%, latency: 300ms", "at: 24h, do: end") == []


def test_a_link_that_is_well_again_takes_the_danger_away() -> None:
    steps = ("at: 1m, do: impair, loss: 20%", "at: 2m, do: impair, clear: true", "at: 24h, do: end")
    assert _shown(*steps) == []
