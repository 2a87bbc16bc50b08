"""The device API: what devices, their supervisors and the VPN service ask for (``WIRE.md``)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from aiohttp import web

from ..store.own_tables import LOGS
from ..store.query import place
from .accounts import new_key
from .wire import (
    Answer,
    body_of,
    empty,
    json_response,
    lower_headers,
    page,
    query_of,
    raw_body,
    to_web,
)

if TYPE_CHECKING:
    from ..model import Device
    from .app import Server
    from .people import Caller

LINE_MAX = 16_384
LINES_MAX = 10_000
STREAM_LINE_MAX = 128 * 1024
"""Bytes of one line of a stream: a supervisor's has 10 000 characters."""
_BEARER = "Bearer "


class DeviceApi:
    """Hands requests to the core; heartbeats of steady devices take the short way."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._desk = server.desk
        self._logs: dict[int, int] = {}
        """Device → lines stored since the last cut."""

    # --- heartbeats ------------------------------------------------------------------------------

    async def state(self, request: web.Request) -> web.Response:
        """``GET /device/v2|v3/<uuid>/state``.

        Raises:
            Answer: a fault was asked for, or too many requests came.
        """
        server, desk = self._server, self._desk
        uuid = request.match_info["uuid"]
        if server.looks_at_all:
            await server.look_at(request, uuid)
        cloud = desk.cloud
        row = cloud.devices.get(uuid)
        headers = request.headers
        key = headers.get("Authorization", "")
        if row is not None and key.startswith(_BEARER):
            etag = headers.get("If-None-Match")
            if row.etag == etag and etag is not None and cloud.key_owner(key[7:]) is row:
                now_ms = desk.now_ms()
                if cloud.quick_heartbeat(row, etag, now_ms=now_ms):
                    desk.beat_quickly(uuid)
                    server.store.beat(row.id, row.heartbeat_due_ms)
                    return web.Response(status=304, headers={"ETag": etag})
        response = await self._by_core(request, device=row)
        if row is not None and row.heartbeat_due_ms >= 0:
            server.store.beat(row.id, row.heartbeat_due_ms)
        return response

    # --- everything the core answers -------------------------------------------------------------

    async def plain(self, request: web.Request) -> web.Response:
        """A request the core answers as it is.

        Raises:
            Answer: the body cannot be read, or the store takes nothing now.
        """
        return await self._by_core(request, device=None)

    async def report(self, request: web.Request) -> web.Response:
        """``PATCH /device/v3/state``: with keys of devices alone, and often.

        Raises:
            Answer: as for ``plain``.
        """
        response = await self._desk.request(
            "PATCH",
            request.path,
            query=query_of(request),
            headers=lower_headers(request),
            body=await body_of(request),
        )
        return to_web(response)

    async def _by_core(self, request: web.Request, *, device: Device | None) -> web.Response:
        server = self._server
        caller = server.caller(request)
        body = await body_of(request) if request.method not in ("GET", "HEAD") else {}
        path = request.path if len(request.path) == 1 else request.path.rstrip("/")
        person = caller.kind == "user"
        if person:
            if device is not None and not await self.may(caller, device.fleet.id):
                raise Answer(empty(401))
            person = await self._people_may(request, caller, body)
        response = await self._desk.request(
            request.method,
            path,
            query=query_of(request),
            headers=lower_headers(request),
            body=body,
            person=person,
        )
        return to_web(response)

    async def _people_may(self, request: web.Request, caller: Caller, body: Any) -> bool:
        """A person is vouched for where the route takes people and the device is theirs."""
        cloud = self._desk.cloud
        fleet_uuid = request.match_info.get("fleet")
        if fleet_uuid is not None:
            fleet = cloud.fleet_of(fleet_uuid)
            return fleet is not None and await self.may(caller, fleet.id)
        if request.path.startswith("/supervisor/") and isinstance(body, dict):
            return await self._may_call(caller, body)
        return request.method in ("GET", "HEAD") and "uuid" in request.match_info

    async def _may_call(self, caller: Caller, body: dict[str, Any]) -> bool:
        """No such device, and no device of theirs, look the same."""
        number, uuid, fleet = body.get("deviceId"), body.get("uuid"), body.get("appId")
        found = [
            device
            for device in self._desk.cloud.devices.values()
            if (device.uuid == uuid if uuid is not None else device.id == number)
        ]
        if fleet is not None and uuid is None and number is None:
            return True
        if not found or await self.may(caller, found[0].fleet.id, writing=True):
            return True
        raise Answer(json_response("No online device(s) found", 404))

    async def may(self, caller: Caller, fleet: int, *, writing: bool = False) -> bool:
        """Whether a fleet is in a person's view."""
        access = caller.access(writing=writing)
        if access is None:
            return False
        here = place("application")
        query = sa.select(here.table.c.id).where(here.table.c.id == fleet)
        guard = access(here)
        async with self._server.store.reading() as connection:
            return (
                await connection.scalar(query if guard is None else query.where(guard)) is not None
            )

    async def register(self, request: web.Request) -> web.Response:
        """``POST /device/register``; a device that brings no key is given one.

        Raises:
            Answer: as for ``plain``.
        """
        body = await body_of(request)
        if isinstance(body, dict) and not body.get("api_key"):
            body = {**body, "api_key": new_key()}
        response = await self._desk.request(
            "POST",
            "/device/register",
            query=query_of(request),
            headers=lower_headers(request),
            body=body,
        )
        return to_web(response)

    # --- logs ------------------------------------------------------------------------------------

    def _own(self, request: web.Request) -> Device:
        caller = self._server.caller(request)
        device = caller.device
        if device is None or device.uuid != request.match_info["uuid"]:
            raise Answer(empty(401))
        own: Device = device
        return own

    async def take_logs(self, request: web.Request) -> web.Response:
        """``POST /device/v2/<uuid>/logs`` and ``/log-stream``: JSON array, or lines of JSON.

        Raises:
            Answer: another device's, or not to be read.
        """
        device = self._own(request)
        if request.match_info["kind"] == "log-stream":
            await self._stream(request, device)
        else:
            self._keep(device, _lines(await raw_body(request)))
        await self._server.store.committed()
        return empty(201)

    async def _stream(self, request: web.Request, device: Device) -> None:
        """Lines as they come, for as long as the device keeps the request open.

        Raises:
            Answer: they cannot be read.
        """
        rest = b""
        try:
            async for part in request.content.iter_any():
                whole, newline, rest = (rest + part).rpartition(b"\n")
                if newline:
                    self._keep(device, _lines(whole))
                if len(rest) > STREAM_LINE_MAX:
                    raise Answer(page(413, "Payload Too Large"))
        except (web.RequestPayloadError, ValueError, EOFError):
            raise Answer(page(400, "Bad Request")) from None
        if rest.strip():
            self._keep(device, _lines(rest))

    def _keep(self, device: Device, lines: list[Any]) -> None:
        counters, rows = self._desk.counters, []
        for line in lines[-LINES_MAX:]:
            counters["log"] += 1
            rows.append((counters["log"], device.id, line))
        self._server.store.logged(rows)
        self._cut(device.id, len(rows))

    def _cut(self, device: int, more: int) -> None:
        """Keep a bounded number of lines of each device."""
        bound = self._server.settings.log_lines_per_device
        self._logs[device] = self._logs.get(device, bound // 2) + more
        if self._logs[device] < bound:
            return
        self._logs[device] = bound // 2
        newest = sa.select(LOGS.c.id).where(LOGS.c.device == device)
        keep = newest.order_by(LOGS.c.id.desc()).offset(bound // 2).limit(1).scalar_subquery()
        old = sa.and_(LOGS.c.device == device, LOGS.c.id <= keep)
        self._server.store.execute(sa.delete(LOGS).where(old), last=True)

    async def give_logs(self, request: web.Request) -> web.Response:
        """``GET /device/v2/<uuid>/logs?count=``: the newest lines, oldest first.

        Raises:
            Answer: not the caller's to see.
        """
        caller = self._server.caller(request)
        device = self._desk.cloud.devices.get(request.match_info["uuid"])
        own = device is not None and caller.device is device
        if device is None or not (own or await self.may(caller, device.fleet.id)):
            raise Answer(empty(401))
        text = request.query.get("count", "all")
        count = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else LINES_MAX
        query = sa.select(LOGS.c.line).where(LOGS.c.device == device.id)
        query = query.order_by(LOGS.c.id.desc()).limit(min(count, LINES_MAX))
        async with self._server.store.reading() as connection:
            found = list(await connection.scalars(query))
        return json_response(found[::-1])


def _lines(raw: bytes) -> list[Any]:
    """Log lines of a body; what is no JSON object is left out."""
    try:
        text = raw.decode("utf-8", "replace")
        parts = json.loads(text) if text.lstrip()[:1] == "[" else _each(text)
    except (ValueError, RecursionError):
        raise Answer(page(400, "Bad Request")) from None
    return [_shortened(part) for part in parts if isinstance(part, dict)]


def _each(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _shortened(line: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(line).replace("\\u0000", "")
    if len(text) > LINE_MAX:
        return {"message": str(line.get("message", ""))[: LINE_MAX // 8], "truncated": True}
    shortened: dict[str, Any] = json.loads(text)
    return shortened
