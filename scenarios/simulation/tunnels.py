"""Cloudlink in simulated time: sessions between devices' VPN clients and the VPN servers.

Pings are not events.  Both ends ping every ``ping_interval`` from the moment the tunnel is up, so
when the way breaks the instant each end last heard the other is known; the ends are told that
silence began, and count their own time-outs from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agent import cloudlink as client
from cloud_stub import vpn_server as server
from cloud_stub.messages import CallDevice, DeviceReplied, Request, Response
from cloud_stub.settings import VpnSettings

from .agenda import RANK_CLOUD, Agenda
from .links import DNS_TIMEOUT_MS, SYN_INSTANTS_MS, Fate

if TYPE_CHECKING:
    from .cloudside import CloudSide, Failure
    from .machines import Device

CONNECT_TIMEOUT_MS = 120_000
"""OpenVPN's default ``connect-timeout``."""
API_TRIP_MS = 1
"""Between the VPN server and the API, in the same data centre."""


class Session:
    """One TCP connection of a VPN client; each end may think it alive when it is not."""

    __slots__ = ("attempt", "device", "id", "life", "server", "silent_in", "silent_out", "up_ms")

    def __init__(self, number: int, device: Device, host: ServerHost, attempt: int) -> None:
        self.id = number
        self.device = device
        self.life = device.life
        self.server = host
        self.attempt = attempt
        self.up_ms: int | None = None
        self.silent_in = False
        """The device hears nothing."""
        self.silent_out = False
        """The server hears nothing."""


class ServerHost:
    """A VPN service instance and what holds it: its machine, sessions and timer."""

    __slots__ = ("armed_ms", "core", "name", "requests", "sessions", "state")

    def __init__(self, name: str, core: server.VpnServer) -> None:
        self.name = name
        self.core = core
        self.state: Literal["up", "down", "hang"] = "up"
        self.sessions: dict[int, Session] = {}
        self.armed_ms: int | None = None
        self.requests = 0


