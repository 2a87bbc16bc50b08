"""The server: puts its parts together, starts and stops them, and guards every request."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from aiohttp import web

from ..store.database import Store, StoreError
from ..store.load import Loader
from ..store.resources import TABLES
from .accounts import Attempts, Sessions, new_key, sealer
from .client_api import ClientApi
from .delta_api import DeltaApi
from .desk import Desk
from .device_api import DeviceApi
from .faults import SPARED, Injector
from .follow_api import FollowApi
from .fresh import device_types, put_setting, setting
from .history import History
from .keys_api import KeysApi
from .metrics import Metrics
from .people import ADMIN, People, add_user, generated_password
from .reach import Reach
from .registry_api import RegistryApi
from .resource_api import ResourceApi
from .routes import routes
from .site import BoundedSite
from .traffic import Traffic
from .vpn_services import VpnServices
from .wire import BODY_MAX, OURS, PATIENCE_S, Answer, as_the_api, empty, page, query_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..messages import CallDevice
    from .mqtt import Publisher
    from .people import Caller
    from .settings import ServerSettings

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger("fieldbeat.cloud")
_T = TypeVar("_T")
SHUTDOWN_S = 5.0
VPN_INSTANCES, INSTANCES_KEPT = "vpn_instances", 64
DEFAULT_EMAIL = "admin@fieldbeat.local"


class Server:
    """One stub cloud as a server."""

    def __init__(
        self,
        settings: ServerSettings,
        store: Store,
        secret: str,
        clock: Callable[[], float],
        former: Server | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.history = History()
        self.desk = Desk(settings, store, self.history, seal=sealer(secret.encode()), clock=clock)
        self.sessions = Sessions(secret)
        self.people = People(self.desk, self.sessions)
        self.injector = Injector()
        self.closing = asyncio.Event()
        self.metrics = Metrics(self)
        self.devices = DeviceApi(self)
        self.keys = KeysApi(self)
        self.clients = ClientApi(self)
        self.resources = ResourceApi(self)
        self.follow = FollowApi(self)
        self.images = RegistryApi(self)
        self.deltas = DeltaApi(self)
        self.address = ""
        """``http://host:port`` once it listens."""
        self.first_words: list[str] = []
        """What a first start must tell the person, once: generated credentials."""
        self._rates = Attempts(settings.requests_per_s * 60) if settings.requests_per_s else None
        self._instances: list[int] = []
        self._runner: web.AppRunner | None = None
        self._publisher: Publisher | None = None
        self._reach: Reach | None = None
        self.restart_s: float | None = None
        """How long the API is to be away; ``None``: nobody wants it to restart."""
        self.restarting = asyncio.Event()
        self._former = former
        self.vpn: VpnServices = (
            former.vpn if former else VpnServices(self.desk, settings, named=self._instance_named)
        )
        self._storing: set[asyncio.Task[None]] = set()
        self._traffic: Traffic | None = None
        if settings.traffic is not None:
            self._traffic = Traffic(settings.traffic, self.desk.now_ms)
            self.desk.heartbeat_counted = self._traffic.heartbeat

    # --- life ------------------------------------------------------------------------------------

    @classmethod
    async def start(
        cls,
        settings: ServerSettings,
        clock: Callable[[], float] = time.time,
        former: Server | None = None,
    ) -> Server:
        """Open the store, load it, and listen.

        Args:
            settings: of the server.
            clock: gives seconds since 1970.
            former: the API of this process before it, closed: its VPN instances run on, and its
                heartbeat timers too, as those of a real cloud in its Redis.

        Raises:
            StoreError: the database cannot be used.
            SettingsError: a setting cannot.
            OSError: the address cannot be listened on.
        """
        store = await Store.open(settings.db, profile=settings.profile, lag_s=settings.lag_s)
        try:
            async with store.writing() as connection:
                secret = await setting(connection, "secret", lambda: secrets.token_hex(32))
            server = cls(settings, store, secret, clock, former)
            await server._load()
            await server._listen()
            await server._start_vpn()
            server._former = None
        except BaseException:
            await store.close()
            raise
        return server

    async def _load(self) -> None:
        settings, desk = self.settings, self.desk
        async with self.store.writing() as connection:
            await device_types(connection, now_ms=desk.now_ms())
            loader = Loader(connection, desk.cloud, now_ms=desk.now_ms())
            counters, actors = await loader.load()
            if self._former is not None:
                desk.cloud.restore_timers(self._former.desk.cloud)
            desk.start(counters, actors)
            await self._first_start(connection)
            await self.people.load(connection)
            kinds = TABLES["device_type"]
            rows = await connection.execute(sa.select(kinds.c.slug, kinds.c.id))
            desk.device_types = {row.slug: row.id for row in rows}
        if settings.mqtt is not None:
            from .mqtt import Publisher  # an extra

            self._publisher = Publisher(settings.mqtt, self.history, self.desk)
            self._publisher.start()
        if settings.reach:
            self._reach = Reach(desk)
        desk.call_device = self._call_device
        self.history.keep(self.store, retention_s=settings.retention_s, now_ms=desk.now_ms)

    async def _first_start(self, connection: AsyncConnection) -> None:
        """The administrator and the VPN service's key: given, stored, or made and told once."""
        settings, desk = self.settings, self.desk
        users = TABLES["user"]
        admin = await connection.scalar(sa.select(users.c.id).where(users.c.username == ADMIN))
        if admin is None:
            email = settings.admin_email or DEFAULT_EMAIL
            password = settings.admin_password or generated_password()
            if settings.admin_password is None:
                self.first_words += [f"admin email     {email}", f"admin password  {password}"]
            actor = desk.new_actor()
            await add_user(
                connection,
                username=ADMIN,
                email=email,
                password=password,
                actor=actor,
                now_ms=desk.now_ms(),
            )
        given = settings.vpn_service_key
        if given is not None:
            await put_setting(connection, "vpn_service_key", desk.seal(given))
        made = new_key()
        stored = await setting(connection, "vpn_service_key", lambda: desk.seal(made))
        if stored == desk.seal(made):
            self.first_words.append(f"VPN service key {made}")
        desk.cloud.restore_key(stored, "vpn", None, expires_at_ms=None)

    async def _listen(self) -> None:
        settings = self.settings
        application = web.Application(client_max_size=BODY_MAX)
        application[PATIENCE_S] = settings.slow_client_s
        traffic = self._traffic
        for route in routes(self):
            handler = route.handler if route.bare else self._guarded(route.path, route.handler)
            handler = handler if traffic is None else traffic.handler(handler)
            application.router.add_route(route.method, route.path, handler)
            if route.bare:
                application.router.add_route("HEAD", route.path, handler)
        other = self._guarded("other", _nothing_here)
        other = other if traffic is None else traffic.handler(other)
        application.router.add_route("*", "/{tail:.*}", other)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=75,
            lingering_time=1,
            shutdown_timeout=SHUTDOWN_S,
            handle_signals=False,
        )
        await self._runner.setup()
        tls = None
        if settings.certificate is not None:
            from .tls import server_context

            tls = server_context(*settings.certificate)
        site = BoundedSite(
            self._runner,
            settings.host,
            settings.port,
            tls=tls,
            connections_max=settings.connections_max,
            patience_s=settings.slow_client_s,
            counted=None if traffic is None else traffic.protocol,
        )
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.registry = settings.registry or f"{host}:{port}"
        scheme = "https" if tls else "http"
        shown = f"[{host}]" if ":" in host else host
        self.address, self.port = f"{scheme}://{shown}:{port}", port

    registry: str = ""
    port: int = 0

    async def _start_vpn(self) -> None:
        """VPN service instances; those of the process before this one are remembered."""
        if not (self.settings.vpn or self.settings.vpn_spares):
            return
        async with self.store.writing() as connection:
            former = json.loads(await setting(connection, VPN_INSTANCES, lambda: "[]"))
        tls = None
        if self.settings.certificate is not None:
            from .tls import server_context

            tls = server_context(*self.settings.certificate)
        self._instances = former[-INSTANCES_KEPT:]
        if self._former is not None:
            self.vpn.adopt(self.desk, self._instance_named)
            return
        await self.vpn.start(self.address, tls, former=former)

    def _instance_named(self, number: int) -> None:
        self._instances = [*self._instances, number][-INSTANCES_KEPT:]
        task = asyncio.create_task(self._keep_instances())
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _keep_instances(self) -> None:
        async with self.store.writing() as connection:
            await put_setting(connection, VPN_INSTANCES, json.dumps(self._instances))

    async def _call_device(self, call: CallDevice) -> tuple[int | None, Any]:
        """Through the tunnel; else directly, where that is wanted."""
        if self._reach is not None and not self.vpn.reaches(call.uuid):
            return await self._reach.call(call)
        return await self.vpn.call(call)

    async def close(self, *, leaves_vpn: bool = False) -> None:
        """Answer what is being answered, store everything, stop; VPN instances may be left."""
        if not leaves_vpn:
            await self.vpn.close()
        if self.closing.is_set():
            return
        self.closing.set()
        await asyncio.gather(*self._storing)
        await self.desk.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._traffic is not None:
            self._traffic.close()
        if self._publisher is not None:
            await self._publisher.close()
        if self._reach is not None:
            await self._reach.close()
        await self.history.close()
        await self.store.close()

    # --- requests --------------------------------------------------------------------------------

    def caller(self, request: web.Request) -> Caller:
        """Whose credential a request carries."""
        return self.people.caller(
            request.headers.get("Authorization", ""), request.query.get("apikey")
        )

    def admin(self, request: web.Request) -> None:
        """Let only the administrator on.

        Raises:
            Answer: somebody else.
        """
        caller = self.caller(request)
        if caller.person is None or not caller.person.admin:
            raise Answer(empty(401 if caller.kind == "nobody" else 403))

    @property
    def looks_at_all(self) -> bool:
        """Every request must be looked at first: there are faults, or a limit."""
        return self.injector.active or self._rates is not None

    async def look_at(self, request: web.Request, device: str | None) -> None:
        """Apply faults and the limit of requests.

        Raises:
            Answer: the request ends here.
        """
        ours = request.path.startswith("/fieldbeat/") or SPARED in request.headers
        if self.injector.active and not ours:
            if device is None:
                own = self.caller(request).device
                device = None if own is None else own.uuid
            await self.injector.suffer(request, device)
        if self._rates is not None:
            key = request.headers.get("Authorization") or query_of(request).get("apikey", "")
            name, now_s = self.desk.seal(key), self.desk.now_ms() / 1_000
            wait_s = self._rates.refused_for_s(name, now_s=now_s)
            if wait_s is not None:
                raise Answer(empty(429, **{"Retry-After": str(wait_s)}))
            self._rates.failed(name, now_s=now_s)

    def _guarded(self, route: str, handler: Handler) -> Handler:
        """A handler whose refusals become answers and that is counted."""
        ours = route.startswith(OURS)
        loop_time = asyncio.get_running_loop().time

        async def guarded(request: web.Request) -> web.StreamResponse:
            began_s = loop_time()
            response: web.StreamResponse
            try:
                if self.looks_at_all:
                    await self.look_at(request, request.match_info.get("uuid"))
                response = await handler(request)
            except Answer as answer:
                response = answer.response
            except StoreError as error:
                response = page(503, str(error))
            except web.HTTPException as error:
                response = page(error.status, error.reason)
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception:
                _log.exception("%s %s failed", request.method, request.path)
                response = page(500, "Internal Server Error")
            if not ours:
                response = as_the_api(request, response)
            self.metrics.answered(route, response.status, loop_time() - began_s)
            return response

        return guarded

    @staticmethod
    def quick(handler: Handler) -> Handler:
        """The guard of heartbeats: the least there can be, and not counted one by one."""

        async def quick(request: web.Request) -> web.StreamResponse:
            try:
                response: web.StreamResponse = await handler(request)
            except Answer as answer:
                response = answer.response
            except StoreError as error:
                response = page(503, str(error))
            return response if response.status == 304 else as_the_api(request, response)

        return quick

    async def in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do slow work (password digests) beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


async def _nothing_here(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
    return empty(404)
