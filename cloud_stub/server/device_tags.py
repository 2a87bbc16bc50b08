"""Tags that devices set themselves, a few at a time (``SUPERVISOR.md §2``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..store.odata_text import BadQuery, parse_options
from .wire import Answer, body_of, empty, refused

if TYPE_CHECKING:
    from aiohttp import web

    from ..store.access import Access
    from .app import Server


class DeviceTags:
    """Stores them as the resource ``device_tag``."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def take(self, request: web.Request) -> web.Response:
        """``PATCH /device/v3/tags``: ``{uuid: {key: value}}``, of the device that asks.

        Raises:
            Answer: it is another's, or cannot be read.
        """
        caller = self._server.caller(request)
        access = caller.access(writing=True)
        body = await body_of(request)
        if caller.kind != "device" or access is None or not isinstance(body, dict):
            raise Answer(empty(401))
        tags = body.get(caller.device.uuid)
        if not isinstance(tags, dict) or len(body) != 1:
            raise Answer(empty(401))
        try:
            for key, value in tags.items():
                await self._tag(access, caller.device.id, key, value)
        except BadQuery as error:
            raise Answer(refused(400, str(error))) from None
        await self._server.store.committed()
        return empty(200)

    async def _tag(self, access: Access, device: int, key: str, value: Any) -> None:
        quoted = key.replace("'", "''")
        chosen = parse_options({"$filter": f"device eq {device} and tag_key eq '{quoted}'"})
        given = {"value": value}
        if not await self._server.resources.change(
            access, "device_tag", None, chosen, given, delete=False
        ):
            await self._server.resources.create(
                access, "device_tag", {"device": device, "tag_key": key, **given}
            )
