"""VPN service instances in simulated time: their machines, and their requests to the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from agent import cloudlink as client
from cloud_stub import vpn_events as server
from cloud_stub.messages import Request, Response
from cloud_stub.vpn_server import VpnServer

from .agenda import RANK_CLOUD, Agenda

if TYPE_CHECKING:
    from cloud_stub.settings import VpnSettings

    from .cloudside import CloudSide, Failure
    from .device import Device
    from .links import Link

API_TRIP_MS = 1
"""Between the VPN server and the API, in the same data centre."""


class Session:
    """One TCP connection of a VPN client; each end may think it alive when it is not."""

    __slots__ = (
        "attempt",
        "device",
        "id",
        "life",
        "lost",
        "risked",
        "server",
        "silent_in",
        "silent_out",
        "up_ms",
    )

    def __init__(self, number: int, device: Device, host: ServerHost, attempt: int) -> None:
        self.id = number
        self.device = device
        self.life = device.life
        self.server = host
        self.attempt = attempt
        self.up_ms: int | None = None
        self.lost = False
        """Its address is nobody's any more: what is sent either way gets nowhere."""
        self.risked: Link | None = None
        """What its stand-stills were drawn for."""
        self.silent_in = False
        """The device hears nothing."""
        self.silent_out = False
        """The server hears nothing."""


class ServerHost:
    """A VPN service instance and what holds it: its machine, sessions and timer."""

    __slots__ = ("armed_ms", "backlog", "core", "name", "sessions", "state")

    def __init__(self, name: str, core: VpnServer) -> None:
        self.name = name
        self.core = core
        self.state: Literal["up", "down", "hang", "error"] = "up"
        self.sessions: dict[int, Session] = {}
        self.armed_ms: int | None = None
        self.backlog: list[server.Event] = []
        """What reached a stuck process."""


class Clients(Protocol):
    """What a server does to the other end of a session."""

    def accepted(self, session: Session) -> None:
        """The server let the client in."""

    def ended(self, session: Session, *, refused: bool) -> None:
        """The server closed the session or refused its key."""

    def at_client(self, session: Session, event: client.Event) -> None:
        """Something reaches the client of a session."""

    def server_changed(self, host: ServerHost) -> None:
        """A server went silent or is heard again."""


class Hosts:
    """Runs the instances; what they do to clients goes to ``clients``."""

    __slots__ = ("_agenda", "_cloud", "_key", "_numbers", "_settings", "by_name", "clients")

    def __init__(
        self,
        agenda: Agenda,
        cloud: CloudSide,
        settings: VpnSettings,
        service_key: str,
        clients: Clients,
    ) -> None:
        self._agenda = agenda
        self._cloud = cloud
        self._settings = settings
        self._key = service_key
        self._numbers = 0
        self.clients = clients
        self.by_name: dict[str, ServerHost] = {}

    def next_number(self) -> int:
        """A number no session and no request of this run has had."""
        self._numbers += 1
        return self._numbers

    def running(self) -> list[ServerHost]:
        """The instances a client may be sent to."""
        return [host for host in self.by_name.values() if host.state != "down"]

    def start(self, name: str) -> ServerHost:
        """Start a VPN service instance, the first time or again."""
        host = self.by_name.get(name)
        core = VpnServer(name, self._key, self._settings)
        if host is None:
            host = self.by_name[name] = ServerHost(name, core)
        host.core, host.state, host.armed_ms = core, "up", None
        self.serve(host, server.Started())
        return host

    def kill(self, name: str) -> None:
        """The process dies hard: its sockets are reset, nothing is reported to the API."""
        host = self.by_name[name]
        host.state, host.armed_ms, host.backlog = "down", None, []
        for session in list(host.sessions.values()):
            host.sessions.pop(session.id, None)
            self.clients.at_client(session, client.ConnectionReset())

    def stop(self, name: str) -> None:
        """The service stops in order: each client is closed and reported."""
        host = self.by_name[name]
        host.state = "down"
        self.serve(host, server.StopGracefully())

    def hang(self, name: str) -> None:
        """The process is stuck: what reaches it waits, its clients hear nothing."""
        host = self.by_name[name]
        host.state = "hang"
        self.clients.server_changed(host)

    def resume(self, name: str) -> None:
        """A stuck or refusing service works again; first on what has waited."""
        host = self.by_name[name]
        host.state = "up"
        waiting, host.backlog = host.backlog, []
        for event in waiting:
            self.serve(host, event)
        self.clients.server_changed(host)

    def serve(self, host: ServerHost, event: server.Event) -> None:
        """Hand an event to a server's machine and carry out what it wants."""
        if host.state == "hang":
            host.backlog.append(event)
            return
        core, now_ms = host.core, self._agenda.now_ms
        for effect in core.handle(event, now_ms=now_ms):
            match effect:
                case server.SendRequest():
                    self._agenda.after(API_TRIP_MS, self._ask_api, host, core, effect)
                case server.AcceptSession():
                    self.clients.accepted(host.sessions[effect.session])
                case server.RefuseSession():
                    self._end(host, effect.session, refused=True)
                case server.CloseSession():
                    self._end(host, effect.session, refused=False)
                case server.Note():
                    pass
        self._arm_server(host)

    def _end(self, host: ServerHost, number: int, *, refused: bool) -> None:
        session = host.sessions.pop(number, None)
        if session is not None:
            self.clients.ended(session, refused=refused)

    def _arm_server(self, host: ServerHost) -> None:
        deadline = host.core.next_deadline_ms()
        if deadline is not None and (host.armed_ms is None or deadline < host.armed_ms):
            host.armed_ms = deadline
            at_ms = max(deadline, self._agenda.now_ms)
            self._agenda.at(at_ms, RANK_CLOUD, self._server_timer, host, deadline)

    def _server_timer(self, host: ServerHost, deadline: int) -> None:
        if host.armed_ms == deadline:
            host.armed_ms = None
            self.serve(host, server.TimerFired())

    def _ask_api(self, host: ServerHost, core: VpnServer, effect: server.SendRequest) -> None:
        request = Request(
            id=-self.next_number(),
            method=effect.method,
            path=effect.path,
            headers=effect.headers,
            body=effect.body,
        )

        def answer(response: Response | Failure) -> None:
            wait_ms = effect.timeout_ms if response == "timeout" else API_TRIP_MS
            self._agenda.after(wait_ms, self._api_answered, host, core, effect.id, response)

        self._cloud.submit(request, None, answer)

    def _api_answered(
        self, host: ServerHost, core: VpnServer, number: int, response: Response | Failure
    ) -> None:
        if host.core is not core or (host.state == "down" and not host.sessions):
            return
        if isinstance(response, Response):
            event: server.Event = server.ResponseReceived(
                id=number, status=response.status, body=response.body
            )
        else:
            event = server.RequestFailed(id=number)
        self.serve(host, event)
