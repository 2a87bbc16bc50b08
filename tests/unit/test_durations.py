"""Durations and moments: what people may write and what it is worth."""

from __future__ import annotations

import pytest

from scenarios.durations import LONGEST_EXPRESSION, DurationError, duration_ms, human, moment_ms

NAMES = {"poll_interval": 600_000, "vpn_server_timeout": 120_000, "poll_jitter": 60_000}
ANCHORS = {"power_on": 0, "blocked": 1_800_000, "vpn-cut": 60_000}


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("0", 0),
        ("500ms", 500),
        ("90s", 90_000),
        ("10m", 600_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("1w", 604_800_000),
        ("1.5h", 5_400_000),
        ("0.25s", 250),
        ("1m30s500ms", 90_500),
        ("-5m", -300_000),
        ("vpn_server_timeout + 2s", 122_000),
        ("1.5 * poll_interval", 900_000),
        ("poll_interval * 1.5 + 15s", 915_000),
        ("2 * (poll_interval + poll_jitter) - 1s", 1_319_000),
        ("poll_interval-1s + 0", None),
        ("(1h)", 3_600_000),
        ("  30s  ", 30_000),
        ("0.1 * 3s", 300),  # 0.1 * 3000 is 300.00000000000006 in floating point
    ],
)
def test_a_duration_is_worth_whole_milliseconds(text: str, expected_ms: int | None) -> None:
    if expected_ms is None:
        with pytest.raises(DurationError, match="blanks around a minus sign"):
            duration_ms(text, NAMES)
    else:
        assert duration_ms(text, NAMES) == expected_ms


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("power_on", 0),
        ("blocked + 2m", 1_920_000),
        ("2m + blocked", 1_920_000),
        ("blocked - poll_interval", 1_200_000),
        ("vpn-cut + 1s", 61_000),
        ("30m", 1_800_000),
        ("blocked - power_on", 1_800_000),
        ("blocked + 1.5 * (blocked - vpn-cut)", 4_410_000),
    ],
)
def test_a_moment_is_an_anchor_with_durations_added(text: str, expected_ms: int) -> None:
    assert moment_ms(text, NAMES, ANCHORS) == expected_ms


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a duration is missing"),
        ("5", "needs a unit"),
        ("5 + 2s", "needs a unit"),
        ("10min", "write 10m"),
        ("3 hours", "write 90s"),
        ("10x", "unknown unit 'x'"),
        ("1h30", "'30' needs a unit"),
        ("1:30", "unexpected ':'"),
        ("poll_intervall", "did you mean 'poll_interval'?"),
        ("nonsense", "names: poll_interval"),
        ("2m * 3m", "only a duration and a plain number"),
        ("(1h", "a parenthesis is not closed"),
        ("1h)", "unexpected ')'"),
        ("* 2", "unexpected '*'"),
        ("1h +", "ends too early"),
        ("1h 2m", "join with + - or *"),
        ("0.0001s", "not a whole number of milliseconds"),
        ("400d", "too long"),
        ("1s + " * 60 + "1s", f"at most {LONGEST_EXPRESSION} characters"),
    ],
)
def test_a_mistake_is_told_with_the_remedy(text: str, said: str) -> None:
    with pytest.raises(DurationError) as raised:
        duration_ms(text, NAMES)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("power_on + blocked", "two moments cannot be added"),
        ("2m - blocked", "write the moment first"),
        ("2 * blocked", "only a duration and a plain number"),
        ("bloked", "did you mean 'blocked'?"),
    ],
)
def test_moments_are_not_durations(text: str, said: str) -> None:
    with pytest.raises(DurationError) as raised:
        moment_ms(text, NAMES, ANCHORS)
    assert said in str(raised.value)


def test_parentheses_as_deep_as_the_length_allows_are_read() -> None:
    depth = (LONGEST_EXPRESSION - 2) // 2
    assert duration_ms("(" * depth + "1s" + ")" * depth) == 1_000


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "0s"),
        (250, "0.25s"),
        (59_999, "59.999s"),
        (120_400, "2m 00.4s"),
        (3_600_000, "1h 00m 00s"),
        (90_061_001, "1d 01h 01m 01.001s"),
        (-61_000, "-1m 01s"),
    ],
)
def test_times_are_shown_in_human_units(at_ms: int, text: str) -> None:
    assert human(at_ms) == text
