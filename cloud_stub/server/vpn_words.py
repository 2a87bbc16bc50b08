"""Words of a client to its VPN server: JSON objects on a WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from agent.tunnel.plan import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
