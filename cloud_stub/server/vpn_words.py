"""Words of a client to its VPN server: JSON objects on a WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp

from agent.tunnel.plan import PlanError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from aiohttp import web


async def words_of(ws: web.WebSocketResponse) -> dict[str, Any]:
    """The client's next message.

    Raises:
        PlanError: there is none, or it is no JSON object.
    """
    message = await ws.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise PlanError("the client hung up")
    try:
        found = message.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise PlanError("a client speaks in JSON objects")
    return found


def text_of(words: Mapping[str, Any], name: str) -> str:
    value = words.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 128:
        raise PlanError(f"{name} must be a text")
    return value


async def until_closed(ws: web.WebSocketResponse) -> None:
    """The client, who has nothing to say any more, hangs up."""
    async for message in ws:
        if message.type is aiohttp.WSMsgType.ERROR:
            return


async def first(one: asyncio.Future[Any], other: Awaitable[Any]) -> None:
    """Wait until one of them is there."""
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait((one, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if waiting is not other:
            waiting.cancel()
