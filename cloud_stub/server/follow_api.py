"""The history for people and programs: pages, server-sent events, WebSocket; fault controls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, get_args

import sqlalchemy as sa
from aiohttp import WSMsgType, web
from pydantic import ValidationError

from ..messages import KnownFault, SetFault, WriteDevice
from ..store.functions import instant_ms
from ..store.odata_text import BadQuery
from ..store.own_tables import EVENTS
from ..store.statements import EventRow
from .history import shown, shown_value
from .wire import Answer, body_of, dumps, empty, json_response, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from .app import Server
    from .history import Subscriber
    from .people import Caller

PAGE = 100
PAGE_MAX = 1_000
BEAT_S = 15.0
DOWN_MAX_S = 86_400
"""A silent stream shows it is alive this often."""


class FollowApi:
    """Answers requests about the history and about faults."""

    def __init__(self, server: Server) -> None:
        self._server = server

    # --- what one may see ------------------------------------------------------------------------

    async def _fleets(self, caller: Caller) -> frozenset[int] | None:
        """The fleets a person sees; ``None``: all of them."""
        if caller.kind != "user" or caller.person is None:
            raise Answer(empty(401))
        if caller.person.admin:
            return None
        fleets = {device.fleet.id for device in self._server.desk.cloud.devices.values()}
        seen = [fleet for fleet in fleets if await self._server.devices.may(caller, fleet)]
        return frozenset(seen)

    async def _wanted(
        self, request: web.Request
    ) -> tuple[frozenset[int] | None, Callable[[EventRow], bool]]:
        fleets = await self._fleets(self._server.caller(request))
        query = request.query
        device, field = query.get("device"), query.get("field")
        fleet = _whole(query.get("fleet"), "fleet")

        def wanted(event: EventRow) -> bool:
            return (
                (fleets is None or event.fleet in fleets)
                and device in (None, event.device)
                and field in (None, event.field)
                and fleet in (None, event.fleet)
            )

        return fleets, wanted

    # --- paging ----------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.Response:
        """``GET /fieldbeat/v1/events?device=&fleet=&field=&since=&until=&after=&limit=``.

        ``after`` is the last id of the page before; ``next`` of an answer gives it.

        Raises:
            Answer: not a person, or a parameter is wrong.
        """
        fleets, _ = await self._wanted(request)
        query, given = sa.select(EVENTS), request.query
        for name in ("device", "field"):
            if name in given:
                query = query.where(EVENTS.c[name] == given[name])
        fleet = _whole(given.get("fleet"), "fleet")
        if fleet is not None:
            query = query.where(EVENTS.c.fleet == fleet)
        if fleets is not None:
            query = query.where(EVENTS.c.fleet.in_(sorted(fleets)))
        try:
            if "since" in given:
                query = query.where(EVENTS.c.at_ms >= instant_ms(given["since"]))
            if "until" in given:
                query = query.where(EVENTS.c.at_ms < instant_ms(given["until"]))
        except BadQuery as error:
            raise Answer(refused(400, str(error))) from None
        after = _whole(given.get("after"), "after") or 0
        limit = min(_whole(given.get("limit"), "limit") or PAGE, PAGE_MAX)
        query = query.where(EVENTS.c.id > after).order_by(EVENTS.c.id).limit(limit)
        async with self._server.store.reading() as connection:
            rows = (await connection.execute(query)).all()
        events = [shown(EventRow(*row)) for row in rows]
        following = events[-1]["id"] if len(events) == limit else None
        return json_response({"events": events, "next": following})

    # --- streams ---------------------------------------------------------------------------------

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """``GET /fieldbeat/v1/events/stream``: server-sent events, or a WebSocket if asked for.

        Raises:
            Answer: not a person.
        """
        _, wanted = await self._wanted(request)
        with self._server.desk.history.follow(wanted) as subscriber:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._socket(request, subscriber)
            return await self._sent(request, subscriber)

    async def _sent(self, request: web.Request, subscriber: Subscriber) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        await response.write(b": fieldbeat\n\n")
        while not (subscriber.lost or self._server.closing.is_set()):
            event = await self._next(subscriber)
            if event is None:
                await response.write(b": alive\n\n")
                continue
            body = dumps(shown(event))
            await response.write(b"id: %d\nevent: change\ndata: %s\n\n" % (event.id, body))
        return response

    async def _socket(self, request: web.Request, subscriber: Subscriber) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=BEAT_S)
        await socket.prepare(request)
        gone = asyncio.create_task(_until_gone(socket))
        try:
            while not (subscriber.lost or gone.done() or self._server.closing.is_set()):
                event = await self._next(subscriber, gone)
                if event is not None:
                    await socket.send_bytes(dumps(shown(event)))
        finally:
            gone.cancel()
            await socket.close()
        return socket

    async def _next(
        self, subscriber: Subscriber, gone: asyncio.Task[None] | None = None
    ) -> EventRow | None:
        """The next event; ``None`` after a while of silence or when it is over."""
        get = asyncio.ensure_future(subscriber.queue.get())
        closing = asyncio.ensure_future(self._server.closing.wait())
        ends = [get, closing, *([gone] if gone else [])]
        await asyncio.wait(ends, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if get.done():
            return get.result()
        get.cancel()
        return None

    # --- faults ----------------------------------------------------------------------------------

    async def faults(self, request: web.Request) -> web.Response:
        """``GET``, ``PUT`` or ``DELETE /fieldbeat/v1/faults``: for the administrator.

        Raises:
            Answer: not the administrator, or the faults are not understood.
        """
        self._server.admin(request)
        injector = self._server.injector
        if request.method != "GET":
            body = await body_of(request) if request.method == "PUT" else {}
            try:
                injector.put(body)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise Answer(refused(400, f"{place}: {first['msg']}")) from None
            for fault in get_args(KnownFault):
                on = fault in injector.faults.incidents
                self._server.desk.command(SetFault(fault=fault, on=on))
            if injector.faults.vpn_server == "down":
                self._cut_tunnels()
            await self._server.store.committed()
        return json_response(injector.faults.model_dump())

    async def view(self, request: web.Request) -> web.Response:
        """``GET /fieldbeat/v1/devices/{uuid}``: the fields of the history, as they are now.

        Raises:
            Answer: not a person, or not one who sees such a device.
        """
        fleets = await self._fleets(self._server.caller(request))
        cloud = self._server.desk.cloud
        device = cloud.devices.get(request.match_info["uuid"])
        if device is None or (fleets is not None and device.fleet.id not in fleets):
            raise Answer(empty(404))
        found = cloud.view(device.uuid, now_ms=self._server.desk.now_ms())
        return json_response({name: shown_value(name, value) for name, value in found.items()})

    async def restart(self, request: web.Request) -> web.StreamResponse:
        """``POST /fieldbeat/v1/restart``: the API goes away and comes back from its store.

        VPN service instances run on, as on a real cloud, where they are other processes.

        Raises:
            Answer: not the administrator, or ``down_for`` (seconds) is no time.
        """
        self._server.admin(request)
        body = await body_of(request)
        down_s = body.get("down_for", 0) if isinstance(body, dict) else None
        if isinstance(down_s, bool) or not isinstance(down_s, int | float):
            down_s = -1
        if not 0 <= down_s <= DOWN_MAX_S:
            raise Answer(refused(400, f"down_for must be seconds, from 0 to {DOWN_MAX_S}"))
        self._server.restart_s = down_s
        answer = json_response({"down_for": down_s}, 202)
        await answer.prepare(request)
        await answer.write_eof()  # before nobody is there to say it
        self._server.restarting.set()
        return answer

    async def vpn(self, request: web.Request) -> web.Response:
        """``PUT /fieldbeat/v1/vpn/{name}``: start, stop or trouble a VPN service instance of ours.

        Raises:
            Answer: not the administrator, there is no such instance, or no such state.
        """
        self._server.admin(request)
        services, name = self._server.vpn, request.match_info["name"]
        body = await body_of(request)
        state = body.get("state") if isinstance(body, dict) else None
        if state not in ("up", "down", "killed", "hang", "error"):
            raise Answer(refused(400, "state must be up, down, killed, hang or error"))
        try:
            if state == "up":
                await services.begin(name)
            elif state in ("hang", "error"):
                services.trouble(name, state)
            else:
                await services.end(name, killed=state == "killed")
        except KeyError:
            raise Answer(refused(404, f"there is no VPN service instance {name}")) from None
        return json_response({"name": name, "state": state})

    def _cut_tunnels(self) -> None:
        """The VPN servers go down in order: they report all their clients as gone."""
        desk = self._server.desk
        for device in list(desk.cloud.devices.values()):
            if device.is_connected_to_vpn:
                down: dict[str, Any] = {
                    "is_connected_to_vpn": False,
                    "is_managed_by__service_instance": None,
                }
                desk.command(WriteDevice(uuid=device.uuid, fields=down))


async def _until_gone(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.ERROR:
            return


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Answer(refused(400, f"{name} must be a whole number"))
    return int(text)
