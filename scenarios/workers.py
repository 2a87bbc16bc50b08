"""Work that mostly waits, done by several processes at once, each result as soon as it is there.

A process of its own for each piece of work: a host lab's things are named after the process that
made them, so that no lab takes another one's for what a killed run has left.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

_FORK = multiprocessing.get_context("fork")
_PR_SET_PDEATHSIG = 1
CLEAN_UP_S = 60.0
"""What an interrupted piece of work has to remove what it made."""
Given = TypeVar("Given")
Made = TypeVar("Made")


class Workers(Generic[Given, Made]):
    """Does ``work`` on many things, some at once."""

    def __init__(
        self, work: Callable[[Given], Made], *, at_once: int, lost: Callable[[Given, str], Made]
    ) -> None:
        """Nothing begins before ``done``.

        Args:
            work: what to do; its result must be able to be pickled.
            at_once: at most so many.
            lost: what stands for the result of a process that ended without one, and why.
        """
        self._work, self._at_once, self._lost = work, at_once, lost
        self._running: dict[Connection, tuple[ForkProcess, Given]] = {}

    def done(self, things: Sequence[Given]) -> Iterator[Made]:
        """Results as they come; whoever stops asking ends what is under way."""
        left = list(reversed(things))
        try:
            while left or self._running:
                while left and len(self._running) < self._at_once:
                    self._begin(left.pop())
                for ready in wait(list(self._running)):
                    assert not isinstance(ready, int)
                    yield self._result(ready)  # type: ignore[arg-type]  # it is one of ours
        finally:
            self._end()

    def _begin(self, thing: Given) -> None:
        ours, theirs = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_child, args=(self._work, thing, theirs, os.getpid()))
        process.start()
        theirs.close()
        self._running[ours] = process, thing

    def _result(self, pipe: Connection) -> Made:
        process, thing = self._running.pop(pipe)
        try:
            made: Made = pipe.recv()
        except EOFError:
            process.join()
            return self._lost(thing, f"its process ended with status {process.exitcode}")
        finally:
            pipe.close()
        process.join()
        return made

    def _end(self) -> None:
        """Have what is under way clean up."""
        running = [process for process, _ in self._running.values()]
        for process in running:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        for process in running:
            process.join(CLEAN_UP_S)
            process.kill()


def _child(
    work: Callable[[Given], Made], thing: Given, pipe: Connection[Made, Made], parent: int
) -> None:
    # a terminal's interrupt reaches the parent, which asks once; a second one would cut the
    # cleaning up short
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        return
    with contextlib.suppress(KeyboardInterrupt):
        pipe.send(work(thing))
