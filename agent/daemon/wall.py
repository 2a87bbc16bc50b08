"""The board's wall clock, which may be wrong, and TLS that judges certificates by it."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NO_CHECK_TIME = 0x200000
"""``X509_V_FLAG_NO_CHECK_TIME`` of OpenSSL: dates are judged here."""


def wall_ms() -> int:
    """The clock of devices: the wall's at the start, the monotonic one from there on."""
    return _BEGAN_MS + time.monotonic_ns() // 1_000_000


_BEGAN_MS = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000


class WallClock:
    """What the board takes the time to be; timers go by another clock, as the monotonic one does.

    A file holds by how many seconds it is off (negative: behind).  It is read whenever the clock
    is: whoever steers the board writes it while the program runs.
    """

    def __init__(self, true_ms: Callable[[], int], file: Path | None = None) -> None:
        """Be right, but for what ``file`` says; without one, or where it holds no number, right."""
        self._true_ms, self._file = true_ms, file

    def now_ms(self) -> int:
        """Since 1970."""
        return self._true_ms() + self.off_ms()

    def off_ms(self) -> int:
        """How far it is ahead of the true time."""
        if self._file is not None:
            with suppress(OSError, ValueError, OverflowError):
                return round(float(self._file.read_text()) * 1_000)
        return 0


class _DatedContext(ssl.SSLContext):
    """TLS whose certificates are judged by a clock of ours instead of the system's."""

    wall_ms: Callable[[], int]

    def look(self, names: object) -> None:
        """Hold the server's certificate against the clock.

        Raises:
            ssl.SSLCertVerificationError: it is not valid yet, or no longer.
        """
        dates = names if isinstance(names, dict) else {}
        now_s = self.wall_ms() / 1_000
        begins_s = ssl.cert_time_to_seconds(dates["notBefore"])
        ends_s = ssl.cert_time_to_seconds(dates["notAfter"])
        if not begins_s <= now_s <= ends_s:
            shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now_s))
            word = "is not yet valid" if now_s < begins_s else "has expired"
            raise ssl.SSLCertVerificationError(
                1, f"the server's certificate {word}: the clock shows {shown} UTC"
            )


class _DatedObject(ssl.SSLObject):
    """One connection's end."""

    def do_handshake(self) -> None:
        """Shake hands, then look at the dates."""
        super().do_handshake()
        context = self.context
        assert isinstance(context, _DatedContext)
        context.look(self.getpeercert())


def trust(
    endpoint: str, root_ca: str | None, now_ms: Callable[[], int] | None = None
) -> ssl.SSLContext | bool:
    """TLS as a device does it: the system's authorities, and those of config.json.

    Args:
        endpoint: without TLS there the authorities are not even read.
        root_ca: PEM, or ``None``.
        now_ms: the clock the server's certificate is held against; the system's where not given.
    """
    if endpoint.startswith("http:"):
        return True
    if now_ms is None:
        context = ssl.create_default_context()
    else:
        context = dated = _DatedContext(ssl.PROTOCOL_TLS_CLIENT)
        dated.wall_ms, dated.sslobject_class = now_ms, _DatedObject
        dated.load_default_certs()
        dated.verify_flags |= _NO_CHECK_TIME
    if root_ca is not None:
        context.load_verify_locations(cadata=root_ca)
    return context
