"""One VPN service instance: the cloud end of cloudlink (``STATUS.md §3``, ``SUPERVISOR.md §8``).

It lets clients in by asking the API, gives silent ones up, and tells the API who is connected.
Batches leave at multiples of the report period, so that when a device's word goes out does not
depend on what other devices do.  Pings are not events: the driver says when silence began.
"""

from __future__ import annotations

import re
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Literal

from .vpn_events import (
    AcceptSession,
    CloseSession,
    Effect,
    Event,
    PeerHeard,
    PeerSilent,
    RefuseSession,
    RequestFailed,
    ResponseReceived,
    SendRequest,
    SessionClosed,
    SessionRequested,
    Started,
    StopGracefully,
    TimerFired,
)

if TYPE_CHECKING:
    from .settings import VpnSettings

AUTH_CACHE_MS = 60_000
"""``VPN_AUTH_CACHE_TIMEOUT``: an answer about a key is believed this long."""
AUTH_ANSWERS = (200, 401, 403)
REGISTER_RETRY_MS = 10_000
BATCH_MAX = 8_000
"""``API_DEVICE_STATE_POST_BATCH_SIZE``."""
DRAIN_STEP_MS = 120
"""``MAXIMUM_DRAIN_DELAY``: between two clients closed by an orderly stop."""
OK, CREATED, CONFLICT = 200, 201, 409


_NAME, _KEY = re.compile(r"[0-9A-Za-z_-]+"), re.compile(r"[!-~]+")
"""What can be asked for: anything else would be another path, or no header, and is nobody's."""
TimerKind = Literal["refuse", "silence", "register", "drain", "batch", "forget"]


class _Peer:
    """One session."""

    __slots__ = ("last_heard_ms", "let_in", "uuid")

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.let_in = False
        self.last_heard_ms: int | None = None
        """Set while the client is silent."""


