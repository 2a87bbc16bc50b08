"""A server as the only thing in its process: what the interpreter is told."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from .app import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import ServerSettings


async def again(server: Server, settings: ServerSettings, clock: Callable[[], float]) -> Server:
    """Restart the API of a process: what was in memory is gone, VPN instances run on.

    Args:
        server: that goes.
        settings: of the process; credentials stay as they are stored.
        clock: gives seconds since 1970.

    Raises:
        StoreError, SettingsError, OSError: as for ``Server.start``.
    """
    down_s = server.restart_s or 0.0
    where = replace(settings, port=server.port)
    await server.close(leaves_vpn=True)
    await asyncio.sleep(down_s)
    return await Server.start(where, clock, former=server)


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
