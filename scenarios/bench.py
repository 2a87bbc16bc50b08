"""``fieldbeat bench``: speed and memory, beside a floor and a peer measured in the same run.

This is the only module besides the command line that reads a clock: it measures the machine it runs
on, never the simulated world.
"""

from __future__ import annotations

import gc
import heapq
import time
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .streams import Stream

if TYPE_CHECKING:
    from .virtual import World

DAY_MS = 86_400_000
POLL_MS = 600_000
JITTER_MS = 60_000
SETTLED_MS = 300_000
"""Every device has booted and reported by then."""

STEADY = """
scenario: Steady fleet
timeline:
  - {at: 0s, do: power_on}
  - {at: 24h, do: end}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One row of a bench: what, how many a CPU-second, and how it stands to the floor."""

    name: str
    count: int
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Events a CPU-second."""
        return self.count / self.cpu_seconds if self.cpu_seconds else 0.0


def steady_world(devices: int, *, shortcut: bool = True) -> World:
    """A fleet that is switched on and left alone for a day."""
    from .compile import compile_text
    from .virtual import World

    scenario = compile_text(STEADY, name="steady.scenario.yaml", devices=devices)
    return World(scenario, seed=1, shortcut=shortcut)


def bare_heap(devices: int) -> Measure:
    """The floor: a heap of timers that does nothing but fire and re-arm with jitter."""
    draws = [Stream("bench", number) for number in range(devices)]
    heap = [(draws[number].upto(POLL_MS), number, number) for number in range(devices)]
    heapq.heapify(heap)
    sequence, fired = devices, 0
    began = time.process_time()
    while heap[0][0] <= DAY_MS:
        at_ms, _, number = heap[0]
        sequence += 1
        fired += 1
        following = at_ms + POLL_MS + draws[number].upto(JITTER_MS)
        heapq.heapreplace(heap, (following, sequence, number))
    return Measure(name="bare heap loop", count=fired, cpu_seconds=time.process_time() - began)


def simpy_fleet(devices: int) -> Measure | None:
    """The peer: the same timers as SimPy processes; ``None`` where SimPy is not installed."""
    try:
        import simpy
    except ImportError:
        return None
    environment = simpy.Environment()
    fired = 0

    def poll(draws: Stream):  # type: ignore[no-untyped-def]  # SimPy has no types
        nonlocal fired
        while True:
            yield environment.timeout(POLL_MS + draws.upto(JITTER_MS))
            fired += 1

    for number in range(devices):
        environment.process(poll(Stream("bench", number)))
    began = time.process_time()
    environment.run(until=DAY_MS)
    return Measure(name="SimPy processes", count=fired, cpu_seconds=time.process_time() - began)


def virtual_fleet(devices: int) -> tuple[Measure, Measure]:
    """The product: a day of a steady fleet, agents and cloud and all, in one process.

    The first measure is of the whole run, set-up and boot too; the second of what comes after.
    """
    began = time.process_time()
    world = steady_world(devices)
    world.run_until(SETTLED_MS)
    settled, booted = time.process_time(), world.cloudside.heartbeats
    history = world.run()
    ended = time.process_time()
    whole = Measure(
        name="fieldbeat, set-up and boot too", count=history.heartbeats, cpu_seconds=ended - began
    )
    steady = Measure(
        name="fieldbeat, steady",
        count=history.heartbeats - booted,
        cpu_seconds=ended - settled,
    )
    return whole, steady


def walked_fleet(devices: int) -> Measure:
    """The same without the shortcut for steady polls: every request and timer is an event."""
    world = steady_world(devices, shortcut=False)
    world.run_until(SETTLED_MS)
    booted, began = world.cloudside.heartbeats, time.process_time()
    count = world.run().heartbeats - booted
    name = "fieldbeat, every message walked"
    return Measure(name=name, count=count, cpu_seconds=time.process_time() - began)


def bytes_per_device(devices: int) -> tuple[float, float]:
    """Python memory a device adds in a day, and how much of it is the recorded history.

    By ``tracemalloc``: machines, links, the cloud's rows and the agenda.
    """
    steady_world(1).run()  # imports, caches and interned values are not a device's
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    world = steady_world(devices)
    world.run()
    gc.collect()
    whole, _ = tracemalloc.get_traced_memory()
    world.history.forget()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / devices, (whole - after) / devices


def bench_virtual(devices: int = 1_000) -> list[str]:
    """Lines of the report for ``fieldbeat bench virtual``."""
    floor, peer = bare_heap(devices), simpy_fleet(devices)
    rows = [floor, *([peer] if peer else []), *virtual_fleet(devices)]
    rows.append(walked_fleet(max(1, devices // 10)))
    lines = [f"{devices} devices, 24 h, poll interval 10 min, one core"]
    for row in rows:
        ratio = row.per_second / floor.per_second
        lines.append(
            f"{row.name:32} {row.count:>9} heartbeats {row.cpu_seconds:7.2f} CPU s"
            f" {row.per_second:>11,.0f}/s {ratio:6.3f} of the floor"
        )
    if peer is None:
        lines.append("SimPy is not installed; install fieldbeat[bench] to have it beside")
    state, history = bytes_per_device(devices)
    lines.append(
        f"memory beyond the interpreter    {state:,.0f} B a device,"
        f" and {history:,.0f} B of recorded history"
    )
    return lines
