"""WireGuard without sockets and clocks: datagrams and packets in, datagrams and packets out.

``Endpoint`` is both ends of the protocol, for any number of peers (whitepaper §5, §6; where it is
silent, as wireguard-go does).  Every call returns what to do, in order.  A datagram that is not
honest changes nothing but ``refused``.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

from .effects import Deliver, Effect, Send, Up
from .handshake import (
    COOKIE,
    COOKIE_SIZE,
    INITIATION,
    INITIATION_SIZE,
    RESPONSE,
    RESPONSE_SIZE,
    TRANSPORT,
    CookieReplies,
    Initiation,
    Received,
    RefusedError,
    check_mac1,
    cookie_from,
    mac1_of,
    mac2_holds,
)
from .load import Load
from .noise import KEY, NO_PSK, Identity, Remote, exchange
from .peer import REKEY_AFTER_MESSAGES, Address, Peer, Timings
from .session import Session
from .table import Table
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .handshake import Keys

KEEPALIVE_SIZE = 32
CONSUME_EVERY_MS = 20
"""An initiator is answered at most 50 times a second."""
JITTER_MS = 334
_TYPES = {INITIATION: INITIATION_SIZE, RESPONSE: RESPONSE_SIZE, COOKIE: COOKIE_SIZE}


class Endpoint:
    """One static key and its peers."""

    def __init__(
        self,
        private: bytes,
        *,
        draws: Callable[[int], bytes],
        timings: Timings | None = None,
        load: Load | None = None,
    ) -> None:
        """No peers yet.

        Args:
            private: 32 bytes.
            draws: gives so many random bytes.
            timings: of the protocol.
            load: what is too much.

        Raises:
            BadKeyError: no private key.
        """
        self.identity = Identity(private)
        self.peers: dict[bytes, Peer] = {}
        """By public key."""
        self.refused = 0
        """Datagrams that were not taken."""
        self._draws = draws
        self._timings = timings or Timings()
        self._load = load or Load(draws)
        self._cookies: CookieReplies | None = None
        self._table = Table(draws)
        self._timers = Timers()
        self._stamp_ns = 0
        self._out: list[Effect] = []

    # --- peers -----------------------------------------------------------------------------------

    def add_peer(
        self,
        public: bytes,
        *,
        psk: bytes = NO_PSK,
        address: Address | None = None,
        allowed: Iterable[str] | None = None,
        keepalive_ms: int | None = None,
        remote: Remote | None = None,
    ) -> Peer:
        """Know somebody; a peer of the same key is replaced.

        Args:
            public: its static key.
            psk: preshared key, 32 bytes.
            address: where it is; ``None``: where it speaks from.
            allowed: IPv4 addresses it may speak as; ``None``: any.
            keepalive_ms: persistent keepalive.
            remote: the key with what is derived of it, to share one among many endpoints.

        Raises:
            BadKeyError: the key cannot be one.
        """
        remote = remote or Remote(public)
        peer = Peer(
            remote,
            exchange(self.identity.private, remote.key),
            psk=psk,
            address=address,
            allowed=None
            if allowed is None
            else frozenset(ipaddress.IPv4Address(text).packed for text in allowed),
            keepalive_ms=keepalive_ms,
        )
        self.remove_peer(public)
        self.peers[public] = peer
        return peer

    def remove_peer(self, public: bytes) -> None:
        """Forget somebody, keys and all."""
        peer = self.peers.pop(public, None)
        if peer is not None:
            self._table.forget(peer)
            self._timers.forget(peer)

    # --- what a driver calls ---------------------------------------------------------------------

    def connect(self, peer: Peer, *, now_ms: int) -> list[Effect]:
        """Begin a handshake without a packet to send, and the persistent keepalives after it."""
        self._initiate(peer, now_ms, again=False)
        return self._done(peer)

    def send(self, peer: Peer, packet: bytes, *, now_ms: int) -> list[Effect]:
        """Send an IP packet, now or when there is a session."""
        peer.stage(packet)
        self._flush(peer, now_ms)
        return self._done(peer)

    def datagram(self, data: bytes, source: Address, *, now_ms: int) -> list[Effect]:
        """Something came from the wire."""
        peer = None
        try:
            kind = struct.unpack_from("<I", data)[0] if len(data) >= 4 else 0
            # boringtun does not pad to 16 bytes, and nobody need refuse it
            if kind == TRANSPORT and len(data) >= KEEPALIVE_SIZE:
                peer = self._transport(data, source, now_ms)
            elif _TYPES.get(kind) == len(data):
                peer = self._handshake(kind, data, source, now_ms)
            else:
                raise RefusedError("no message of WireGuard")
        except RefusedError:
            self.refused += 1
        return self._done(peer)

    def due(self, *, now_ms: int) -> list[Effect]:
        """The time of ``next_deadline_ms`` has come."""
        for peer in self._timers.due(now_ms):
            self._timer(peer, now_ms)
            self._arm(peer)
        out, self._out = self._out, []
        return out

    def next_deadline_ms(self) -> int | None:
        """When ``due`` is wanted."""
        return self._timers.next_ms()

    # --- messages --------------------------------------------------------------------------------

    def _handshake(self, kind: int, data: bytes, source: Address, now_ms: int) -> Peer | None:
        if kind == COOKIE:
            return self._cookie(data, now_ms)
        check_mac1(data, self.identity)
        verdict = self._load.judge(source, now_ms)
        if verdict is not None:
            if not mac2_holds(data, verdict):
                if self._cookies is None:
                    self._cookies = CookieReplies(self.identity, self._draws(16))
                self._out.append(Send(self._cookies.to(data, verdict), source))
                return None
            if not self._load.within_limit(source, now_ms):
                raise RefusedError("too many handshakes from there")
        if kind == INITIATION:
            return self._initiation(data, source, now_ms)
        return self._response(data, source, now_ms)

    def _initiation(self, data: bytes, source: Address, now_ms: int) -> Peer:
        received = Received(self.identity, data)
        peer = self.peers.get(received.static)
        if peer is None:
            raise RefusedError("from a stranger")
        stamp = received.prove(peer.shared)
        if stamp <= peer.timestamp:
            raise RefusedError("an initiation that came before")
        if peer.consumed_ms is not None and now_ms - peer.consumed_ms < CONSUME_EVERY_MS:
            raise RefusedError("initiations too close together")
        message, keys = received.answer(
            peer.remote,
            peer.psk,
            index=self._table.new(),
            ephemeral=self._draws(KEY),
            cookie=peer.cookie_now(now_ms),
        )
        peer.timestamp, peer.consumed_ms = stamp, now_ms
        self._table.drop(peer.next)
        peer.next = self._session(peer, keys, now_ms, initiator=False)
        self._heard(peer, data, source, now_ms)
        peer.mac1 = mac1_of(message)
        self._put(peer, message, now_ms)
        return peer

    def _response(self, data: bytes, source: Address, now_ms: int) -> Peer:
        peer, _ = self._table.of(data)
        handshake = peer.handshake
        if handshake is None:
            raise RefusedError("a response to nothing")
        keys = handshake.finish(data)
        self._table.gave_up(peer)
        session = self._session(peer, keys, now_ms, initiator=True)
        self._table.drop(peer.previous)
        if peer.next is not None:
            self._table.drop(peer.current)
            peer.previous, peer.next = peer.next, None
        else:
            peer.previous = peer.current
        peer.current = session
        self._heard(peer, data, source, now_ms)
        self._complete(peer, now_ms)
        if not peer.staged:
            peer.stage(b"")
        self._flush(peer, now_ms)
        return peer

    def _cookie(self, data: bytes, now_ms: int) -> Peer:
        peer, _ = self._table.of(data)
        if peer.mac1 is None:
            raise RefusedError("a cookie for nothing")
        peer.cookie = cookie_from(data, peer.remote, peer.mac1)
        peer.cookie_ms, peer.mac1 = now_ms, None
        return peer

    def _transport(self, data: bytes, source: Address, now_ms: int) -> Peer:
        peer, session = self._table.of(data)
        if session is None or now_ms - session.began_ms >= self._timings.reject_after:
            raise RefusedError("keys that are too old")
        packet = session.open(data)
        if session is peer.next:
            self._table.drop(peer.previous)
            peer.previous, peer.current, peer.next = peer.current, session, None
            self._complete(peer, now_ms)
        self._heard(peer, data, source, now_ms)
        if packet:
            self._packet(peer, packet, now_ms)
        if peer.staged:
            self._flush(peer, now_ms)
        old_ms = now_ms - session.began_ms
        if session.initiator and old_ms >= self._timings.rekey_on_receive:
            self._initiate(peer, now_ms, again=False)
        return peer

    def _packet(self, peer: Peer, packet: bytes, now_ms: int) -> None:
        """Let an IPv4 packet out, of an address the peer may use.

        Any packet is a sign of life that wants one back, whoever it is from.
        """
        if peer.passive_ms is None:
            peer.passive_ms = now_ms + self._timings.passive
        size = int.from_bytes(packet[2:4], "big")
        whole = packet[0] >> 4 == 4 and 20 <= size <= len(packet)
        if whole and (peer.allowed is None or packet[12:16] in peer.allowed):
            self._out.append(Deliver(peer, packet[:size]))
        else:
            self.refused += 1

    # --- sessions --------------------------------------------------------------------------------

    def _session(self, peer: Peer, keys: Keys, now_ms: int, *, initiator: bool) -> Session:
        session = Session(keys, began_ms=now_ms, initiator=initiator)
        self._table.add(peer, session)
        peer.forget_ms = now_ms + self._timings.forget
        return session

    def _complete(self, peer: Peer, now_ms: int) -> None:
        """A handshake is, whoever began it: one of ours need not be said again."""
        self._table.gave_up(peer)
        peer.resend_ms = None
        peer.last_handshake_ms = now_ms
        self._out.append(Up(peer))

    def _initiate(self, peer: Peer, now_ms: int, *, again: bool) -> None:
        """Send an initiation, unless one was sent a moment ago."""
        sent_ms = peer.sent_initiation_ms
        if peer.address is None or (sent_ms is not None and now_ms - sent_ms < self._timings.retry):
            return
        if not again:
            peer.attempt_began_ms = now_ms
        # two in one millisecond must differ, and a clock that went back must not be told
        self._stamp_ns = max(self._stamp_ns + 1, now_ms * 1_000_000)
        handshake = Initiation(
            self.identity,
            peer.remote,
            peer.shared,
            peer.psk,
            index=self._table.new(),
            ephemeral=self._draws(KEY),
            time_ns=self._stamp_ns,
            cookie=peer.cookie_now(now_ms),
        )
        self._table.began(peer, handshake)
        peer.sent_initiation_ms, peer.mac1 = now_ms, mac1_of(handshake.message)
        peer.resend_ms = now_ms + self._timings.retry + self._jitter_ms()
        self._put(peer, handshake.message, now_ms)

    def _jitter_ms(self) -> int:
        return int.from_bytes(self._draws(2), "little") % JITTER_MS

    def _flush(self, peer: Peer, now_ms: int) -> None:
        """Send what waits, or get a session for it."""
        session = peer.usable(self._timings, now_ms)
        if session is None:
            self._initiate(peer, now_ms, again=False)
            return
        while peer.staged:
            packet = peer.staged.popleft()
            if packet and peer.unanswered_ms is None:
                peer.unanswered_ms = now_ms + self._timings.unanswered + self._jitter_ms()
            self._put(peer, session.seal(packet), now_ms)
            peer.passive_ms = None
        old_ms = now_ms - session.began_ms
        if session.counter >= REKEY_AFTER_MESSAGES or (
            session.initiator and old_ms >= self._timings.rekey_after
        ):
            self._initiate(peer, now_ms, again=False)

    def _put(self, peer: Peer, datagram: bytes, now_ms: int) -> None:
        if peer.address is not None:
            peer.tx_bytes += len(datagram)
            self._out.append(Send(datagram, peer.address))
            self._passed(peer, now_ms)

    def _heard(self, peer: Peer, data: bytes, source: Address, now_ms: int) -> None:
        """Something authentic came: the peer lives, and is there."""
        peer.address = source
        peer.rx_bytes += len(data)
        peer.last_received_ms = now_ms
        peer.unanswered_ms = None
        self._passed(peer, now_ms)

    def _passed(self, peer: Peer, now_ms: int) -> None:
        if peer.keepalive_ms is not None:
            peer.persistent_ms = now_ms + peer.keepalive_ms

    # --- timers ----------------------------------------------------------------------------------

    def _timer(self, peer: Peer, now_ms: int) -> None:
        timings = self._timings
        if peer.resend_ms is not None and peer.resend_ms <= now_ms:
            peer.resend_ms = None
            if now_ms - peer.attempt_began_ms >= timings.attempt:
                # given up: the next packet, or the next keepalive, begins anew
                peer.staged = None
                self._table.gave_up(peer)
            else:
                self._initiate(peer, now_ms, again=True)
        if peer.unanswered_ms is not None and peer.unanswered_ms <= now_ms:
            peer.unanswered_ms = None
            self._initiate(peer, now_ms, again=False)
        if peer.passive_ms is not None and peer.passive_ms <= now_ms:
            peer.passive_ms = None
            self._keepalive(peer, now_ms)
        if peer.persistent_ms is not None and peer.persistent_ms <= now_ms:
            peer.persistent_ms = None
            self._passed(peer, now_ms)
            self._keepalive(peer, now_ms)
        if peer.forget_ms is not None and peer.forget_ms <= now_ms:
            self._table.expire(peer)

    def _keepalive(self, peer: Peer, now_ms: int) -> None:
        if not peer.staged:
            peer.stage(b"")
        self._flush(peer, now_ms)

    def _done(self, peer: Peer | None) -> list[Effect]:
        if peer is not None:
            self._arm(peer)
        out, self._out = self._out, []
        return out

    def _arm(self, peer: Peer) -> None:
        due_ms = peer.deadline_ms()
        if due_ms is not None and self.peers.get(peer.remote.public) is peer:
            self._timers.arm(peer, due_ms)
