"""What a host lab made is removed when somebody ends it: by Ctrl-C, by SIGTERM, by hanging up."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_ENDS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP (a terminal is closed, a connection lost) do what Ctrl-C does; a
    thread that is not the main one has no say in it.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as ``nohup`` has it
            signal.signal(number, _as_interrupt)
    try:
        yield
    except KeyboardInterrupt:
        # a second one cuts the cleaning up short; asyncio need not tell what is open still
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, nothing ends the program but SIGKILL, for what is done in a moment; asyncio does not
    tell of processes that end while their loop is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDS)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    asyncio_log = logging.getLogger("asyncio")
    told = asyncio_log.level
    asyncio_log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        asyncio_log.setLevel(told)
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_interrupt(_: int, frame: FrameType | None) -> None:
    # a second one would cut the cleaning up short
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    # asyncio has a handler of its own; a shell's background job has none, and ignores Ctrl-C
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt
