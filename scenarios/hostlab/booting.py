"""The moment at which a board that boots is there for others.

Its cable goes in before its programs start, which takes them some of the lab's time.  Until then
its kernel must not tell anybody that it knows nothing of the connections of its former life.
"""

from __future__ import annotations

import asyncio
import contextlib
from socket import AF_INET, SOCK_STREAM
from typing import TYPE_CHECKING

from ..errors import LabError
from . import nft
from .netns import socket_in

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "fieldbeat_booting"
LOOK_S, LISTEN_S = 0.02, 5.0
"""Real seconds between two looks whether a program is there, and how long one looks."""


@contextlib.contextmanager
def mute(namespace: str) -> Iterator[None]:
    """A kernel answers nobody whom it does not know."""
    nft.apply(namespace, nft.mute(TABLE))
    try:
        yield
    finally:
        with contextlib.suppress(LabError):
            nft.delete(namespace, TABLE)


async def listens(namespace: str, port: int, cut: asyncio.Event) -> None:
    """Wait until a program listens there, or the power is cut, or one has waited long enough."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LISTEN_S):
            while not cut.is_set():
                with (
                    contextlib.suppress(OSError),
                    socket_in(namespace, AF_INET, SOCK_STREAM, 0) as knocking,
                ):
                    await loop.sock_connect(knocking, ("127.0.0.1", port))
                    return
                await asyncio.sleep(LOOK_S)
