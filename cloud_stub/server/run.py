"""A server as the only thing in its process: what the interpreter is told."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from .app import Server

if TYPE_CHECKING:
    from .settings import ServerSettings


async def alone(settings: ServerSettings) -> Server:
    """Start a server in a process of its own.

    Raises:
        StoreError, SettingsError, OSError: as for ``Server.start``.
    """
    server = await Server.start(settings)
    # the writer's thread must get the interpreter back soon from a busy loop
    sys.setswitchinterval(0.0005)
    # what was loaded stays: looking for cycles in it again and again is a pause for everybody
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)
    return server
