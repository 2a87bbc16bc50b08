"""A server as the only thing in its process: what the interpreter is told."""

from __future__ import annotations

import gc
import sys
import time
from typing import TYPE_CHECKING

from .app import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import ServerSettings


async def alone(settings: ServerSettings, clock: Callable[[], float] = time.time) -> Server:
    """Start a server in a process of its own; ``clock`` gives seconds since 1970.

    Raises:
        StoreError, SettingsError, OSError: as for ``Server.start``.
    """
    server = await Server.start(settings, clock)
    # the writer's thread must get the interpreter back soon from a busy loop
    sys.setswitchinterval(0.0005)
    # what was loaded stays: looking for cycles in it again and again is a pause for everybody
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)
    return server
