"""When the peers of an endpoint want to be looked at: one time each, in a heap."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .peer import Peer

    Entry = tuple[int, int, Peer]
    """Time (ms), number, peer."""

SPARE = 64
"""So many entries more than twice the peers that wait, and those nobody waits for are swept out."""


class Timers:
    """Who is due when.

    A time that moves forward is a new entry and leaves the old one stale; one that moves back costs
    nothing before the old one is due.
    """

    __slots__ = ("_heap", "_live", "_number")

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._live: dict[Peer, Entry] = {}
        """The entry of each peer that is not stale."""
        self._number = 0

    def __len__(self) -> int:
        """Entries, stale ones with them."""
        return len(self._heap)

    def arm(self, peer: Peer, due_ms: int) -> None:
        """Be told of a peer at this time, or before."""
        live = self._live.get(peer)
        if live is not None and live[0] <= due_ms:
            return
        self._number += 1
        self._live[peer] = entry = (due_ms, self._number, peer)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._live) + SPARE:
            self._heap = list(self._live.values())
            heapify(self._heap)

    def forget(self, peer: Peer) -> None:
        """It is not waited for any more."""
        self._live.pop(peer, None)

    def due(self, now_ms: int) -> Iterator[Peer]:
        """Whose time has come; who wants to hear of one again arms it again."""
        while self._heap and self._heap[0][0] <= now_ms:
            entry = heappop(self._heap)
            if self._live.get(entry[2]) is entry:
                del self._live[entry[2]]
                yield entry[2]

    def next_ms(self) -> int | None:
        """When the next is due, or a stale entry is thrown away."""
        return self._heap[0][0] if self._heap else None
