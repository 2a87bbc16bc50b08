"""What a host lab made is removed when somebody ends it, by Ctrl-C or by SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Inside, SIGTERM does what Ctrl-C does; a thread that is not the main one has no say in it.

    Raises:
        KeyboardInterrupt: the signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_interrupt(_: int, frame: FrameType | None) -> None:
    # a second one would cut the cleaning up short
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # asyncio has a handler of its own; a shell's background job has none, and ignores Ctrl-C
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt
