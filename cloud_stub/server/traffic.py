"""What clients' requests amount to: a line of JSON for each thing counted, for a host lab.

What the virtual lab counts, where it counts it: a request when the API has it, answered or not; the
bytes of HTTP messages as they arrive at either end, without TLS.  Left out are log streams, which
the virtual lab's supervisors do not have.  A registry's requests are none of the API's; its bytes
count.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import struct
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .faults import REGISTRY_PATHS
from .settings import SettingsError
from .wire import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

    from .app import Handler

LOOK_S = 1.0
"""Between looks at what has arrived of connections that are busy."""
_LOG_STREAM = "/log-stream"


class Traffic:
    """Writes the lines; keeps nothing but the connections that are busy."""

    def __init__(self, file: str, now_ms: Callable[[], int]) -> None:
        """Append to a file.

        Args:
            file: each line is whole when it is there.
            now_ms: since 1970.

        Raises:
            SettingsError: it cannot be written.
        """
        try:
            self._file = Path(file).open("a", buffering=1)  # noqa: SIM115  # until close
        except OSError as error:
            raise SettingsError(f"{file} cannot be written: {error.strerror}") from error
        self._now_ms = now_ms
        self._busy: set[_Counted] = set()
        self._timer: asyncio.TimerHandle | None = None

    def heartbeat(self, uuid: str) -> None:
        """The cloud has counted one of a device."""
        self.add("heartbeats", 1, device=uuid)

    def add(self, what: str, amount: int, **whose: str) -> None:
        """A line, of an address or of a device."""
        if amount and not self._file.closed:
            line = {"at": self._now_ms(), "what": what, "amount": amount, **whose}
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def handler(self, handler: Handler) -> Handler:
        """A handler whose requests are counted."""

        async def counted(request: web.Request) -> web.StreamResponse:
            if request.path.endswith(_LOG_STREAM):
                if isinstance(request.transport, _Transport):
                    request.transport.counted.leave_out()
            elif not request.path.startswith((*REGISTRY_PATHS, *OURS)):
                self.add("requests", 1, address=request.remote or "")
            return await handler(request)

        return counted

    def protocol(self, inner: asyncio.Protocol) -> asyncio.Protocol:
        """A connection whose bytes are counted."""
        return _Counted(self, inner)

    def busy(self, connection: _Counted) -> None:
        """Look at it from time to time until all has arrived."""
        if self._file.closed:
            return
        self._busy.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def idle(self, connection: _Counted) -> None:
        """It is over."""
        self._busy.discard(connection)

    def _look(self) -> None:
        self._timer = None
        for connection in list(self._busy):
            if connection.look():
                self._busy.discard(connection)
        if self._busy:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def close(self) -> None:
        """Count what has arrived by now, and no more."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in self._busy:
            connection.look()
        self._busy.clear()
        self._file.close()


class _Counted(asyncio.Protocol):
    """Between a transport and aiohttp's protocol."""

    def __init__(self, traffic: Traffic, inner: asyncio.Protocol) -> None:
        self._traffic, self._inner = traffic, inner
        self._transport: asyncio.Transport | None = None
        self._socket: Any = None
        self._address = ""
        self._came = self._written = self._arrived = 0
        self._kept = True

    def leave_out(self) -> None:
        """Its bytes are not wanted, from what has not been told on."""
        self._kept = False

    def wrote(self, size: int) -> None:
        """So much was given to the transport."""
        self._written += size
        self._traffic.busy(self)

    def look(self) -> bool:
        """Tell of what has come and arrived since; whether that is all there was."""
        assert self._transport is not None
        self._tell(self._written - _under_way(self._transport, self._socket))
        return self._arrived >= self._written

    def _tell(self, arrived: int) -> None:
        came, self._came = self._came, 0
        more = max(0, arrived - self._arrived)
        self._arrived += more
        if self._kept:
            self._traffic.add("bytes_sent", came, address=self._address)
            self._traffic.add("bytes_received", more, address=self._address)

    # --- what asyncio calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        self._transport = cast("asyncio.Transport", transport)
        # one for TLS has none any more a moment before it says that its connection is lost
        self._socket = transport.get_extra_info("socket")
        self._address = (transport.get_extra_info("peername") or ("",))[0]
        self._inner.connection_made(cast("asyncio.Transport", _Transport(self._transport, self)))

    def data_received(self, data: bytes) -> None:
        """A client's bytes."""
        self._came += len(data)
        self._traffic.busy(self)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client says no more."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """The buffer is full."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It is not any more."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over: in order, and all arrives, or what was under way never will."""
        self._traffic.idle(self)
        if exc is None:
            self._tell(self._written)
        else:
            self._tell(self._arrived)  # what arrived since the last look nobody knows any more
        self._inner.connection_lost(exc)

    def aborted(self) -> None:
        """What has not arrived is thrown away."""
        self.look()
        self._written = self._arrived


class _Transport:
    """A transport that tells how much it is given."""

    def __init__(self, transport: asyncio.Transport, counted: _Counted) -> None:
        self._transport, self.counted = transport, counted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As of the transport."""
        self.counted.wrote(len(data))
        self._transport.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As of the transport."""
        parts = list(list_of_data)
        self.counted.wrote(sum(map(len, parts)))
        self._transport.writelines(parts)

    def close(self) -> None:
        """As of the transport, once: asyncio's for TLS forgets its connection at the second time,
        and nobody could ask it any more what is under way."""
        if not self._transport.is_closing():
            self._transport.close()

    def abort(self) -> None:
        """As of the transport."""
        self.counted.aborted()
        self._transport.abort()


def _under_way(transport: asyncio.Transport, socket: Any) -> int:
    """Bytes that the other end has not acknowledged: in our buffer and in the kernel's."""
    waiting = transport.get_write_buffer_size()
    with contextlib.suppress(OSError, ValueError):
        found = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
        waiting += struct.unpack("i", found)[0]
    return int(waiting)
