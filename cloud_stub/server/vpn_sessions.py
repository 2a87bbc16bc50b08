"""The clients of a VPN service instance, and the addresses they have in its tunnels."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from agent.tunnel import channel

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Callable

    from aiohttp import web

REST = 1_000
"""So many others are given back before an address is given again: words to its last owner go by."""

WAITING_MAX = 1_000
"""Clients that have a tunnel and have not shown a key."""


class Session:
    """A client."""

    def __init__(
        self,
        number: int,
        ws: web.WebSocketResponse,
        address: str,
        *,
        waited_for: Callable[[int], bool],
    ) -> None:
        """One that has said nothing yet; ``waited_for``: whether a call has no reply yet.

        Of a client nothing is kept but a reply to a call: its pings are short.
        """
        self.number, self.ws, self.address = number, ws, address
        self.transport: asyncio.Transport | None = None
        self.task = asyncio.current_task()
        self.uuid = ""
        self.public = b""
        self.tcp = False
        self.silent = False
        self.heard_ms = self.pinged_ms = 0
        self.bytes = 0
        self.pinged = asyncio.Event()
        self.verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.reader = channel.Reader(lambda kind, n: kind == channel.REPLY and waited_for(n))
        self.up = False
        self.words: asyncio.Task[dict[str, Any]] | None = None
        """Its key, when it is shown."""
        self.rest: asyncio.Task[None] | None = None
        """What follows: nothing, and an end."""

    def read_no_more(self) -> None:
        """Nobody waits for its words."""
        for reading in (self.words, self.rest):
            if reading is not None and not reading.cancel() and not reading.cancelled():
                reading.exception()


class Waiting:
    """Clients that have shown no key yet. At a site that lets no UDP out they never do, and they
    must not keep others out.
    """

    def __init__(self) -> None:
        self._by_number: dict[int, Session] = {}

    def came(self, session: Session) -> Session | None:
        """One more; where there are too many, the one that waits longest has to go."""
        self._by_number[session.number] = session
        if len(self._by_number) <= WAITING_MAX:
            return None
        return self._by_number.pop(next(iter(self._by_number)))

    def gone(self, session: Session) -> None:
        """It waits no more."""
        self._by_number.pop(session.number, None)


class Addresses:
    """Those of a network, each with one owner at a time; the first is ours."""

    def __init__(self, network: ipaddress.IPv4Network) -> None:
        self._free = network.hosts()
        self.ours = str(next(self._free))
        self._returned: deque[str] = deque()

    def lease(self) -> str | None:
        """One that nobody has, for long if that can be; ``None``: there is none."""
        if len(self._returned) <= REST:
            fresh = next(self._free, None)
            if fresh is not None:
                return str(fresh)
        return self._returned.popleft() if self._returned else None

    def back(self, address: str) -> None:
        """Its owner is gone."""
        self._returned.append(address)