class Tunnels:
    """Carries what VPN clients and servers do to each other and to the API."""

    __slots__ = ("_agenda", "_cloud", "_key", "_numbers", "_settings", "hosts")

    def __init__(
        self, agenda: Agenda, cloud: CloudSide, settings: VpnSettings, service_key: str
    ) -> None:
        self._agenda = agenda
        self._cloud = cloud
        self._settings = settings
        self._key = service_key
        self._numbers = 0
        self.hosts: dict[str, ServerHost] = {}

    # --- servers ---------------------------------------------------------------------------------

    def start_server(self, name: str) -> ServerHost:
        """Start a VPN service instance, the first time or again."""
        host = self.hosts.get(name)
        core = server.VpnServer(name, self._key, self._settings)
        if host is None:
            host = self.hosts[name] = ServerHost(name, core)
        host.core, host.state, host.armed_ms = core, "up", None
        self._serve(host, server.Started())
        return host

    def kill_server(self, name: str) -> None:
        """The process dies hard: its sockets are reset, nothing is reported to the API."""
        host = self.hosts[name]
        host.state, host.armed_ms = "down", None
        for session in list(host.sessions.values()):
            self._forget(session)
            self._at_client(session, client.ConnectionReset())

    def stop_server(self, name: str) -> None:
        """The service stops in order: each client is closed and reported."""
        host = self.hosts[name]
        host.state = "down"
        self._serve(host, server.StopGracefully())

    def hang_server(self, name: str) -> None:
        """The service takes no new connections; what it has goes on."""
        self.hosts[name].state = "hang"

    def _serve(self, host: ServerHost, event: server.Event) -> None:
        """Hand an event to a server's machine and carry out what it wants."""
        core, now_ms = host.core, self._agenda.now_ms
        for effect in core.handle(event, now_ms=now_ms):
            match effect:
                case server.SendRequest():
                    self._agenda.after(API_TRIP_MS, self._ask_api, host, core, effect)
                case server.AcceptSession():
                    self._accepted(host, effect.session)
                case server.RefuseSession():
                    self._ended(host, effect.session, refused=True)
                case server.CloseSession():
                    self._ended(host, effect.session, refused=False)
                case server.Note():
                    pass
        self._arm_server(host)

    def _arm_server(self, host: ServerHost) -> None:
        deadline = host.core.next_deadline_ms()
        if deadline is not None and (host.armed_ms is None or deadline < host.armed_ms):
            host.armed_ms = deadline
            at_ms = max(deadline, self._agenda.now_ms)
            self._agenda.at(at_ms, RANK_CLOUD, self._server_timer, host, deadline)

    def _server_timer(self, host: ServerHost, deadline: int) -> None:
        if host.armed_ms == deadline:
            host.armed_ms = None
            self._serve(host, server.TimerFired())

    def _ask_api(
        self, host: ServerHost, core: server.VpnServer, effect: server.SendRequest
    ) -> None:
        self._numbers += 1
        request = Request(
            id=-self._numbers,
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
        self, host: ServerHost, core: server.VpnServer, number: int, response: Response | Failure
    ) -> None:
        if host.core is not core or (host.state == "down" and not host.sessions):
            return
        if isinstance(response, Response):
            event: server.Event = server.ResponseReceived(
                id=number, status=response.status, body=response.body
            )
        else:
            event = server.RequestFailed(id=number)
        self._serve(host, event)

    # --- a client connects -----------------------------------------------------------------------

    def open(self, device: Device, attempt: int) -> None:
        """A device's VPN client wants a tunnel."""
        link = device.link
        if not link.up:
            self._failed(device, device.life, attempt, "unreachable")
        elif link.dns == "error" or link.fate("dns", outward=True) is Fate.REJECT:
            self._failed(device, device.life, attempt, "dns")
        elif link.dns != "up" or link.fate("dns", outward=True) is not Fate.PASS:
            wait = DNS_TIMEOUT_MS
            self._agenda.after(wait, self._failed, device, device.life, attempt, "dns")
        else:
            self._knock(device, device.life, attempt, self._agenda.now_ms, 0)

    def _knock(
        self, device: Device, life: int, attempt: int, started_ms: int, tries: int
    ) -> None:
        if device.life != life or not device.wants_tunnel(attempt):
            return
        link = device.link
        fate = link.fate("vpn", outward=True)
        host = self._choose(device)
        if fate is Fate.NO_ROUTE:
            self._failed(device, life, attempt, "unreachable")
        elif fate is Fate.REJECT or (fate is Fate.PASS and host is None):
            self._failed(device, life, attempt, "refused")
        elif (
            fate is Fate.DROP
            or link.fate("vpn", outward=False) is not Fate.PASS
            or (host is not None and host.state == "hang")
        ):
            following = tries + 1
            limit = started_ms + CONNECT_TIMEOUT_MS
            if following < len(SYN_INSTANTS_MS):
                at_ms = started_ms + SYN_INSTANTS_MS[following]
                wait = at_ms - self._agenda.now_ms
                self._agenda.after(
                    wait, self._knock, device, life, attempt, started_ms, following
                )
            else:
                wait = limit - self._agenda.now_ms
                self._agenda.after(wait, self._failed, device, life, attempt, "timeout")
        else:
            assert host is not None
            self._numbers += 1
            session = Session(self._numbers, device, host, attempt)
            # TCP and TLS before the server sees who it is
            wait = 3 * self._trip_ms(device)
            self._agenda.after(wait, self._requested, session)

    def _choose(self, device: Device) -> ServerHost | None:
        """DNS round robin over the instances that run, the same for a device in any fleet."""
        running = [host for host in self.hosts.values() if host.state != "down"]
        if not running:
            return None
        return running[(device.number + device.tunnels_opened) % len(running)]

    def _requested(self, session: Session) -> None:
        host = session.server
        if host.state == "down":
            self._at_client(session, client.ConnectionReset())
            return
        host.sessions[session.id] = session
        uuid, key = session.device.uuid or "", session.device.key or ""
        event = server.SessionRequested(session=session.id, uuid=uuid, key=key)
        self._serve(host, event)

    def _failed(self, device: Device, life: int, attempt: int, reason: client.Reason) -> None:
        if device.life == life:
            event = client.ConnectFailed(attempt=attempt, reason=reason)
            self._agenda.after(0, device.cloudlink_event, life, event)

    # --- a session's life ------------------------------------------------------------------------

    def _accepted(self, host: ServerHost, number: int) -> None:
        session = host.sessions[number]
        session.up_ms = self._agenda.now_ms
        trip_ms = self._trip_ms(session.device)
        self._agenda.after(trip_ms, self._up, session)

    def _up(self, session: Session) -> None:
        device = session.device
        if device.life != session.life or session.id not in session.server.sessions:
            return
        device.session = session
        device.tunnels_opened += 1
        device.cloudlink_event(session.life, client.TunnelUp(attempt=session.attempt))
        self.way_changed(device)

    def _ended(self, host: ServerHost, number: int, *, refused: bool) -> None:
        """The server ended a session; the client learns it if the way is open."""
        session = host.sessions.get(number)
        if session is None:
            return
        self._forget(session)
        if session.device.link.fate("vpn", outward=False) is Fate.PASS:
            event = client.AuthRefused(attempt=session.attempt) if refused else client.PeerClosed()
            self._at_client(session, event)

    def _at_client(self, session: Session, event: client.Event) -> None:
        device = session.device
        current = device.session is session or not isinstance(event, client.PeerClosed)
        if device.life == session.life and current:
            if device.session is session:
                device.session = None
            wait = self._trip_ms(device)
            self._agenda.after(wait, device.cloudlink_event, session.life, event)

    def close(self, device: Device) -> None:
        """The client closes its tunnel in order; the server sees it if the way is open."""
        session, device.session = device.session, None
        if session is not None and device.link.fate("vpn", outward=True) is Fate.PASS:
            self._agenda.after(self._trip_ms(device), self._closed, session)

    def _closed(self, session: Session) -> None:
        if session.id in session.server.sessions:
            self._forget(session)
            self._serve(session.server, server.SessionClosed(session=session.id))

    def cut(self, device: Device) -> None:
        """Power is gone: nothing more is sent, the server hears silence."""
        session, device.session = device.session, None
        if session is not None and session.id in session.server.sessions:
            self._silence_out(session)

    def _forget(self, session: Session) -> None:
        session.server.sessions.pop(session.id, None)

    # --- the way between the ends ----------------------------------------------------------------

    def way_changed(self, device: Device) -> None:
        """The device's link changed: tell the ends of its session what they notice."""
        session = device.session
        if session is None or session.up_ms is None:
            return
        link = device.link
        outward, inward = link.fate("vpn", outward=True), link.fate("vpn", outward=False)
        if Fate.REJECT in (outward, inward):
            self._rejected(session, outward, inward)
            return
        lost_by_nat = link.nat_timeout_ms is not None and (
            link.nat_timeout_ms < self._settings.ping_interval_ms
        )
        if outward is not Fate.PASS or lost_by_nat:
            self._silence_out(session)
        elif session.silent_out:
            self._agenda.after(self._next_ping_ms(session), self._heard_out, session)
        if inward is not Fate.PASS or lost_by_nat:
            self._silence_in(session)
        elif session.silent_in:
            self._agenda.after(self._next_ping_ms(session), self._heard_in, session)

    def _rejected(self, session: Session, outward: Fate, inward: Fate) -> None:
        """A reset reaches whoever sends into a rejecting rule (``STATUS.md §3``: at once)."""
        if outward is Fate.REJECT:
            session.device.session = None
            self._agenda.after(
                0, session.device.cloudlink_event, session.life, client.ConnectionReset()
            )
        else:
            self._silence_in(session)
        if inward is Fate.REJECT:
            self._closed(session)
        else:
            self._silence_out(session)

    def _silence_out(self, session: Session) -> None:
        if not session.silent_out and session.id in session.server.sessions:
            session.silent_out = True
            last = self._last_ping_ms(session)
            event = server.PeerSilent(session=session.id, last_heard_ms=last)
            self._serve(session.server, event)

    def _silence_in(self, session: Session) -> None:
        if not session.silent_in and session.device.life == session.life:
            session.silent_in = True
            last = self._last_ping_ms(session)
            session.device.cloudlink_event(session.life, client.PeerSilent(last_heard_ms=last))

    def _heard_out(self, session: Session) -> None:
        device = session.device
        alive = device.session is session and session.id in session.server.sessions
        if alive and session.silent_out and device.link.fate("vpn", outward=True) is Fate.PASS:
            session.silent_out = False
            self._serve(session.server, server.PeerHeard(session=session.id))

    def _heard_in(self, session: Session) -> None:
        device = session.device
        if (
            device.session is session
            and session.silent_in
            and session.id in session.server.sessions
            and device.link.fate("vpn", outward=False) is Fate.PASS
        ):
            session.silent_in = False
            device.cloudlink_event(session.life, client.PeerHeard())

    def _last_ping_ms(self, session: Session) -> int:
        """When the last ping before now arrived."""
        assert session.up_ms is not None
        trip_ms = session.device.link.latency_ms
        period = self._settings.ping_interval_ms
        pings = max(0, self._agenda.now_ms - trip_ms - session.up_ms) // period
        return min(self._agenda.now_ms, session.up_ms + pings * period + trip_ms)

    def _next_ping_ms(self, session: Session) -> int:
        """From now to the arrival of the next ping."""
        assert session.up_ms is not None
        period = self._settings.ping_interval_ms
        return period - (self._agenda.now_ms - session.up_ms) % period

    def _trip_ms(self, device: Device) -> int:
        link = device.link
        delay = link.latency_ms + link.extra_latency_ms
        if link.jitter_ms:
            delay += device.link_draws.upto(link.jitter_ms)
        return delay

    # --- calls through the tunnel ----------------------------------------------------------------

    def call_device(self, device: Device | None, call: CallDevice) -> None:
        """The cloud calls a device's supervisor API through its tunnel."""
        if device is None or device.session is None or not self._open_both_ways(device):
            return  # the cloud's own time-out ends it
        self._agenda.after(self._trip_ms(device), device.api_call, device.life, call)

    def reply(self, device: Device, call: int, status: int, body: object) -> None:
        """The device's answer to a call travels back."""
        if device.session is not None and self._open_both_ways(device):
            event = DeviceReplied(call=call, status=status, body=body)
            self._agenda.after(self._trip_ms(device), self._cloud.tell, event)

    @staticmethod
    def _open_both_ways(device: Device) -> bool:
        link = device.link
        return (
            link.fate("vpn", outward=True) is Fate.PASS
            and link.fate("vpn", outward=False) is Fate.PASS
        )