class VpnServer:
    """The machine of one instance; a new process is a new ``VpnServer``."""

    def __init__(self, name: str, service_key: str, settings: VpnSettings) -> None:
        self.name = name
        self._key = service_key
        self._settings = settings
        self._service_id: int | None = None
        self._peers: dict[int, _Peer] = {}
        self._in: dict[str, list[int]] = {}
        """uuid → sessions that are let in, the newest last."""
        self._told: dict[str, bool] = {}
        """uuid → what the API last acknowledged."""
        self._pending: dict[str, None] = {}
        """uuids whose state may differ from what was told."""
        self._flying: dict[str, int] = {}
        """uuid → the request that carries it."""
        self._later: dict[str, int] = {}
        """uuid → when a refused report may be tried again (ms)."""
        self._asked: dict[int, tuple[str, Any]] = {}
        """Request → what it is for."""
        self._allowed: dict[tuple[str, str], tuple[bool, int]] = {}
        """uuid and key → the API's word, and until when it is believed (ms)."""
        self._timers: list[tuple[int, int, TimerKind, int]] = []
        self._batch_ms: int | None = None
        """When the next batch leaves; a real clock may be a little late for it."""
        self._numbers = 0
        self._out: list[Effect] = []

    # --- the machine -----------------------------------------------------------------------------

    def handle(self, event: Event, *, now_ms: int) -> list[Effect]:
        """Take one event; what to do about it, in order."""
        match event:
            case Started():
                self._register()
            case TimerFired():
                self._due(now_ms)
            case SessionRequested():
                self._requested(event, now_ms)
            case SessionClosed():
                self._gone(event.session)
            case PeerSilent():
                self._silent(event)
            case PeerHeard():
                peer = self._peers.get(event.session)
                if peer is not None:
                    peer.last_heard_ms = None
            case ResponseReceived():
                self._answered(event.id, event.status, event.body, now_ms)
            case RequestFailed():
                self._answered(event.id, None, None, now_ms)
            case StopGracefully():
                self._drain(event.within_ms, now_ms)
        self._report(now_ms)
        out, self._out = self._out, []
        return out

    def next_deadline_ms(self) -> int | None:
        """When ``TimerFired`` is wanted."""
        return self._timers[0][0] if self._timers else None

    def _timer(self, at_ms: int, kind: TimerKind, session: int = 0) -> None:
        self._numbers += 1
        heappush(self._timers, (at_ms, self._numbers, kind, session))

    def _due(self, now_ms: int) -> None:
        while self._timers and self._timers[0][0] <= now_ms:
            _, _, kind, session = heappop(self._timers)
            match kind:
                case "register":
                    if self._service_id is None:
                        self._register()
                case "refuse":
                    if self._peers.pop(session, None) is not None:
                        self._out.append(RefuseSession(session=session))
                case "silence":
                    self._give_up(session, now_ms)
                case "drain":
                    self._close(session)
                case "forget":
                    self._allowed = {
                        who: word for who, word in self._allowed.items() if word[1] > now_ms
                    }
                    if self._allowed:
                        self._timer(now_ms + AUTH_CACHE_MS, "forget")
                case "batch":
                    pass  # every event ends with a look at what is to be reported

    def _send(self, method: str, path: str, key: str, body: Any, purpose: tuple[str, Any]) -> int:
        self._numbers += 1
        number = self._numbers
        self._asked[number] = purpose
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._out.append(
            SendRequest(
                id=number,
                method=method,
                path=path,
                headers=headers,
                body=body,
                timeout_ms=self._settings.report_timeout_ms,
            )
        )
        return number

    def _register(self) -> None:
        if not any(purpose == "register" for purpose, _ in self._asked.values()):
            self._send("POST", "/v7/service_instance", self._key, {}, ("register", None))

    @property
    def idle(self) -> bool:
        """Nobody is connected, and the API has been told of everything."""
        return not (self._peers or self._pending or self._flying)

    # --- clients ---------------------------------------------------------------------------------

    def _requested(self, event: SessionRequested, now_ms: int) -> None:
        self._peers[event.session] = _Peer(event.uuid)
        if not (_NAME.fullmatch(event.uuid) and _KEY.fullmatch(event.key)):
            self._judge(event.session, False, now_ms)
            return
        allowed, until_ms = self._allowed.get((event.uuid, event.key), (False, -1))
        if until_ms > now_ms:
            self._judge(event.session, allowed, now_ms)
            return
        path = f"/services/vpn/auth/{event.uuid}"
        self._send("GET", path, event.key, None, ("auth", event))

    def _judge(self, session: int, allowed: bool, now_ms: int) -> None:
        peer = self._peers.get(session)
        if peer is None:
            return
        if not allowed:
            self._timer(now_ms + self._settings.auth_fail_delay_ms, "refuse", session)
            return
        peer.let_in = True
        sessions = self._in.setdefault(peer.uuid, [])
        sessions.append(session)
        self._pending[peer.uuid] = None
        self._out.append(AcceptSession(session=session))
        # no duplicate-cn: who logs in under a name ends the older session of that name
        for older in sessions[:-1]:
            self._close(older)

    def _gone(self, session: int) -> None:
        """A session is over; only a device's last one is a disconnect (``§8``, ref-count)."""
        peer = self._peers.pop(session, None)
        if peer is None or not peer.let_in:
            return
        self._in[peer.uuid].remove(session)
        if not self._in[peer.uuid]:
            del self._in[peer.uuid]
            self._pending[peer.uuid] = None

    def _silent(self, event: PeerSilent) -> None:
        peer = self._peers.get(event.session)
        if peer is not None and peer.let_in:
            peer.last_heard_ms = event.last_heard_ms
            limit_ms = event.last_heard_ms + self._settings.server_timeout_ms
            self._timer(limit_ms, "silence", event.session)

    def _give_up(self, session: int, now_ms: int) -> None:
        peer = self._peers.get(session)
        if peer is None or peer.last_heard_ms is None:
            return
        if peer.last_heard_ms + self._settings.server_timeout_ms <= now_ms:
            self._close(session)

    def _close(self, session: int) -> None:
        if session in self._peers:
            self._gone(session)
            self._out.append(CloseSession(session=session))

    def _drain(self, within_ms: int, now_ms: int) -> None:
        sessions = sorted(self._peers)
        if sessions:
            step_ms = min(DRAIN_STEP_MS, within_ms // len(sessions))
            for position, session in enumerate(sessions):
                self._timer(now_ms + position * step_ms, "drain", session)

    # --- the API ---------------------------------------------------------------------------------

    def _answered(self, number: int, status: int | None, body: Any, now_ms: int) -> None:
        purpose, about = self._asked.pop(number, ("", None))
        match purpose:
            case "register":
                instance = body.get("id") if isinstance(body, dict) else None
                if status == CREATED and isinstance(instance, int):
                    self._service_id = instance
                else:
                    self._timer(now_ms + REGISTER_RETRY_MS, "register")
            case "auth":
                self._authenticated(about, status, now_ms)
            case "report":
                self._reported(number, about, status, now_ms)
            case _:
                pass  # an answer nobody waits for

    def _authenticated(self, event: SessionRequested, status: int | None, now_ms: int) -> None:
        if status in AUTH_ANSWERS:
            if not self._allowed:
                self._timer(now_ms + 2 * AUTH_CACHE_MS, "forget")
            self._allowed[event.uuid, event.key] = (status == OK, now_ms + AUTH_CACHE_MS)
        self._judge(event.session, status == OK, now_ms)

    def _reported(
        self, number: int, about: tuple[bool, list[str]], status: int | None, now_ms: int
    ) -> None:
        connected, uuids = about
        for uuid in uuids:
            if self._flying.get(uuid) == number:
                del self._flying[uuid]
            if status == OK:
                self._told[uuid] = connected
            else:
                self._later[uuid] = now_ms + 1
            self._pending[uuid] = None
        if status == CONFLICT:
            # the API does not know this instance (any more): all it was told was in another's name
            self._service_id = None
            self._told.clear()
            self._pending.update(dict.fromkeys(self._in))
            self._register()

    def _report(self, now_ms: int) -> None:
        """Send what differs from what was told, if this instant is one for a batch."""
        if not self._pending or self._service_id is None:
            return
        if self._batch_ms is not None and now_ms < self._batch_ms:
            self._arm(self._batch_ms)
            return
        waiting = [uuid for uuid in self._pending if uuid not in self._flying]
        if not waiting:
            return
        period_ms = self._settings.report_period_ms
        if self._batch_ms is None:
            self._batch_ms = -(-now_ms // period_ms) * period_ms
        if now_ms < self._batch_ms:
            self._arm(self._batch_ms)
            return
        self._batch_ms = None
        ready = [uuid for uuid in waiting if self._later.get(uuid, 0) <= now_ms]
        if len(ready) < len(waiting):
            self._batch_ms = (now_ms // period_ms + 1) * period_ms
            self._arm(self._batch_ms)
        for connected in (True, False):
            changed = sorted(
                uuid
                for uuid in ready
                if (uuid in self._in) is connected and self._told.get(uuid, False) is not connected
            )
            for start in range(0, len(changed), BATCH_MAX):
                self._send_batch(connected, changed[start : start + BATCH_MAX])
        for uuid in ready:
            del self._pending[uuid]
            self._later.pop(uuid, None)
            if uuid not in self._in and self._told.get(uuid) is False:
                del self._told[uuid]

    def _arm(self, at_ms: int) -> None:
        if not self._timers or self._timers[0][0] > at_ms:
            self._timer(at_ms, "batch")

    def _send_batch(self, connected: bool, uuids: list[str]) -> None:
        word = "connect" if connected else "disconnect"
        body = {"serviceId": self._service_id, "uuids": uuids, "connected": connected}
        path = f"/services/vpn/client-{word}"
        number = self._send("POST", path, self._key, body, ("report", (connected, uuids)))
        for uuid in uuids:
            self._flying[uuid] = number
