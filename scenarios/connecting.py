"""TCP's tries to connect, by the clock of a loop that runs faster than real time.

Linux sends the first segment of a connection again after 1, 3, 7 … s (RFC 6298, sections 2.1 and
5.5; ``tcp_syn_retries``), whatever our clock says: at sixty times the speed a device would knock
again after a minute, not after a second.  So the tries are made here.  Each is a socket of its own,
for a late answer to the first must still count; what connects first takes the place of the socket
that was given.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from .simulation.links import CONNECT_GIVEN_UP_MS, SYN_INSTANTS_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Connect = Callable[[socket.socket, Any], Awaitable[None]]

KERNEL_S = 0.9
"""Real seconds after which a try ends: the kernel's own second one would be at the wrong moment."""
SPEED_MIN = 5.0
"""Below it ``KERNEL_S`` would be too short for the answer of a slow link, and the kernel tries."""


def can_try(given: socket.socket) -> bool:
    """Whether a socket is one of TCP that is not bound to an address."""
    if given.type != socket.SOCK_STREAM or given.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    bound: bool = given.getsockname()[1] != 0
    return not bound


async def connect(given: socket.socket, address: Any, via: Connect, *, speed: float) -> None:
    """Connect, as Linux does at speed 1.

    Args:
        given: not connected, not bound.
        address: where to.
        via: makes one try with a socket.
        speed: how much faster than real time the running loop is.

    Raises:
        OSError: refused, unreachable, or nobody has answered any of the tries.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    trying: set[asyncio.Task[socket.socket]] = set()
    try:
        for until_ms in (*SYN_INSTANTS_MS[1:], CONNECT_GIVEN_UP_MS):
            trying.add(loop.create_task(_try(given, address, via, KERNEL_S * speed)))
            until_s = began_s + until_ms / 1_000
            while (left_s := until_s - loop.time()) > 0:
                if not trying:
                    await asyncio.sleep(left_s)
                    continue
                ended, trying = await asyncio.wait(
                    trying, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                )
                connected = _connected(ended)
                if connected is not None:
                    with connected:
                        os.dup2(connected.fileno(), given.fileno(), inheritable=False)
                    return
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    finally:
        for task in trying:
            task.cancel()
        for left in await asyncio.gather(*trying, return_exceptions=True):
            if isinstance(left, socket.socket):
                left.close()


async def _try(like: socket.socket, address: Any, via: Connect, limit_s: float) -> socket.socket:
    made = socket.socket(like.family, like.type, like.proto)
    try:
        made.setblocking(False)
        async with asyncio.timeout(limit_s):
            await via(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _connected(ended: set[asyncio.Task[socket.socket]]) -> socket.socket | None:
    """The first that is; others are closed.

    Raises:
        OSError: one was refused, or there is no way.
    """
    sockets = []
    for task in ended:
        error = task.exception()
        if error is None:
            sockets.append(task.result())
        elif not isinstance(error, TimeoutError):
            for made in sockets:
                made.close()
            raise error
    for made in sockets[1:]:
        made.close()
    return sockets[0] if sockets else None
