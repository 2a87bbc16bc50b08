"""The host's VPN client: the device end of cloudlink (``SUPERVISOR.md §7``).

An OpenVPN process under systemd.  Connection attempts inside one process double their delay; a
process that exits (silence, refused key) is started again by the unit and begins anew.  Pings are
not events here: whoever drives the machine says when silence began.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Reason = Literal["refused", "timeout", "unreachable", "dns", "tls", "reset"]
"""Why a tunnel did not come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudlinkConfig:
    """Timings of the client, milliseconds."""

    retry_min_ms: int = 5_000
    """``connect-retry``: between two attempts of one process; doubles …"""
    retry_max_ms: int = 120_000
    """… up to this."""
    ping_exit_ms: int = 60_000
    """Pushed by the server: the process exits after this much silence."""
    unit_restart_ms: int = 10_000
    """``RestartSec`` of the unit."""


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The unit is started (boot, or VPN control on again); harmless while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The unit is stopped: the tunnel closes in order, nothing is retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """``next_deadline_ms()`` was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelUp:
    """``OpenTunnel`` ``attempt`` is connected and let in."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFailed:
    """``OpenTunnel`` ``attempt`` found nobody."""

    attempt: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRefused:
    """The server does not accept uuid and key."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionReset:
    """The TCP connection was reset, up or still coming up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerClosed:
    """The server closed the tunnel in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSilent:
    """Nothing has come from the server since ``last_heard_ms``."""

    last_heard_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerHeard:
    """The server is heard again."""


Event = (
    Start
    | Stop
    | TimerFired
    | TunnelUp
    | ConnectFailed
    | AuthRefused
    | ConnectionReset
    | PeerClosed
    | PeerSilent
    | PeerHeard
)


# --- effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTunnel:
    """Connect; ``TunnelUp``, ``ConnectFailed`` or ``AuthRefused`` with the same number follows."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseTunnel:
    """Close in order, or give up the attempt; nothing more of it may arrive."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line for the device's log."""

    text: str


Effect = OpenTunnel | CloseTunnel | Note

Phase = Literal["stopped", "waiting", "connecting", "up"]


class CloudlinkClient:
    """One VPN client from boot to power-off."""

    __slots__ = ("_attempt", "_config", "_delay_ms", "_failures", "_next_ms", "_phase")

    def __init__(self, config: CloudlinkConfig) -> None:
        self._config = config
        self._phase: Phase = "stopped"
        self._attempt = 0
        self._delay_ms = config.retry_min_ms
        self._failures = 0
        self._next_ms: int | None = None

    @property
    def up(self) -> bool:
        """Whether the client thinks its tunnel is up."""
        return self._phase == "up"

    def pushed(self, *, ping_exit_ms: int) -> None:
        """The server says after how much silence to give up (``SUPERVISOR.md §7``)."""
        self._config = replace(self._config, ping_exit_ms=ping_exit_ms)

    def next_deadline_ms(self) -> int | None:
        """When ``TimerFired`` is wanted."""
        return self._next_ms

    def handle(self, event: Event, *, now_ms: int) -> list[Effect]:
        """Take one event; what to do about it, in order."""
        match event:
            case Start():
                return self._open() if self._phase == "stopped" else []
            case Stop():
                return self._stop()
            case TimerFired():
                return self._due(now_ms)
            case TunnelUp() if self._expects(event.attempt):
                return self._is_up()
            case ConnectFailed() if self._expects(event.attempt):
                return self._retry(event.reason, now_ms)
            case AuthRefused() if self._expects(event.attempt):
                return self._exit("the server refused this device's key", now_ms)
            case ConnectionReset() | PeerClosed() if self._phase in ("connecting", "up"):
                return self._retry(
                    "connection reset"
                    if isinstance(event, ConnectionReset)
                    else "closed by the server",
                    now_ms,
                )
            case PeerSilent() if self._phase == "up":
                self._next_ms = event.last_heard_ms + self._config.ping_exit_ms
            case PeerHeard() if self._phase == "up":
                self._next_ms = None
            case _:
                pass  # of an attempt or a tunnel that is no more
        return []

    def _expects(self, attempt: int) -> bool:
        return self._phase == "connecting" and attempt == self._attempt

    def _open(self) -> list[Effect]:
        self._phase, self._next_ms = "connecting", None
        self._attempt += 1
        return [OpenTunnel(attempt=self._attempt)]

    def _is_up(self) -> list[Effect]:
        failures, self._failures = self._failures, 0
        self._phase, self._next_ms = "up", None
        self._delay_ms = self._config.retry_min_ms
        return [Note(text=f"cloudlink up after {failures} failures")] if failures else []

    def _stop(self) -> list[Effect]:
        tunnel = self._phase in ("connecting", "up")
        self._phase, self._next_ms, self._failures = "stopped", None, 0
        self._delay_ms = self._config.retry_min_ms
        return [CloseTunnel(attempt=self._attempt)] if tunnel else []

    def _due(self, now_ms: int) -> list[Effect]:
        if self._next_ms is None or self._next_ms > now_ms:
            return []
        if self._phase == "up":
            closing = CloseTunnel(attempt=self._attempt)
            return [closing, *self._exit("no ping from the server", now_ms)]
        return self._open()

    def _retry(self, reason: str, now_ms: int) -> list[Effect]:
        """The next attempt of the same process, after a delay that doubles."""
        wait_ms = self._delay_ms
        self._delay_ms = min(2 * wait_ms, self._config.retry_max_ms)
        return self._wait(reason, wait_ms, now_ms)

    def _exit(self, reason: str, now_ms: int) -> list[Effect]:
        """The process ends; the unit starts another, which knows of no delays."""
        self._delay_ms = self._config.retry_min_ms
        return self._wait(reason, self._config.unit_restart_ms, now_ms)

    def _wait(self, reason: str, wait_ms: int, now_ms: int) -> list[Effect]:
        first = self._failures == 0
        self._failures += 1
        self._phase, self._next_ms = "waiting", now_ms + wait_ms
        return [Note(text=f"cloudlink down: {reason}, next try in {wait_ms} ms")] if first else []
