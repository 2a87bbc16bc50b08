"""Cloudlink for real: the host's VPN client, its WebSocket, its tunnel, its pings.

When to connect and when to give up is ``agent.cloudlink``'s; the tunnel is one of
``agent.tunnel``; calls that come through it are the supervisor API's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from .. import cloudlink as core
from ..tunnel import channel
from ..tunnel.plan import PATH, Plan, PlanError, as_text, read_plan
from .http import NoAnswer, whatever_fails

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..tunnel.plan import DeviceEnd

_log = logging.getLogger("fieldbeat.agent")
CONNECT_S = 120.0
"""OpenVPN's default ``connect-timeout``."""
NO_OTHER_TIMEOUT = aiohttp.ClientTimeout(total=None)
"""Of the session: aiohttp's own default would give a try up after 30 s."""
FIRST_PING_S = 1.0
ANSWERS_KEPT = 32
MESSAGE_MAX = 64 * 1024


class Refused(Exception):  # noqa: N818  # it is the name of what happened
    """The server does not accept uuid and key."""


class Cloudlink:
    """One VPN client."""

    def __init__(
        self,
        url: str,
        *,
        session: aiohttp.ClientSession,
        who: Callable[[], tuple[str, str] | None],
        end: Callable[[], DeviceEnd],
        call: Callable[[str, str, dict[str, Any]], Awaitable[tuple[int, Any]]],
        changed: Callable[[bool], None],
        clock_ms: Callable[[], int],
        name: str = "",
        speed: float = 1.0,
        config: core.CloudlinkConfig | None = None,
    ) -> None:
        """Nothing happens before ``start``.

        Args:
            url: of the VPN service, ``https://vpn.example.com:443``.
            session: for the WebSocket, with ``NO_OTHER_TIMEOUT``.
            who: gives uuid and key; ``None`` while the device has none.
            end: makes a tunnel of the kind that is wanted.
            call: carries out a call of the supervisor API: method, path, body with ``apikey``; may
                raise ``NoAnswer``.
            changed: told when the tunnel is up, and when it is not.
            clock_ms: the time, ms, never going back.
            name: put before its lines in the log.
            speed: how much faster than real time the clock runs.
            config: timings.
        """
        self.machine = core.CloudlinkClient(config or core.CloudlinkConfig())
        self._url = URL(url).with_path(PATH)
        self._session = session
        self._who, self._end, self._call = who, end, call
        self._changed, self._clock_ms, self._name = changed, clock_ms, name
        self._speed = speed
        self._up = False
        self._timer: asyncio.TimerHandle | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._heard_ms = 0
        self._silent = False
        self._pong = asyncio.Event()
        self._answers: dict[int, list[bytes] | None] = {}
        self._told = ""

    # --- the machine -----------------------------------------------------------------------------

    def start(self) -> None:
        """The unit is started."""
        self._handle(core.Start())

    def stop(self) -> None:
        """The unit is stopped."""
        self._handle(core.Stop())

    async def close(self) -> None:
        """Stop, and wait until everything is closed."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _handle(self, event: core.Event) -> None:
        for effect in self.machine.handle(event, now_ms=self._clock_ms()):
            match effect:
                case core.OpenTunnel():
                    self._attempt = self._spawn(self._live(effect.attempt))
                case core.CloseTunnel():
                    if self._attempt is not None:
                        self._attempt.cancel()
                case core.Note():
                    _log.info("%s%s", self._name, effect.text)
        if self.machine.up != self._up:
            self._up = self.machine.up
            self._changed(self._up)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ms = self.machine.next_deadline_ms()
        if due_ms is not None:
            wait_s = max(0.0, (due_ms - self._clock_ms()) / 1_000)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_s, self._handle, core.TimerFired())

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- one attempt, and the tunnel it becomes --------------------------------------------------

    async def _live(self, attempt: int) -> None:
        end = self._end()
        event: core.Event
        try:
            event = await self._connected(attempt, end)
        except Refused:
            event = core.AuthRefused(attempt=attempt)
        except (PlanError, NoAnswer) as error:
            reason = error.reason if isinstance(error, NoAnswer) else "reset"
            self._tell(error.words if isinstance(error, NoAnswer) else str(error))
            event = core.ConnectFailed(attempt=attempt, reason=reason)
        finally:
            await asyncio.shield(self._spawn(end.close()))
        self._handle(event)

    def _tell(self, words: str) -> None:
        """Say once what is in the way."""
        if words != self._told:
            self._told = words
            _log.warning("%scloudlink to %s: %s", self._name, self._url.host, words)

    async def _connected(self, attempt: int, end: DeviceEnd) -> core.Event:
        """What ended the tunnel, once it was up.

        Raises:
            Refused, PlanError, NoAnswer: it did not come up.
        """
        who = self._who()
        if who is None:
            raise Refused
        async with contextlib.AsyncExitStack() as stack:
            with whatever_fails():
                async with asyncio.timeout(CONNECT_S):
                    ws = await stack.enter_async_context(
                        self._session.ws_connect(
                            self._url, max_msg_size=MESSAGE_MAX, autoclose=True, heartbeat=None
                        )
                    )
                    plan = await self._agree(ws, end, who)
            self._told = ""
            self._handle(core.TunnelUp(attempt=attempt))
            pings = asyncio.create_task(self._ping(ws, end, plan))
            try:
                async for message in ws:
                    if message.type is aiohttp.WSMsgType.ERROR:
                        break
            except (ConnectionError, aiohttp.ClientError):
                return core.ConnectionReset()  # it answers a ping where nobody listens any more
            finally:
                pings.cancel()
            orderly = ws.close_code in (1000, 1001) and ws.exception() is None
            return core.PeerClosed() if orderly else core.ConnectionReset()

    async def _agree(
        self, ws: aiohttp.ClientWebSocketResponse, end: DeviceEnd, who: tuple[str, str]
    ) -> Plan:
        uuid, key = who
        await ws.send_json({"uuid": uuid, "public_key": as_text(end.public), "tcp": end.tcp})
        plan = read_plan(await _words(ws))
        self.machine.pushed(ping_exit_ms=plan.ping_exit_ms)
        # OpenVPN's one connection is this one too: a middlebox that forgot it ends the tunnel
        patience_ms = max(1, round(plan.ping_exit_ms / self._speed))
        held: socket.socket = ws.get_extra_info("socket")
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)
        self._answers.clear()
        self._pong.clear()
        self._silent = False
        host = ws.get_extra_info("peername")[0]
        reader = channel.Reader()
        await end.open(plan, host, lambda data: self._heard(end, reader, data))
        # its next words answer our key; an end of the connection may come before
        words = asyncio.create_task(_words(ws))
        try:
            await self._first_pong(end, words)
            await ws.send_json({"uuid": uuid, "key": key})
            answer = await words
        finally:
            words.cancel()
            await asyncio.gather(words, return_exceptions=True)
        if not (isinstance(answer, dict) and answer.get("accepted") is True):
            raise Refused
        return plan

    async def _first_pong(self, end: DeviceEnd, words: asyncio.Task[Any]) -> None:
        """Ask through the tunnel until the server answers.

        Raises:
            PlanError: it hung up, or speaks out of turn.
        """
        number = 0
        while not self._pong.is_set():
            number += 1
            end.say(channel.write(channel.Message(channel.PING, number, None))[0])
            answered = asyncio.create_task(self._pong.wait())
            try:
                await asyncio.wait(
                    (answered, words), timeout=FIRST_PING_S, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                answered.cancel()
            if words.done():
                await words
                raise PlanError("the server answers before it is asked")

    async def _ping(self, ws: aiohttp.ClientWebSocketResponse, end: DeviceEnd, plan: Plan) -> None:
        """Ask the server for a sign of life; two missing ones are silence."""
        number = 0
        while True:
            await asyncio.sleep(plan.ping_ms / 1_000)
            if not self._silent and self._clock_ms() - self._heard_ms >= 3 * plan.ping_ms // 2:
                self._silent = True
                self._handle(core.PeerSilent(last_heard_ms=self._heard_ms))
            number += 1
            end.say(channel.write(channel.Message(channel.PING, number, None))[0])
            with contextlib.suppress(ConnectionError):
                # a firewall that rejects resets the connection for it
                await ws.ping()

    # --- words through the tunnel ----------------------------------------------------------------

    def _heard(self, end: DeviceEnd, reader: channel.Reader, datagram: bytes) -> None:
        message = reader.take(datagram)
        if message is None:
            return
        self._heard_ms = self._clock_ms()
        if self._silent:
            self._silent = False
            self._handle(core.PeerHeard())
        match message.kind:
            case channel.PONG:
                self._pong.set()
            case channel.PING:
                end.say(channel.write(channel.Message(channel.PONG, message.number, None))[0])
            case channel.CALL if isinstance(message.body, dict):
                self._called(end, message)

    def _called(self, end: DeviceEnd, message: channel.Message) -> None:
        """Answer a call; one that is asked again is not carried out again."""
        if message.number in self._answers:
            for datagram in self._answers[message.number] or ():
                end.say(datagram)
            return
        self._answers[message.number] = None
        while len(self._answers) > ANSWERS_KEPT:
            del self._answers[next(iter(self._answers))]
        self._spawn(self._answer(end, message))

    async def _answer(self, end: DeviceEnd, message: channel.Message) -> None:
        words = message.body
        body = words.get("body")
        try:
            status, answer = await self._call(
                str(words.get("method", "GET")),
                str(words.get("path", "/")),
                {**(body if isinstance(body, dict) else {}), "apikey": words.get("apikey")},
            )
        except NoAnswer:  # of a supervisor that is not there; who asks again tries again
            self._answers.pop(message.number, None)
            return
        try:
            reply = channel.Message(
                channel.REPLY, message.number, {"status": status, "body": answer}
            )
            datagrams = channel.write(reply)
        except channel.TooLongError:
            reply = channel.Message(channel.REPLY, message.number, {"status": 500, "body": None})
            datagrams = channel.write(reply)
        if message.number in self._answers:
            self._answers[message.number] = datagrams
        for datagram in datagrams:
            end.say(datagram)


async def _words(ws: aiohttp.ClientWebSocketResponse) -> Any:
    """The next message.

    Raises:
        PlanError: there is none, or it is no JSON.
    """
    message = await ws.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise PlanError("the server hung up")
    try:
        return message.json()
    except (ValueError, RecursionError):
        raise PlanError("the server speaks no JSON") from None
