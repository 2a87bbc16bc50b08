"""The resource API ``/v6`` and ``/v7``: OData requests to reads and changes of the store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import sqlalchemy as sa

from .. import messages as core
from ..columns import COLUMNS
from ..store.changes import Changes, Conflict, Forbidden
from ..store.odata_text import BadQuery, Options, parse_key, parse_options
from ..store.read import OtherProfile, Reader
from ..store.release_rows import service_installs
from ..store.resources import ALIASES, RESOURCES, TABLES
from ..store.values import columns_of
from .accounts import new_key
from .wire import Answer, body_of, empty, json_response, lower_headers, query_of, refused, to_web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store.access import Access
    from .app import Server
    from .people import Caller

NO_CACHE = {"Cache-Control": "no-cache"}
NOT_KEPT = frozenset(
    (
        *("team", "team_membership", "team_application_access", "user_application_membership"),
        *("invitee__is_invited_to__application", "invitee__is_invited_to__organization"),
        *("credit_bundle", "user__has__public_key", "organization_credit_notification"),
    )
)
"""Resources of balenaCloud that clients list and this stub has none of: always empty."""
_OLD_PIN, _PIN = "should_be_running__release", "is_pinned_on__release"


class ResourceApi:
    """Answers requests of the resource API."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._changing = asyncio.Lock()
        """From the commit of a change until the core knows of it."""

    async def handle(self, request: web.Request) -> web.Response:
        """Any method on ``/<version>/<resource>``; no answer of it may be kept by a cache."""
        try:
            response = await self._handle(request)
        except Answer as answer:
            response = answer.response
        response.headers.update(NO_CACHE)
        return response

    async def _handle(self, request: web.Request) -> web.Response:
        caller = self._server.caller(request)
        version = request.match_info["version"]
        tail = unquote(request.match_info["tail"])
        core_response = await self._by_core(request, caller, tail)
        if core_response is not None:
            return core_response
        access = caller.access(writing=request.method != "GET")
        if access is None:
            raise Answer(empty(401))
        try:
            return await self._answer(request, caller, access, version, tail)
        except BadQuery as error:
            raise Answer(refused(400, str(error))) from None
        except Conflict as error:
            raise Answer(refused(409, str(error))) from None
        except Forbidden:
            raise Answer(empty(401)) from None
        except OtherProfile:
            raise Answer(empty(500)) from None

    async def _by_core(
        self, request: web.Request, caller: Caller, tail: str
    ) -> web.Response | None:
        """What the core answers itself: VPN instances, a device's own progress and id."""
        query = query_of(request)
        own_id = (
            request.method == "GET" and tail == "device" and query.get("$select") == "id"
        ) and query.get("$filter", "").strip("( )").startswith("uuid eq '")
        progress = request.method == "PATCH" and tail == "device" and "$filter" in query
        wanted = tail == "service_instance" and request.method == "POST"
        if caller.kind in ("device", "provisioning"):
            wanted = wanted or own_id or progress
        if not wanted:
            return None
        body = await body_of(request)
        # the core knows these under one version each
        path = "/v6/device" if progress else f"/v7/{tail}"
        response = await self._server.desk.request(
            request.method, path, query=query, headers=lower_headers(request), body=body
        )
        if tail == "service_instance" and response.status == 201:
            number = response.body["id"]
            now_ms = self._server.desk.now_ms()
            stamps = {"created_at": now_ms, "modified_at": now_ms}
            table = TABLES["service_instance"]
            self._server.store.execute(sa.insert(table).values(id=number, **stamps))
            await self._server.store.committed()
            place = f"/{request.match_info['version']}/{tail}(@id)?@id={number}"
            return json_response(response.body, 201, {"location": place})
        return to_web(response)

    async def _answer(
        self, request: web.Request, caller: Caller, access: Access, version: str, tail: str
    ) -> web.Response:
        query = query_of(request)
        count = tail.endswith("/$count")
        name, key = parse_key(tail.removesuffix("/$count"), query)
        name = ALIASES.get(name, name)
        if name in NOT_KEPT and request.method == "GET":
            return json_response({"d": 0 if count else []})
        if name not in RESOURCES:
            raise Answer(empty(404))
        old_pins = version == "v6" and name == "device"
        if old_pins:
            query = {item: text.replace(_OLD_PIN, _PIN) for item, text in query.items()}
        options = parse_options({item: text for item, text in query.items() if item[:1] == "$"})
        if name in ("service_install", "device_service_environment_variable"):
            await self._install_services()
        if request.method == "GET":
            bare = version == "resin"
            rows = await self._read(access, name, key, options, count=count, unversioned=bare)
            if old_pins and isinstance(rows, list):
                rows = [_renamed(row) for row in rows]
            self._spoke(caller)
            return json_response({"d": rows})
        body = await body_of(request) if request.method != "DELETE" else None
        if old_pins and isinstance(body, dict) and _OLD_PIN in body:
            body = {**body, _PIN: body[_OLD_PIN]}
            del body[_OLD_PIN]
        # a client that wants no row back, in the words of PineJS
        bare = query.get("returnResource") == "false"
        answer = await self._change(request.method, access, name, key, options, body, version, bare)
        self._spoke(caller)
        await self._server.store.committed()
        return answer

    def _spoke(self, caller: Caller) -> None:
        if caller.kind == "device" and caller.device.uuid in self._server.desk.cloud.devices:
            self._server.desk.command(core.DeviceSpoke(uuid=caller.device.uuid))

    async def _read(
        self,
        access: Access,
        name: str,
        key: Mapping[str, int | str] | None,
        options: Options,
        *,
        count: bool,
        unversioned: bool = False,
    ) -> Any:
        async with self._server.store.reading() as connection:
            reader = self._reader(connection, access, unversioned=unversioned)
            if count:
                return await reader.count(name, options)
            return await reader.rows(name, options, key)

    def _reader(
        self, connection: AsyncConnection, access: Access, *, unversioned: bool = False
    ) -> Reader:
        now_ms, profile = self._server.desk.now_ms(), self._server.settings.profile
        return Reader(connection, access, profile, now_ms=now_ms, unversioned=unversioned)

    async def _install_services(self) -> None:
        now_ms = self._server.desk.now_ms()
        async with self._server.store.writing() as connection:
            await service_installs(connection, now_ms=now_ms)

    # --- changes ---------------------------------------------------------------------------------

    async def _change(
        self,
        method: str,
        access: Access,
        name: str,
        key: Mapping[str, int | str] | None,
        options: Options,
        body: Any,
        version: str,
        bare: bool,
    ) -> web.Response:
        if method == "POST":
            number = await self.create(access, name, body)
            rows: list[dict[str, Any]] = []
            if not bare:
                seeing = replace(access, writing=False)
                rows = await self._read(seeing, name, {"id": number}, Options(), count=False)
            made = rows[0] if rows else {"id": number}
            place = f"/{version}/{name}(@id)?@id={number}"
            return json_response(made, 201, {"location": place})
        if key is None and options.where is None and options.top is None:
            raise BadQuery("a change of every row there is must say so with $filter")
        done = await self.change(access, name, key, options, body, delete=method == "DELETE")
        if not done and method == "PUT" and key is not None:
            await self.create(access, name, {**key, **body})
            return empty(201)
        return empty(200)

    async def create(self, access: Access, name: str, body: Any) -> int:
        """A new row; its id.

        Raises:
            BadQuery, Conflict, Forbidden: it cannot be made.
        """
        if name == "device":
            return await self._create_device(access, body)
        if name == "api_key":
            raise BadQuery("keys are made through /api-key/v1/")
        async with self._changing:
            async with self._server.store.writing() as connection:
                changes = self._changes(connection, access)
                number = await changes.create(name, body)
            self._tell(changes)
        return number

    async def change(
        self,
        access: Access,
        name: str,
        key: Mapping[str, int | str] | None,
        options: Options,
        body: Any,
        *,
        delete: bool,
    ) -> int:
        """Change or delete rows; how many.

        Raises:
            BadQuery, Conflict, Forbidden: nothing was changed.
        """
        if not access.may_write(name):
            raise Forbidden
        async with self._changing:
            async with self._server.store.writing() as connection:
                reader = self._reader(connection, access)
                numbers = await reader.ids(name, options, key)
                changes = self._changes(connection, access)
                if name == "device":
                    columns = {} if delete else columns_of(RESOURCES[name], body, create=False)
                    plan = await self._plan(connection, access, numbers, columns, delete=delete)
                elif delete:
                    await changes.delete(name, numbers)
                else:
                    await changes.update(name, numbers, body)
            if name == "device":
                self._change_devices(plan)
            else:
                self._tell(changes)
        return len(numbers)

    def _changes(self, connection: AsyncConnection, access: Access) -> Changes:
        desk = self._server.desk
        return Changes(
            connection,
            access,
            now_ms=desk.now_ms(),
            registry=self._server.registry,
            new_actor=desk.new_actor,
        )

    def _tell(self, changes: Changes) -> None:
        for command in changes.commands:
            response = self._server.desk.command(command)
            assert response.status < 400, (command, response)
            if isinstance(command, core.RevokeKey):
                self._server.people.forget_key(command.sealed)

    # --- devices, whose rows are the core's ------------------------------------------------------

    async def _create_device(self, access: Access, body: Any) -> int:
        if access.kind != "user":
            raise Forbidden
        if isinstance(body, dict):
            body = {"uuid": new_key().lower().encode().hex()[:32], **body}
        columns = columns_of(RESOURCES["device"], body, create=True)
        async with self._server.store.writing() as connection:
            changes = self._changes(connection, replace(access, writing=True))
            await changes.check_refs("device", columns)
            fleet = await changes.row("application", columns["belongs_to__application"])
            kind = columns["is_of__device_type"] or fleet["is_for__device_type"]
            slug = (await changes.row("device_type", kind))["slug"]
        desk = self._server.desk
        given = {item: columns[item] for item in body if item in COLUMNS and item != "device_name"}
        response = desk.command(
            core.Preregister(
                uuid=columns["uuid"],
                name=columns["device_name"] or "",
                fleet=fleet["uuid"],
                api_key=new_key(),
                device_type=slug,
            )
        )
        if response.status == 409:
            raise Conflict('"uuid" must be unique.')
        if response.status >= 400:
            raise BadQuery(str(response.body).strip('"'))
        if given:
            desk.command(core.WriteDevice(uuid=columns["uuid"], fields=given))
        number: int = desk.cloud.devices[columns["uuid"]].id
        pin = columns["is_pinned_on__release"]
        if pin is not None:
            key: Mapping[str, int | str] = {"id": number}
            await self.change(access, "device", key, Options(), {_PIN: pin}, delete=False)
        return number

    async def _plan(
        self,
        connection: AsyncConnection,
        access: Access,
        numbers: list[int],
        columns: dict[str, Any],
        *,
        delete: bool,
    ) -> list[list[core.Command]]:
        """What the core is to do for each device; looked up before anything is done."""
        changes = self._changes(connection, access)
        await changes.check_refs("device", columns)
        if access.kind == "device" and (delete or not _OF_DEVICES.issuperset(columns)):
            raise Forbidden
        devices = TABLES["device"]
        query = sa.select(devices.c.uuid, devices.c.belongs_to__application)
        query = query.where(devices.c.id.in_(numbers)).order_by(devices.c.id)
        if delete:
            found = (await connection.execute(query)).all()
            return [[core.DeleteDevice(uuid=row.uuid)] for row in found]
        return [
            await self._commands(changes, row.uuid, row.belongs_to__application, dict(columns))
            for row in (await connection.execute(query)).all()
        ]

    async def _commands(
        self, changes: Changes, uuid: str, fleet: int, columns: dict[str, Any]
    ) -> list[core.Command]:
        found: list[core.Command] = []
        target = columns.pop("belongs_to__application", None)
        if target is not None:
            home = (await changes.row("application", target))["uuid"]
            found.append(core.MoveDevice(uuid=uuid, fleet=home))
            fleet = target
        if _PIN in columns:
            pin, commit = columns.pop(_PIN), None
            if pin is not None:
                release = await changes.row("release", pin)
                if release["belongs_to__application"] != fleet or release["status"] != "success":
                    raise BadQuery("a device can only be pinned to a release of its fleet")
                commit = release["commit"]
            found.append(core.PinDevice(uuid=uuid, commit=commit))
        if "is_active" in columns:
            found.append(core.SetActive(uuid=uuid, active=columns.pop("is_active")))
        if "is_frozen" in columns:
            found.append(core.SetFrozen(uuid=uuid, frozen=columns.pop("is_frozen")))
        if "uuid" in columns or "is_running__release" in columns or "actor" in columns:
            raise BadQuery("uuid and is_running__release cannot be written")
        written = {name: value for name, value in columns.items() if name in COLUMNS}
        if written:
            found.append(core.WriteDevice(uuid=uuid, fields=written))
        rest = {name: value for name, value in columns.items() if name not in COLUMNS}
        if rest:
            table = TABLES["device"]
            row = sa.update(table).where(table.c.uuid == uuid)
            await changes.connection.execute(row.values(**rest))
        return found

    def _change_devices(self, plan: list[list[core.Command]]) -> None:
        for commands in plan:
            for command in commands:
                response = self._server.desk.command(command)
                if response.status >= 400:
                    raise BadQuery(str(response.body).strip('"'))


_OF_DEVICES = frozenset(
    (
        *("device_name", "note", "status", "provisioning_progress", "provisioning_state"),
        *("os_version", "os_variant", "supervisor_version", "is_pinned_on__release"),
        *("ip_address", "mac_address", "public_address", "api_secret", "api_port"),
        *("should_be_managed_by__release", "should_be_operated_by__release", "local_id"),
    )
)
"""What a device may write of its own row."""


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """The pin under its name of v6."""
    if _PIN not in row:
        return row
    return {(_OLD_PIN if name == _PIN else name): value for name, value in row.items()}
