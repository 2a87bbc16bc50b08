"""The log stream of a supervisor: when it is opened, what is kept, when it is let go (§2, §11)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent import effects as do
from agent.durations import pretty
from agent.events import ContainerChanged, PullFailed
from agent.logs import PENDING_MAX, LogStream
from agent.mirror import Box, Mirror, Use
from agent.system_log import begins, came
from tests.unit.test_agent_recorded import locked_toy


class Toy:
    """A stream, and a driver that only writes down what it is told."""

    def __init__(self) -> None:
        self.stream = LogStream()
        self.now_ms = 1_000
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.refuses = False

    def write(self, message: str, **more: Any) -> None:
        self.stream.write(message, now_ms=self.now_ms, **more)

    def run_until(self, end_ms: int) -> None:
        while (due_ms := self.stream.next_deadline_ms()) is not None and due_ms <= end_ms:
            self.now_ms = max(self.now_ms, due_ms)
            for command in self.stream.due(now_ms=self.now_ms):
                if command == "open":
                    self.opened.append(self.now_ms)
                    if self.refuses:
                        self.stream.ended()
                elif command == "close":
                    self.closed.append(self.now_ms)
                elif isinstance(command, bytes):
                    lines = command.decode().splitlines()
                    self.sent += [(self.now_ms, json.loads(line)) for line in lines]
        self.now_ms = end_ms


def test_the_first_line_opens_the_request_and_goes_after_the_grace() -> None:
    toy = Toy()
    toy.write("hello", serviceId=7)
    toy.run_until(10_000)
    assert toy.opened == [1_000]
    assert toy.sent == [(6_000, {"message": "hello", "timestamp": 1_000, "serviceId": 7})]


def test_lines_of_a_tenth_of_a_second_go_together() -> None:
    toy = Toy()
    toy.write("first")
    toy.run_until(10_000)
    for n in range(3):
        toy.write(str(n))
        toy.run_until(toy.now_ms + 40)
    toy.run_until(20_000)
    assert [at_ms for at_ms, _ in toy.sent[1:]] == [10_100] * 3


def test_a_minute_without_a_line_ends_the_request_and_the_next_line_opens_another() -> None:
    toy = Toy()
    toy.write("one")
    toy.run_until(100_000)
    assert toy.closed == [61_000]
    toy.write("two")
    toy.run_until(110_000)
    assert toy.opened == [1_000, 100_000]


def test_refusals_make_the_cool_down_longer_up_to_five_minutes_and_keep_the_lines() -> None:
    toy = Toy()
    toy.refuses = True
    while len(toy.opened) < 9:
        toy.write("again")
        toy.run_until(toy.now_ms + 1_000)
    gaps = [b - a for a, b in zip(toy.opened, toy.opened[1:], strict=False)]
    assert gaps == [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000]
    assert toy.sent == []
    toy.refuses = False
    toy.write("at last")
    toy.run_until(toy.now_ms + 400_000)
    assert toy.sent[0][1]["timestamp"] == 1_000


def test_what_does_not_fit_is_counted_and_told() -> None:
    toy = Toy()
    for _ in range(40):
        toy.write("x" * 9_000)
    toy.run_until(10_000)
    assert sum(len(line["message"]) for _, line in toy.sent) < PENDING_MAX
    last = toy.sent[-1][1]
    assert (
        last["message"]
        == f"Warning: Suppressed {40 - len(toy.sent[:-1])} message(s) due to high load"
    )
    assert last["isStdErr"] is True


def test_a_long_line_is_cut() -> None:
    toy = Toy()
    toy.write("y" * 20_000)
    toy.run_until(10_000)
    message = toy.sent[0][1]["message"]
    assert len(message) == 10_000
    assert message.endswith("y[...]")


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(500, "500ms"), (1_000, "1s"), (32_000, "32s"), (128_000, "2m"), (7_200_000, "2h")],
)
def test_durations_are_written_in_their_largest_unit(duration_ms: int, text: str) -> None:
    assert pretty(duration_ms) == text


def test_the_supervisor_tells_what_it_begins_and_what_has_come_of_it() -> None:
    mirror, box = Mirror(), Box("m", Use("img", "app", "main", "c"), "running")
    mirror.add_box(box)
    assert begins(do.PullImage(image="img"), mirror) == "Downloading image 'img'"
    assert begins(do.StopContainer(name="m", grace_ms=1), mirror) == "Killing service 'main img'"
    assert begins(do.Note(text="poll failed"), mirror) is None
    exited = ContainerChanged(name="m", state="exited")
    assert came(exited, mirror) == "Service exited 'main img'"
    box.doing = "stopping"
    assert came(exited, mirror) == "Killed service 'main img'"
    failed = PullFailed(image="img", reason="no route")
    assert came(failed, mirror) == "Failed to download image 'img' due to 'no route'"


def test_a_locked_update_is_told_in_the_recorded_words() -> None:
    toy = locked_toy("download-then-kill")
    toy.run_until(toy.now_ms + 20_000)
    told = [note.log for _, note in toy.of(do.Note) if note.log]
    assert told[-3:] == [f"Updates are locked, retrying in {n}s" for n in (2, 4, 8)]
