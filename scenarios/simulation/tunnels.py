"""Cloudlink in simulated time: sessions between devices' VPN clients and the VPN servers.

Pings are not events.  Both ends ping every ``ping_interval`` from the moment the tunnel is up, so
when the way breaks the instant each end last heard the other is known; the ends are told that
silence began, and count their own time-outs from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import cloudlink as client
from cloud_stub import vpn_events as server
from cloud_stub.messages import CallDevice, DeviceReplied

from .links import SYN_INSTANTS_MS, Fate
from .stand_stills import sent_again_ms, stand_stills
from .vpn_hosts import Hosts, ServerHost, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud_stub.settings import VpnSettings

    from .agenda import Agenda
    from .cloudside import CloudSide
    from .device import Device
    from .links import Link

CONNECT_TIMEOUT_MS = 120_000
"""OpenVPN's default ``connect-timeout``."""


class Tunnels:
    """The clients' end of every session, and the way between."""

    __slots__ = ("_agenda", "_cloud", "_left", "_settings", "hosts")

    def __init__(
        self, agenda: Agenda, cloud: CloudSide, settings: VpnSettings, service_key: str
    ) -> None:
        self._agenda = agenda
        self._cloud = cloud
        self._settings = settings
        self._left: dict[int, tuple[Session, int]] = {}
        """Device → its session that a cut of the power left open at the server, and when (ms)."""
        self.hosts = Hosts(agenda, cloud, settings, service_key, self)

    # --- a client connects -----------------------------------------------------------------------

    def open(self, device: Device, attempt: int) -> None:
        """A device's VPN client wants a tunnel."""
        link = device.link
        if not link.up:
            self._failed(device, device.life, attempt, "unreachable")
        else:
            resolved, wait_ms = link.look_up(device.link_draws)
            now_ms, life = self._agenda.now_ms, device.life
            if not resolved:
                self._agenda.after(wait_ms, self._failed, device, life, attempt, "dns")
            elif wait_ms:
                self._agenda.after(wait_ms, self._knock, device, life, attempt, now_ms, 0)
            else:
                self._knock(device, life, attempt, now_ms, 0)

    def _knock(self, device: Device, life: int, attempt: int, started_ms: int, tries: int) -> None:
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
                self._agenda.after(wait, self._knock, device, life, attempt, started_ms, following)
            else:
                if fate is Fate.PASS and host is not None and host.state == "hang":
                    device.connections += 1  # its kernel made one, whoever did not answer
                wait = limit - self._agenda.now_ms
                self._agenda.after(wait, self._failed, device, life, attempt, "timeout")
        else:
            assert host is not None
            device.connections += 1
            session = Session(self.hosts.next_number(), device, host, attempt)
            # TCP and TLS before the server sees who it is
            wait = 3 * self._trip_ms(device)
            self._agenda.after(wait, self._requested, session)

    def _choose(self, device: Device) -> ServerHost | None:
        """Each connection that is made goes to the next instance that runs, let in or refused.

        The same for a device in any fleet: there is a balancer in front (``SUPERVISOR.md §8``), and
        a refused client is a new process with a new connection (``auth-retry none``, ``§7``).
        """
        running = self.hosts.running()
        if not running:
            return None
        return running[(device.number + device.connections) % len(running)]

    def _requested(self, session: Session) -> None:
        host, device = session.server, session.device
        if device.life != session.life or not device.wants_tunnel(session.attempt):
            return  # nobody is there any more to log in
        if not device.trusts_certificates:
            self._failed(device, session.life, session.attempt, "tls")
            return
        if host.state == "down":
            self.at_client(session, client.ConnectionReset())
            return
        if host.state == "error":
            self._agenda.after(self._settings.auth_fail_delay_ms, self._turned_away, session)
            return
        host.sessions[session.id] = session
        uuid, key = device.uuid or "", device.key or ""
        event = server.SessionRequested(session=session.id, uuid=uuid, key=key)
        self.hosts.serve(host, event)

    def _turned_away(self, session: Session) -> None:
        self.ended(session, refused=True)

    def _failed(self, device: Device, life: int, attempt: int, reason: client.Reason) -> None:
        if device.life == life:
            event = client.ConnectFailed(attempt=attempt, reason=reason)
            self._agenda.after(0, device.cloudlink_event, life, event)

    # --- a session's life ------------------------------------------------------------------------

    def accepted(self, session: Session) -> None:
        """The server let the client in."""
        session.up_ms = self._agenda.now_ms
        trip_ms = self._trip_ms(session.device)
        self._agenda.after(trip_ms, self._up, session)

    def _up(self, session: Session) -> None:
        device = session.device
        if session.id not in session.server.sessions:
            return
        if device.life != session.life:
            self._leave(session)  # let in, and dead by now
            return
        if not device.wants_tunnel(session.attempt):
            self._closed(session)
            return
        device.session = session
        device.cloudlink_event(session.life, client.TunnelUp(attempt=session.attempt))
        self.way_changed(device)

    def ended(self, session: Session, *, refused: bool) -> None:
        """The server ended a session; the client learns it if the way is open."""
        if session.device.link.fate("vpn", outward=False) is Fate.PASS:
            event = client.AuthRefused(attempt=session.attempt) if refused else client.PeerClosed()
            self.at_client(session, event)

    def at_client(self, session: Session, event: client.Event) -> None:
        """Something reaches the client, unless its device or session is another one by now."""
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
        way = device.link.fate("vpn", outward=True)
        if session is not None and not session.silent_out and way is Fate.PASS:
            self._agenda.after(self._trip_ms(device), self._closed, session)

    def _closed(self, session: Session) -> None:
        if session.id in session.server.sessions:
            self._forget(session)
            self.hosts.serve(session.server, server.SessionClosed(session=session.id))

    def cut(self, device: Device) -> None:
        """Power is gone: nothing more is sent, the server hears silence."""
        session, device.session = device.session, None
        if session is not None and session.id in session.server.sessions:
            self._leave(session)

    def _leave(self, session: Session) -> None:
        self._left[session.device.number] = (session, self._agenda.now_ms)
        self._silence_out(session)

    def booted(self, device: Device) -> None:
        """Its kernel knows of no session: whoever goes on with an old one is sent a reset."""
        session, since_ms = self._left.get(device.number, (None, 0))
        if session is None or session.id not in session.server.sessions:
            self._left.pop(device.number, None)
            return
        assert session.up_ms is not None
        period_ms, now_ms = self._settings.ping_interval_ms, self._agenda.now_ms
        first_ms = since_ms + period_ms - (since_ms - session.up_ms) % period_ms
        at_ms = sent_again_ms(device.link, first_ms, now_ms)
        self._agenda.after(at_ms - now_ms, self._at_stranger, session, device.life)

    def _at_stranger(self, session: Session, life: int) -> None:
        """The server sends something of an old session to the new kernel."""
        device, link = session.device, session.device.link
        if device.life != life or session.id not in session.server.sessions:
            return
        ways = (link.fate("vpn", outward=outward) for outward in (True, False))
        if all(way is Fate.PASS for way in ways) and session.server.state != "hang":
            self._agenda.after(2 * self._trip_ms(device), self._closed, session)
        else:
            self.booted(device)  # it tries again

    def _forget(self, session: Session) -> None:
        session.server.sessions.pop(session.id, None)

    # --- the way between the ends ----------------------------------------------------------------

    def way_changed(self, device: Device) -> None:
        """The device's link changed: tell the ends of its session what they notice."""
        session = device.session
        if session is None or session.up_ms is None:
            return
        if session.lost:
            return
        link = device.link
        outward, inward = link.fate("vpn", outward=True), link.fate("vpn", outward=False)
        if Fate.REJECT in (outward, inward):
            self._rejected(session, outward, inward)
            return
        lost_by_nat = self._forgotten(link)
        self._watched(session)
        self._risked(session)
        stuck = session.server.state == "hang"
        if outward is not Fate.PASS or lost_by_nat:
            self._silence_out(session)
        elif session.silent_out:
            self._agenda.after(self._next_ping_ms(session), self._heard_out, session)
        if inward is not Fate.PASS or lost_by_nat or stuck:
            self._silence_in(session)
        elif session.silent_in:
            self._agenda.after(self._next_ping_ms(session), self._heard_in, session)

    def _watched(self, session: Session) -> None:
        """A proxy that closes idle connections begins to count."""
        limit_ms = session.device.link.idle_timeout_ms
        if limit_ms is not None and limit_ms < self._settings.ping_interval_ms:
            self._agenda.after(limit_ms, self._idled_out, session)

    def _idled_out(self, session: Session) -> None:
        """The proxy closes both ends."""
        limit_ms = session.device.link.idle_timeout_ms
        if session.device.session is session and limit_ms is not None:
            self.at_client(session, client.ConnectionReset())
            self._closed(session)

    def _risked(self, session: Session) -> None:
        """Where packets are lost, TCP some time stands still for too long, either way."""
        link, period_ms = session.device.link, self._settings.ping_interval_ms
        if session.risked is link:
            return
        session.risked = link
        drawn = stand_stills(link, self._settings, session.device.link_draws)
        for pings, silence in zip(drawn, (self._silence_in, self._silence_out), strict=True):
            if pings is not None:
                wait_ms = self._next_ping_ms(session) + pings * period_ms
                self._agenda.after(wait_ms, self._stood_still, session, link, silence)

    def _stood_still(self, session: Session, link: Link, silence: Callable[..., None]) -> None:
        """A ping is lost again and again; what was drawn for another link is void."""
        if session.device.session is session and session.device.link is link:
            silence(session)

    def address_changed(self, device: Device) -> None:
        """The device's tunnel goes on from an address that is not its own any more."""
        session = device.session
        if session is not None and session.up_ms is not None:
            session.lost = True
            self._silence_out(session)
            self._silence_in(session)

    def server_changed(self, host: ServerHost) -> None:
        """A server went silent or is heard again: its clients notice."""
        for session in list(host.sessions.values()):
            if session.device.session is session:
                self.way_changed(session.device)

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
            self.hosts.serve(session.server, event)

    def _silence_in(self, session: Session) -> None:
        if not session.silent_in and session.device.life == session.life:
            session.silent_in = True
            last = self._last_ping_ms(session)
            session.device.cloudlink_event(session.life, client.PeerSilent(last_heard_ms=last))

    def _heard_out(self, session: Session) -> None:
        device = session.device
        alive = device.session is session and session.id in session.server.sessions
        alive = alive and not session.lost
        if alive and session.silent_out and device.link.fate("vpn", outward=True) is Fate.PASS:
            session.silent_out = False
            self.hosts.serve(session.server, server.PeerHeard(session=session.id))

    def _heard_in(self, session: Session) -> None:
        device = session.device
        if (
            device.session is session
            and session.silent_in
            and not session.lost
            and session.id in session.server.sessions
            and session.server.state != "hang"
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
        if link.jitter_ms or link.loss:
            return link.trip_ms(device.link_draws)
        return link.latency_ms + link.extra_latency_ms

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
            self._agenda.after(self._trip_ms(device), self._tell_cloud, event)

    def _tell_cloud(self, event: DeviceReplied) -> None:
        self._cloud.tell(event)

    def _forgotten(self, link: Link) -> bool:
        """Whether a middlebox forgets a tunnel between two of its pings."""
        nat_ms = link.nat_timeout_ms
        return nat_ms is not None and nat_ms < self._settings.ping_interval_ms

    def _open_both_ways(self, device: Device) -> bool:
        link = device.link
        session = device.session
        if session is None or session.lost or session.up_ms is None:
            return False
        if self._forgotten(link) and self._agenda.now_ms > session.up_ms + (
            link.nat_timeout_ms or 0
        ):
            return False
        return (
            link.fate("vpn", outward=True) is Fate.PASS
            and link.fate("vpn", outward=False) is Fate.PASS
        )
