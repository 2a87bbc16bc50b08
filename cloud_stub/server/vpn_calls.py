"""Calls of supervisor APIs through tunnels: over TCP, or over the channel where there is none."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import aiohttp

from agent.tunnel import channel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AGAIN_S = 1.0
CALL_S = 49.0
"""The API's own patience with a device."""


class Calls:
    """Calls over the channel that have no answer yet."""

    def __init__(self) -> None:
        self._open: dict[int, asyncio.Future[Any]] = {}

    def waited_for(self, number: int) -> bool:
        """A call of that number has no reply yet."""
        return number in self._open

    def answered(self, message: channel.Message) -> None:
        """A reply came."""
        waiting = self._open.get(message.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(message.body)

    async def ask(
        self, words: Mapping[str, Any], say: Callable[[bytes], None]
    ) -> tuple[int | None, Any]:
        """Say it again each second until there is an answer; its status and body."""
        number = secrets.randbits(32)
        try:
            datagrams = channel.write(channel.Message(channel.CALL, number, words))
        except channel.TooLongError:
            return None, None
        self._open[number] = waiting = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CALL_S):
                while not waiting.done():
                    for datagram in datagrams:
                        say(datagram)
                    await asyncio.wait((waiting,), timeout=AGAIN_S)
        except TimeoutError:
            return None, None
        finally:
            del self._open[number]
        answer = waiting.result()
        status = answer.get("status") if isinstance(answer, dict) else None
        return (status, answer.get("body")) if isinstance(status, int) else (None, None)


async def by_tcp(
    session: aiohttp.ClientSession, method: str, url: str, body: Mapping[str, Any], secret: str
) -> tuple[int | None, Any]:
    """Call an address inside a tunnel; status and body, ``None`` where none came."""
    try:
        async with session.request(
            method,
            url,
            params={"apikey": secret},
            json=None if method == "GET" else dict(body),
            timeout=aiohttp.ClientTimeout(total=CALL_S),
        ) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.text() or None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None, None
