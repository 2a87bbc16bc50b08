"""Which session a datagram belongs to: indices of ours, drawn at random (whitepaper §5.4.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from .handshake import RESPONSE, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .handshake import Initiation
    from .peer import Peer
    from .session import Session


class Table:
    """Sessions and handshakes of all peers, by our index."""

    __slots__ = ("_draws", "_known")

    def __init__(self, draws: Callable[[int], bytes]) -> None:
        self._draws = draws
        self._known: dict[int, tuple[Peer, Session | None]] = {}

    def __len__(self) -> int:
        """How many indices are in use."""
        return len(self._known)

    def new(self) -> int:
        """An index nobody has."""
        while True:
            index = int.from_bytes(self._draws(4), "little")
            if index not in self._known:
                return index

    def began(self, peer: Peer, handshake: Initiation) -> None:
        """A handshake of ours waits for its answer; the one before it does not any more."""
        self.gave_up(peer)
        peer.handshake = handshake
        self._known[handshake.index] = (peer, None)

    def gave_up(self, peer: Peer) -> None:
        """No handshake of ours waits."""
        if peer.handshake is not None:
            self._known.pop(peer.handshake.index, None)
            peer.handshake = None

    def add(self, peer: Peer, session: Session) -> None:
        """A session is in use; it may have the index of the handshake it came of."""
        self._known[session.local] = (peer, session)

    def drop(self, session: Session | None) -> None:
        """A session is not any more."""
        if session is not None:
            self._known.pop(session.local, None)

    def expire(self, peer: Peer) -> None:
        """No keys of a peer are; a handshake that is under way goes on."""
        for session in peer.sessions():
            self.drop(session)
        peer.forget()

    def forget(self, peer: Peer) -> None:
        """Nothing of a peer is."""
        self.expire(peer)
        self.gave_up(peer)

    def of(self, data: bytes) -> tuple[Peer, Session | None]:
        """Whom a response, a cookie or a packet is for.

        Raises:
            RefusedError: nobody.
        """
        place = 8 if data[0] == RESPONSE else 4
        found = self._known.get(struct.unpack_from("<I", data, place)[0])
        if found is None:
            raise RefusedError("for a session that is not there")
        return found
