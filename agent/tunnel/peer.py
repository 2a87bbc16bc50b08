"""One peer: its sessions, its handshake and its timers (whitepaper §6)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from .noise import NO_PSK
from .session import REJECT_AFTER_MESSAGES

if TYPE_CHECKING:
    from .handshake import Initiation
    from .noise import Remote
    from .session import Session

Address = tuple[str, int]
"""Host and UDP port."""
REKEY_AFTER_MS = 120_000
REJECT_AFTER_MS = 180_000
ATTEMPT_MS = 90_000
RETRY_MS = 5_000
PASSIVE_KEEPALIVE_MS = 10_000
REKEY_AFTER_MESSAGES = 2**60
COOKIE_LIVES_MS = 120_000
COOKIE_SLACK_MS = 5_000
FORGET_MS = 3 * REJECT_AFTER_MS
STAGED_MAX = 128
"""Packets that wait for a session; the oldest go first."""


class Timings(NamedTuple):
    """The protocol's constants over ``speed``, ms: a lab may let time run faster."""

    rekey_after: int = REKEY_AFTER_MS
    reject_after: int = REJECT_AFTER_MS
    attempt: int = ATTEMPT_MS
    retry: int = RETRY_MS
    passive: int = PASSIVE_KEEPALIVE_MS
    forget: int = FORGET_MS

    @property
    def unanswered(self) -> int:
        """After so long without an answer to data a new handshake begins."""
        return self.passive + self.retry

    @property
    def rekey_on_receive(self) -> int:
        """Age at which the initiator that only listens begins anew."""
        return self.reject_after - self.passive - self.retry


class Peer:
    """What an endpoint knows of somebody; read the public parts, change nothing."""

    __slots__ = (
        "address",
        "allowed",
        "attempt_began_ms",
        "consumed_ms",
        "cookie",
        "cookie_ms",
        "current",
        "forget_ms",
        "handshake",
        "keepalive_ms",
        "last_handshake_ms",
        "last_received_ms",
        "mac1",
        "next",
        "passive_ms",
        "persistent_ms",
        "previous",
        "psk",
        "remote",
        "resend_ms",
        "rx_bytes",
        "sent_initiation_ms",
        "shared",
        "staged",
        "timestamp",
        "tx_bytes",
        "unanswered_ms",
    )

    def __init__(
        self,
        remote: Remote,
        shared: bytes,
        *,
        psk: bytes = NO_PSK,
        address: Address | None = None,
        allowed: frozenset[bytes] | None = None,
        keepalive_ms: int | None = None,
    ) -> None:
        """Nothing is sent before there is a reason.

        Args:
            remote: its static public key.
            shared: secret of its static key and ours.
            psk: preshared key.
            address: where to send; ``None``: wherever it speaks from.
            allowed: IPv4 addresses it may speak as, 4 bytes each; ``None``: any.
            keepalive_ms: send something at least this often; ``None``: only when there is.
        """
        self.remote, self.shared, self.psk = remote, shared, psk
        self.address, self.allowed, self.keepalive_ms = address, allowed, keepalive_ms
        self.current: Session | None = None
        self.previous: Session | None = None
        self.next: Session | None = None
        """Ours as responder, until the initiator has used it."""
        self.handshake: Initiation | None = None
        self.attempt_began_ms = 0
        self.sent_initiation_ms: int | None = None
        self.cookie: bytes | None = None
        self.cookie_ms = 0
        self.mac1: bytes | None = None
        """Of the newest handshake message to it: what a cookie must be for."""
        self.timestamp = b""
        """Of the newest initiation taken."""
        self.consumed_ms: int | None = None
        self.staged: deque[bytes] | None = None
        self.rx_bytes = self.tx_bytes = 0
        """Of whole datagrams that were authentic, handshakes with them."""
        self.last_handshake_ms: int | None = None
        self.last_received_ms: int | None = None
        """When something authentic came."""
        self.resend_ms: int | None = None
        self.unanswered_ms: int | None = None
        self.passive_ms: int | None = None
        self.persistent_ms: int | None = None
        self.forget_ms: int | None = None
        """When no keys have been made for so long that those there are go."""

    def deadline_ms(self) -> int | None:
        """When one of its timers is due."""
        found = None
        for at_ms in (
            self.resend_ms,
            self.unanswered_ms,
            self.passive_ms,
            self.persistent_ms,
            self.forget_ms,
        ):
            if at_ms is not None and (found is None or at_ms < found):
                found = at_ms
        return found

    def stage(self, packet: bytes) -> None:
        """Keep a packet until there is a session."""
        if self.staged is None:
            self.staged = deque(maxlen=STAGED_MAX)
        self.staged.append(packet)

    def usable(self, timings: Timings, now_ms: int) -> Session | None:
        """The session to send with."""
        session = self.current
        if session is None or session.counter >= REJECT_AFTER_MESSAGES:
            return None
        return session if now_ms - session.began_ms < timings.reject_after else None

    def cookie_now(self, now_ms: int) -> bytes | None:
        """The cookie to show, while it is young enough."""
        if self.cookie is None or now_ms - self.cookie_ms >= COOKIE_LIVES_MS - COOKIE_SLACK_MS:
            return None
        return self.cookie

    def forget(self) -> None:
        """Throw all keys away."""
        self.current = self.previous = self.next = None
        self.unanswered_ms = self.passive_ms = self.forget_ms = None

    def sessions(self) -> list[Session]:
        """Every pair of keys in use."""
        return [s for s in (self.current, self.previous, self.next) if s is not None]
