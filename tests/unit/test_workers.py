"""Several processes at once: results as they come, a lost one is told, all of them clean up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from scenarios.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHO_IS_KILLED = """
import pathlib, sys, time
from scenarios.workers import Workers

folder = pathlib.Path(sys.argv[1])

def work(number):
    try:
        (folder / "begun").touch()
        time.sleep(600)
    finally:
        (folder / "cleaned").touch()

list(Workers(work, at_once=1, lost=lambda *_: None).done([0]))
"""


def _until(seen: Callable[[], bool]) -> None:
    until = time.monotonic() + 180
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.01)


def _lost(thing: object, words: str) -> str:
    return f"{thing}: {words}"


def test_each_thing_is_done_in_a_process_of_its_own() -> None:
    workers = Workers(lambda n: f"{n} {os.getpid()}", at_once=3, lost=_lost)
    made = sorted(workers.done(range(5)))
    assert [row.split()[0] for row in made] == ["0", "1", "2", "3", "4"]
    assert len({row.split()[1] for row in made} | {str(os.getpid())}) == 6


def test_a_process_that_ends_without_a_result_is_told() -> None:
    def work(number: int) -> str:
        os._exit(number)

    assert list(Workers(work, at_once=1, lost=_lost).done([7])) == [
        "7: its process ended with status 7"
    ]


def test_whoever_stops_asking_ends_what_is_under_way_after_it_has_cleaned_up(
    tmp_path: Path,
) -> None:
    def work(number: int) -> str:
        if not number:
            return "first"
        try:
            (tmp_path / "begun").touch()
            while True:
                time.sleep(60)
        finally:
            (tmp_path / "cleaned").touch()

    working = Workers(work, at_once=2, lost=_lost).done([0, 1])
    assert next(working) == "first"
    _until((tmp_path / "begun").exists)
    working.close()  # type: ignore[attr-defined]  # it is a generator
    assert (tmp_path / "cleaned").exists()


def test_work_cleans_up_after_the_program_was_killed(tmp_path: Path) -> None:
    program = subprocess.Popen([sys.executable, "-c", WHO_IS_KILLED, str(tmp_path)])
    try:
        _until((tmp_path / "begun").exists)
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    _until((tmp_path / "cleaned").exists)
