"""What reaches a VPN service instance and what it wants done (``vpn_server``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DRAIN_WHOLE_MS = 120_000
"""``DEFAULT_SIGTERM_TIMEOUT``: an orderly stop lasts no longer."""

# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The process runs: it registers itself with the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """``next_deadline_ms()`` was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequested:
    """A client connected and said who it is."""

    session: int
    uuid: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed:
    """The connection was seen to close: FIN, RST, or the process's exit."""

    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSilent:
    """Nothing has come from the client since ``last_heard_ms``."""

    session: int
    last_heard_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerHeard:
    """The client is heard again."""

    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseReceived:
    """The API's answer to ``SendRequest`` ``id``."""

    id: int
    status: int
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """``SendRequest`` ``id`` got no answer."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGracefully:
    """SIGTERM: clients are closed one by one, each a normal disconnect."""

    within_ms: int = DRAIN_WHOLE_MS
    """All of them by then."""


Event = (
    Started
    | TimerFired
    | SessionRequested
    | SessionClosed
    | PeerSilent
    | PeerHeard
    | ResponseReceived
    | RequestFailed
    | StopGracefully
)


# --- effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """A request to the API."""

    id: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptSession:
    """Let the client in."""

    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseSession:
    """Answer AUTH_FAILED and close."""

    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Close the connection: given up, or the service stops."""

    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line for the server's log."""

    text: str


Effect = SendRequest | AcceptSession | RefuseSession | CloseSession | Note
