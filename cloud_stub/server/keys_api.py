"""Logging in, who one is, and making keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from aiohttp import web

from ..store.functions import instant_ms
from ..store.odata_text import BadQuery
from ..store.query import place
from ..store.resources import TABLES
from .accounts import Attempts, new_key
from .people import add_user
from .wire import Answer, body_of, empty, json_response, lower_headers, query_of, refused, to_web

if TYPE_CHECKING:
    from .accounts import Person
    from .app import Server
    from .people import Caller

NAME_MAX = 255


class KeysApi:
    """Answers requests about accounts and keys."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._attempts = Attempts(server.settings.login_attempts)

    # --- sessions --------------------------------------------------------------------------------

    async def login(self, request: web.Request) -> web.Response:
        """``POST /login_``: a session token for a name and a password.

        Raises:
            Answer: 401 for a wrong one, 429 for too many.
        """
        body = await body_of(request)
        name, password = (
            (body.get("username"), body.get("password")) if isinstance(body, dict) else (None, None)
        )
        if not isinstance(name, str) or not isinstance(password, str) or len(password) > NAME_MAX:
            raise Answer(empty(401))
        now_s = self._server.desk.now_ms() / 1_000
        wait_s = self._attempts.refused_for_s(name.lower(), now_s=now_s)
        if wait_s is not None:
            raise Answer(empty(429, **{"Retry-After": str(wait_s)}))
        person = await self._server.in_thread(self._server.people.with_password, name, password)
        if person is None:
            self._attempts.failed(name.lower(), now_s=now_s)
            raise Answer(empty(401))
        self._attempts.succeeded(name.lower())
        return self._token(person)

    def _token(self, person: Person) -> web.Response:
        now_s = self._server.desk.now_ms() // 1_000
        text = self._server.sessions.token(person, now_s=now_s)
        return web.Response(text=text, content_type="text/plain")

    async def refresh(self, request: web.Request) -> web.Response:
        """``GET /whoami``: a new token for the one that is shown.

        Raises:
            Answer: no session.
        """
        return self._token(self._person(request))

    async def whoami(self, request: web.Request) -> web.Response:
        """``GET /actor/v1/whoami``.

        Raises:
            Answer: nobody.
        """
        caller = self._server.caller(request)
        match caller.kind:
            case "user":
                person = self._person(request)
                who: dict[str, Any] = {
                    "id": person.actor,
                    "actorType": "user",
                    "actorTypeId": person.id,
                    "username": person.username,
                    "email": person.email,
                }
            case "device":
                device = caller.device
                actor = await self._actor("device", device.id)
                who = {"id": actor, "actorType": "device", "actorTypeId": device.id}
                who["uuid"] = device.uuid
            case "provisioning":
                fleet = caller.fleet
                actor = await self._actor("application", fleet.id)
                who = {"id": actor, "actorType": "application", "actorTypeId": fleet.id}
                who["slug"] = await self._column("application", fleet.id, "slug")
            case _:
                raise Answer(empty(401))
        return json_response(who)

    async def user(self, request: web.Request) -> web.Response:
        """``GET /user/v1/whoami``.

        Raises:
            Answer: no person.
        """
        person = self._person(request)
        return json_response({"id": person.id, "username": person.username, "email": person.email})

    async def add_user(self, request: web.Request) -> web.Response:
        """``POST /fieldbeat/v1/users``: the administrator adds a person.

        Raises:
            Answer: not the administrator, or the name is taken.
        """
        self._server.admin(request)
        body = await body_of(request)
        names = ("username", "email", "password")
        values = [body.get(name) if isinstance(body, dict) else None for name in names]
        if not all(isinstance(value, str) and 0 < len(value) <= NAME_MAX for value in values):
            raise Answer(refused(400, "username, email and password must be texts"))
        username, email, password = (str(value) for value in values)
        desk = self._server.desk
        users, organizations = TABLES["user"], TABLES["organization"]
        async with self._server.store.writing() as connection:
            taken = sa.select(users.c.id).where(
                sa.or_(users.c.username == username, users.c.email == email)
            )
            home = sa.select(organizations.c.id).where(organizations.c.handle == username)
            if await connection.scalar(taken) or await connection.scalar(home):
                raise Answer(refused(409, '"username" must be unique.'))
            await add_user(
                connection,
                username=username,
                email=email,
                password=password,
                actor=desk.new_actor(),
                now_ms=desk.now_ms(),
            )
        async with self._server.store.reading() as connection:
            await self._server.people.load(connection)
        return empty(201)

    def _person(self, request: web.Request) -> Person:
        person = self._server.caller(request).person
        if person is None:
            raise Answer(empty(401))
        return person

    async def _column(self, name: str, number: int, column: str) -> Any:
        table = TABLES[name]
        async with self._server.store.reading() as connection:
            return await connection.scalar(sa.select(table.c[column]).where(table.c.id == number))

    async def _actor(self, name: str, number: int) -> Any:
        return await self._column(name, number, "actor")

    # --- keys ------------------------------------------------------------------------------------

    async def make(self, request: web.Request) -> web.Response:
        """``POST /api-key/v1/``: a key for a person, a fleet or a device.

        Raises:
            Answer: not theirs, or the body is wrong.
        """
        body = await body_of(request)
        if not isinstance(body, dict):
            raise Answer(empty(400))
        number, roles = body.get("actorTypeId"), body.get("roles")
        if not isinstance(number, int) or isinstance(number, bool):
            raise Answer(refused(400, "actorTypeId must be a number"))
        match body.get("actorType"), roles:
            case "application", ["provisioning-api-key"]:
                return await self._make(request, "provisioning", number, body)
            case "device", ["device-api-key"]:
                return await self._make(request, "device", number, body)
            case "user", ["named-user-api-key"]:
                if number != self._person(request).id:
                    raise Answer(empty(401))
                return await self._make(request, "user", number, body)
            case _:
                raise Answer(refused(400, "actorType and roles do not fit each other"))

    async def make_named(self, request: web.Request) -> web.Response:
        """``POST /api-key/user/full``: a named key with a person's own rights.

        Raises:
            Answer: no person.
        """
        body = await body_of(request)
        person = self._person(request)
        if not isinstance(body, dict) or not isinstance(body.get("name"), str) or not body["name"]:
            raise Answer(refused(400, "API keys require a name"))
        return await self._make(request, "user", person.id, body)

    async def make_provisioning(self, request: web.Request) -> web.Response:
        """``POST /api-key/application/<id>/provisioning``.

        Raises:
            Answer: not their fleet.
        """
        body = await body_of(request)
        return await self._make(request, "provisioning", int(request.match_info["number"]), body)

    async def make_for_device(self, request: web.Request) -> web.Response:
        """``POST /api-key/device/<id>/device-key``.

        Raises:
            Answer: not their device.
        """
        caller = self._server.caller(request)
        number = request.match_info["number"]
        if caller.kind == "user":
            await self.reachable(caller, "device", int(number))
        body = await body_of(request)
        if isinstance(body, dict) and not body.get("apiKey"):
            body = {**body, "apiKey": new_key()}
        response = await self._server.desk.request(
            "POST",
            f"/api-key/device/{number}/device-key",
            query=query_of(request),
            headers=lower_headers(request),
            body=body,
            person=caller.kind == "user",
        )
        return to_web(response)

    async def reachable(self, caller: Caller, name: str, number: int) -> dict[str, Any]:
        """The row, if the caller may change it.

        Raises:
            Answer: it may not, or there is none.
        """
        access = caller.access(writing=True)
        if access is None or caller.kind != "user":
            raise Answer(empty(401))
        here = place(name)
        query = sa.select(here.table).where(here.table.c.id == number)
        guard = access(here)
        async with self._server.store.reading() as connection:
            rows = await connection.execute(query if guard is None else query.where(guard))
            row = rows.mappings().first()
        if row is None:
            raise Answer(empty(401))
        return dict(row)

    async def _make(self, request: web.Request, kind: str, number: int, body: Any) -> web.Response:
        return json_response(await self.new(request, kind, number, body))

    async def new(self, request: web.Request, kind: str, number: int, body: Any) -> str:
        """A new key of a fleet, device or person that the caller may change.

        Raises:
            Answer: it may not, or the body is wrong.
        """
        given = body if isinstance(body, dict) else {}
        name, about = given.get("name"), given.get("description")
        for text in (name, about):
            if text is not None and (not isinstance(text, str) or len(text) > NAME_MAX):
                raise Answer(refused(400, "name and description must be texts of at most 255"))
        until_ms = self._end(given)
        caller = self._server.caller(request)
        owner = {"provisioning": "application", "device": "device", "user": "user"}[kind]
        row = await self.reachable(caller, owner, number)
        server, key = self._server, new_key()
        sealed, now_ms = server.desk.seal(key), server.desk.now_ms()
        async with server.store.writing() as connection:
            await connection.execute(
                sa.insert(TABLES["api_key"]).values(
                    key=sealed,
                    is_of__actor=row["actor"],
                    name=name,
                    description=about,
                    expiry_date=until_ms,
                    kind=kind,
                    created_at=now_ms,
                    modified_at=now_ms,
                    **{owner: number},
                )
            )
        if kind == "user":
            server.people.add_key(sealed, number, until_ms)
        else:
            server.desk.cloud.restore_key(
                sealed,
                kind,  # type: ignore[arg-type]
                row["uuid"],
                expires_at_ms=until_ms,
            )
        return key

    def _end(self, given: dict[str, Any]) -> int | None:
        text = given.get("expiryDate")
        if text is None:
            return None
        try:
            until_ms = instant_ms(text) if isinstance(text, str) else None
        except BadQuery:
            until_ms = None
        if until_ms is None or until_ms <= self._server.desk.now_ms():
            raise Answer(refused(400, "expiryDate must be a date to come"))
        return until_ms
