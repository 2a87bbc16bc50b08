"""When a flood of handshakes is too much, and who is heard then (whitepaper §5.4.7, §6.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .noise import mac_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer import Address

HANDSHAKES_PER_SECOND = 3_000
"""More in one second is a load: senders prove their address from then on (about half of what a
core answers)."""
SOURCE_PER_SECOND, SOURCE_BURST = 20, 5
SECRET_LIVES_MS = 120_000
SOURCES_MAX = 100_000


class Load:
    """Counts handshake messages; knows cookies and the senders of a second."""

    __slots__ = (
        "_began_ms",
        "_count",
        "_draws",
        "_limit",
        "_loaded",
        "_secret",
        "_secret_ms",
        "_sources",
    )

    def __init__(
        self, draws: Callable[[int], bytes], *, per_second: int = HANDSHAKES_PER_SECOND
    ) -> None:
        """Calm, at first."""
        self._draws, self._limit = draws, per_second
        self._began_ms, self._count, self._loaded = 0, 0, False
        self._secret, self._secret_ms = b"", -SECRET_LIVES_MS
        self._sources: dict[str, tuple[int, int]] = {}
        """Host → when it was last heard (ms), and what it may still send, in thousandths."""

    def judge(self, source: Address, now_ms: int) -> bytes | None:
        """The cookie the sender must have used; ``None`` while there is no load."""
        if now_ms - self._began_ms >= 1_000:
            # one more second of load after a busy one, as it does not end by a calm moment
            self._loaded = now_ms - self._began_ms < 2_000 and self._count > self._limit
            self._began_ms, self._count = now_ms, 0
            # who has been quiet for a second may send a burst again, known or not
            quiet_ms = now_ms - 1_000
            self._sources = {h: known for h, known in self._sources.items() if known[0] > quiet_ms}
        self._count += 1
        if self._count <= self._limit and not self._loaded:
            return None
        if now_ms - self._secret_ms >= SECRET_LIVES_MS:
            self._secret, self._secret_ms = self._draws(32), now_ms
        host, port = source
        return mac_of(self._secret, f"{host} {port}".encode())

    def within_limit(self, source: Address, now_ms: int) -> bool:
        """Whether a sender that proved its address may have one more handshake."""
        host = source[0]
        if host not in self._sources and len(self._sources) >= SOURCES_MAX:
            return False
        whole = SOURCE_BURST * 1_000
        last_ms, left = self._sources.get(host, (now_ms, whole))
        left = min(whole, left + (now_ms - last_ms) * SOURCE_PER_SECOND)
        self._sources[host] = (now_ms, left - 1_000 if left >= 1_000 else left)
        return left >= 1_000
