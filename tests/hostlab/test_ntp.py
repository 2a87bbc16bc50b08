"""NTP between a device of the host lab and its time server: what the packets say."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from scenarios.hostlab.ntp import ahead_ms, answer_to, question

NOW_MS = 1_767_225_600_123
YEARS_MS = 60 * 365 * 86_400_000
"""NTP tells eras apart within 68 years."""


@given(st.integers(-YEARS_MS, YEARS_MS), st.integers(0, 400), st.integers(0, 400))
def test_a_client_learns_how_far_its_clock_is_off(off_ms: int, out_ms: int, back_ms: int) -> None:
    sent_ms = NOW_MS + off_ms
    answer = answer_to(question(sent_ms), NOW_MS + out_ms)
    assert answer is not None
    found = ahead_ms(answer, sent_ms, sent_ms + out_ms + back_ms)
    assert found is not None
    assert abs(found - off_ms) <= abs(out_ms - back_ms) // 2 + 1


def test_packets_are_those_of_ntp_version_4() -> None:
    asked = question(0)
    answer = answer_to(asked, NOW_MS)
    assert answer is not None
    assert (len(asked), len(answer)) == (48, 48)
    assert (asked[0], answer[0], answer[1]) == (0b00_100_011, 0b00_100_100, 1)
    # RFC 5905: 2 208 988 800 s from 1900 to 1970
    assert struct.unpack_from("!I", asked, 40) == (2_208_988_800,)


def test_an_answer_to_another_question_is_not_believed() -> None:
    answer = answer_to(question(NOW_MS), NOW_MS)
    assert answer is not None
    assert ahead_ms(answer, NOW_MS + 1_000, NOW_MS + 1_000) is None
    assert ahead_ms(question(NOW_MS), NOW_MS, NOW_MS) is None
    assert answer_to(answer, NOW_MS) is None
    assert answer_to(b"\x23", NOW_MS) is None
