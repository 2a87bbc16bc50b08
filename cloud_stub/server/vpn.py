"""A VPN service instance for real: sessions on WebSockets, tunnels of WireGuard, words inside.

Whom to let in, whom to give up and what to tell the API is ``vpn_server``'s; here are its sockets,
its clock and its requests.  A client first gets a tunnel, then shows its key: as with OpenVPN, what
cannot get through the tunnel is not connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import secrets
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from agent.tunnel import channel
from agent.tunnel.noise import BadKeyError
from agent.tunnel.plan import PATH, PREFIX, Plan, PlanError, key_of

from .. import vpn_events as core
from ..vpn_server import VpnServer
from .vpn_calls import Calls, by_tcp
from .vpn_sessions import Addresses, Session, Waiting
from .vpn_words import first, text_of, until_closed, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from agent.tunnel.plan import ServerEnd

    from ..settings import VpnSettings

_log = logging.getLogger("fieldbeat.vpn")
HELLO_S = 60.0
"""OpenVPN's ``hand-window``: a client is let in or gone by then."""
LOOK_S, MESSAGE_MAX = 1.0, 4_096
GOING_AWAY, TRY_LATER = 1001, 1013
CREATED = 201
TELL_S = 3.0
"""For the last words of a service to the API."""


class VpnService:
    """One instance, from its start to its end."""

    def __init__(
        self,
        name: str,
        end: ServerEnd,
        *,
        number: int,
        key: str,
        api: str,
        settings: VpnSettings,
        clock_ms: Callable[[], int],
        named: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Nothing happens before ``start``.

        Args:
            name: of the instance.
            end: its end of the tunnels.
            number: 0…; its clients have addresses in ``10.(64 + number).0.0/16``.
            key: of the VPN service, for the API.
            api: where that is, ``http://host:port``.
            settings: timings.
            clock_ms: the time, ms.
            named: told what the API calls this instance.
        """
        self.name = name
        self.end = end
        self.port = 0
        self.refused = 0
        """Clients whose key was not accepted."""
        self.machine = VpnServer(name, key, settings)
        self._settings, self._clock_ms, self._api = settings, clock_ms, api
        self._addresses = Addresses(ipaddress.IPv4Network(f"10.{64 + number}.0.0/{PREFIX}"))
        self._inner = self._addresses.ours
        self._sessions: dict[int, Session] = {}
        self._waiting = Waiting()
        self._by_address: dict[str, Session] = {}
        self._by_uuid: dict[str, Session] = {}
        """The newest that was let in."""
        self._numbers = 0
        self._calls = Calls()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._http: aiohttp.ClientSession | None = None
        self._told = asyncio.Event()
        """Nobody is connected, and the API knows."""
        self._named = named
        self.refusing = False  # every key is, and the API is not asked
        self._awake = asyncio.Event()
        self._awake.set()
        self._backlog: list[core.Event] = []  # for a service that hangs
        self._dead = False

    # --- life ------------------------------------------------------------------------------------

    async def start(self, host: str, port: int, *, tls: Any = None) -> None:
        """Listen: TCP for sessions, UDP of the same number for tunnels.

        Raises:
            OSError: a port cannot be had.
        """
        application = web.Application()
        application.router.add_get(PATH, self._session)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, host, port, ssl_context=tls)
        try:
            await self._site.start()
            self.port = self._runner.addresses[0][1]
            await self.end.open(host, self.port, f"{self._inner}/{PREFIX}", self._heard)
        except BaseException:
            await self.kill()  # the port may be wanted again
            raise
        # the API is this program: its own certificate is not in doubt
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False))
        self._spawn(self._look())
        self._handle(core.Started())

    async def close(self, *, within_ms: int = core.DRAIN_WHOLE_MS) -> None:
        """Stop in order: nobody is let in any more, each client is closed and reported."""
        if self.machine.idle or not self._awake.is_set():
            await self.kill()
            return
        if self._site is not None:
            await self._site.stop()
        self._handle(core.StopGracefully(within_ms=within_ms))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_ms / 1_000 + TELL_S):
                await self._told.wait()
        await self.kill()

    async def kill(self) -> None:
        """Stop at once, as a process that dies: connections are cut, nothing is reported."""
        self._dead = True  # what follows is seen by nobody
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        handlers = [session.task for session in self._sessions.values() if session.task]
        for session in list(self._sessions.values()):
            if session.transport is not None:
                session.transport.abort()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*self._tasks, *handlers, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._http is not None:
            await self._http.close()
        await self.end.close()

    def hang(self) -> None:
        """Be stuck from now on: connections are accepted by the system, nothing is answered."""
        self._awake.clear()

    def resume(self) -> None:
        """Go on, first with what has waited."""
        self.refusing = False
        self._awake.set()
        waiting, self._backlog = self._backlog, []
        for event in waiting:
            self._handle(event)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- the machine -----------------------------------------------------------------------------

    def _handle(self, event: core.Event) -> None:
        if self._dead:
            return
        if not self._awake.is_set():
            self._backlog.append(event)
            return
        for effect in self.machine.handle(event, now_ms=self._clock_ms()):
            match effect:
                case core.SendRequest():
                    self._spawn(self._ask(effect))
                case core.AcceptSession() | core.RefuseSession():
                    session = self._sessions.get(effect.session)
                    if session is not None and not session.verdict.done():
                        session.verdict.set_result(isinstance(effect, core.AcceptSession))
                case core.CloseSession():
                    session = self._sessions.get(effect.session)
                    if session is not None:
                        self._spawn(session.ws.close(code=GOING_AWAY))
                case core.Note():
                    _log.info("%s: %s", self.name, effect.text)
        if self.machine.idle:
            self._told.set()
        else:
            self._told.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ms = self.machine.next_deadline_ms()
        if due_ms is not None:
            wait_s = max(0.001, (due_ms - self._clock_ms()) / 1_000)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_s, self._handle, core.TimerFired())

    async def _ask(self, request: core.SendRequest) -> None:
        assert self._http is not None
        event: core.Event
        try:
            async with self._http.request(
                request.method,
                self._api + request.path,
                headers=request.headers,
                json=request.body,
                timeout=aiohttp.ClientTimeout(total=request.timeout_ms / 1_000),
            ) as answer:
                raw = await answer.read()
                try:
                    body = json.loads(raw) if raw else None
                except ValueError:
                    body = None
                if answer.status == CREATED and isinstance(body, dict):
                    self._named(int(body["id"]))
                event = core.ResponseReceived(id=request.id, status=answer.status, body=body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            _log.warning("%s: the API does not answer: %s", self.name, error)
            event = core.RequestFailed(id=request.id)
        self._handle(event)

    # --- sessions --------------------------------------------------------------------------------

    async def _session(self, request: web.Request) -> web.StreamResponse:
        """A client's WebSocket."""
        await self._awake.wait()
        ws = web.WebSocketResponse(max_msg_size=MESSAGE_MAX)
        await ws.prepare(request)
        address = self._addresses.lease()
        if address is None:
            await ws.close(code=TRY_LATER, message=b"no address is left")
            return ws
        self._numbers += 1
        session = Session(self._numbers, ws, address, waited_for=self._calls.waited_for)
        session.transport = request.transport
        self._sessions[session.number] = session
        if (longest := self._waiting.came(session)) is not None:
            self._spawn(longest.ws.close(code=TRY_LATER, message=b"too many wait"))
        self._by_address[session.address] = session
        try:
            async with asyncio.timeout(HELLO_S):
                await self._greet(session)
            await self._let_in(session)
        except (PlanError, BadKeyError, TimeoutError, ConnectionError) as error:
            await ws.close(code=1008, message=str(error)[:120].encode())
        finally:
            session.read_no_more()
            await asyncio.shield(self._forget(session))
        return ws

    async def _greet(self, session: Session) -> None:
        """Give a tunnel, and wait for a word through it."""
        hello = await words_of(session.ws)
        session.uuid = text_of(hello, "uuid")
        public = key_of(hello, "public_key")
        if any(other.public == public for other in self._sessions.values()):
            raise PlanError("this key has a tunnel already")
        session.public = public
        session.tcp = self.end.tcp and hello.get("tcp") is True
        psk = secrets.token_bytes(32)
        await self.end.add(session.public, psk, session.address)
        plan = Plan(
            public=self.end.public,
            psk=psk,
            port=self.end.port,
            address=session.address,
            server=self._inner,
            ping_ms=self._settings.ping_interval_ms,
            ping_exit_ms=self._settings.client_timeout_ms,
        )
        await session.ws.send_json(plan.words())
        session.words = asyncio.create_task(words_of(session.ws))  # or it hangs up
        await first(session.words, session.pinged.wait())
        if not session.pinged.is_set():
            await session.words
            raise PlanError("a key is shown once the tunnel answers")

    async def _let_in(self, session: Session) -> None:
        """Ask the API, and keep the session until one end closes it."""
        assert session.words is not None
        async with asyncio.timeout(HELLO_S):
            words = await session.words
        self._waiting.gone(session)
        key, number = text_of(words, "key"), session.number
        session.rest = asyncio.create_task(until_closed(session.ws))
        if self.refusing:
            await asyncio.sleep(self._settings.auth_fail_delay_ms / 1_000)
            session.verdict.set_result(False)
        else:
            self._handle(core.SessionRequested(session=number, uuid=session.uuid, key=key))
        await first(session.rest, session.verdict)
        if not session.verdict.done():
            return
        accepted = session.verdict.result()
        if accepted:
            session.up, session.heard_ms = True, self._clock_ms()
            session.pinged_ms = session.heard_ms
            self._by_uuid[session.uuid] = session
        await session.ws.send_json({"accepted": accepted})
        if not accepted:
            self.refused += 1
            await session.ws.close()
            return
        await session.rest

    async def _forget(self, session: Session) -> None:
        del self._sessions[session.number]
        self._waiting.gone(session)
        del self._by_address[session.address]
        if self._by_uuid.get(session.uuid) is session:
            del self._by_uuid[session.uuid]
        self._addresses.back(session.address)
        self._handle(core.SessionClosed(session=session.number))
        if session.public:
            await self.end.remove(session.public)

    # --- signs of life ---------------------------------------------------------------------------

    async def _look(self) -> None:
        """The server's sound rule: received bytes that do not grow are silence (TUNNEL.md §2)."""
        limit_ms = 3 * self._settings.ping_interval_ms // 2
        while True:
            await asyncio.sleep(LOOK_S)
            await self._awake.wait()
            received = await self.end.received()
            now_ms = self._clock_ms()
            for session in list(self._sessions.values()):
                if session.up:
                    count = received.get(session.public, session.bytes)  # no count is no sign
                    self._look_at(session, count, now_ms, limit_ms)
            due_ms = now_ms - self._settings.ping_interval_ms
            for session in [s for s in self._sessions.values() if s.up and s.pinged_ms <= due_ms]:
                session.pinged_ms = now_ms  # from its log-in on, as OpenVPN does it
                with contextlib.suppress(ConnectionError):
                    await session.ws.ping()

    def _look_at(self, session: Session, count: int, now_ms: int, limit_ms: int) -> None:
        number = session.number
        if count != session.bytes:
            session.bytes, session.heard_ms = count, now_ms
            if session.silent:
                session.silent = False
                self._handle(core.PeerHeard(session=number))
        elif not session.silent and now_ms - session.heard_ms >= limit_ms:
            session.silent = True
            self._handle(core.PeerSilent(session=number, last_heard_ms=session.heard_ms))

    def _heard(self, address: str, datagram: bytes) -> None:
        session = self._by_address.get(address) if self._awake.is_set() else None
        message = None if session is None else session.reader.take(datagram)
        if session is None or message is None:
            return
        match message.kind:
            case channel.PING:
                session.pinged.set()
                pong = channel.Message(channel.PONG, message.number, None)
                self.end.say(address, channel.write(pong)[0])
            case channel.REPLY:
                self._calls.answered(message)
            case _:
                pass  # a client calls nobody

    # --- calls -----------------------------------------------------------------------------------

    def reaches(self, uuid: str) -> bool:
        """A device's newest session is here."""
        return uuid in self._by_uuid

    async def call(
        self, uuid: str, method: str, path: str, body: Mapping[str, Any], secret: str, port: int
    ) -> tuple[int | None, Any]:
        """Call a device's supervisor API; status and body, ``None`` where none came."""
        session = self._by_uuid.get(uuid)
        if session is None or self._http is None:
            return None, None
        if session.tcp:
            url = f"http://{session.address}:{port}{path}"
            return await by_tcp(self._http, method, url, body, secret)
        words = {"method": method, "path": path, "apikey": secret, "body": dict(body)}
        return await self._calls.ask(words, lambda data: self.end.say(session.address, data))
