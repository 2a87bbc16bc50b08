"""A lab of real programs says how busy its machine was."""

from __future__ import annotations

import asyncio

import pytest

from scenarios import report_text
from scenarios.busy import Busy
from scenarios.hostlab.watch import EACH_S, Lateness, waited_s
from scenarios.lab_diff import Comparison, Difference, Stood
from scenarios.report_html import render
from scenarios.results import document
from tests.histories import result

BUSY = Busy(3_240, 8_160_000, 60.0, 0.634)
WORDS = (
    "at most 3.2s late, at 2h 16m 00s (3m 14.4s of its time);"
    " for 63% of the time something waited for a processor"
)


@pytest.mark.parametrize(
    ("busy", "words"),
    [
        pytest.param(BUSY, WORDS, id="fast"),
        pytest.param(BUSY._replace(speed=1.0, waited=None), WORDS.partition(" (")[0], id="real"),
    ],
)
def test_it_is_told_in_words(busy: Busy, words: str) -> None:
    assert busy.words == words


def test_a_failure_tells_it_and_so_do_page_and_document() -> None:
    made = result()
    assert not any("the machine: " in line for line in report_text.failure(made))
    made.history.busy = BUSY
    assert f"  the machine: {WORDS}" in list(report_text.failure(made))
    assert f"the machine: {WORDS}" in render([made], lab="host", seed=1)
    (told,) = document([made], lab="host", seed=1)["scenarios"]
    assert told["machine"] == {"late": 3.24, "at": 8_160.0, "waited": 0.634}


@pytest.mark.parametrize("differs", [True, False])
def test_a_comparison_tells_it_where_the_labs_differ(differs: bool) -> None:
    stood = (Stood(0, 1_000, "done"),)
    found = Difference("device-1", "update_status", stood, stood, None if differs else 0)
    compared = Comparison.of("A case", "a.yaml", [found], 1_000, busy=BUSY)
    assert (f"  the machine: {WORDS}" in list(compared.lines())) is differs
    assert compared.document()["machine"] == BUSY.document()


def test_the_worst_delay_of_a_timer_is_found_with_its_moment() -> None:
    late_s = iter([0.0, 0.25, 0.75, 0.5])
    clock_s = 0.0

    def clock() -> float:
        nonlocal clock_s
        delay_s = next(late_s, None)
        if delay_s is None:
            raise asyncio.CancelledError
        clock_s += EACH_S + delay_s
        return clock_s

    found = Lateness(lambda: round(clock_s * 1_000), clock)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(found.watch())
    assert round(found.worst_s, 6) == 0.75
    assert found.at_ms == round((3 * EACH_S + 1.0) * 1_000)


def test_what_the_kernel_counts_is_read() -> None:
    text = "some avg10=14.55 avg60=17.36 avg300=14.51 total=5185149791\nfull avg10=0.00 total=0\n"
    assert waited_s(text) == pytest.approx(5_185.149791)
    assert waited_s("") is None
