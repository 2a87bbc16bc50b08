"""Cloudlink as a process of its own, as on a board: a unit of the host that a supervisor switches.

They speak over a Unix socket in the volatile folder, a line of JSON each: the supervisor says
``{"enabled": true}`` or ``false``, the unit says ``{"up": …}`` at once and whenever it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import aiohttp

from .config_json import ConfigError, DeviceConfig
from .http import whatever_fails
from .wall import trust, wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .cloudlink import Cloudlink
    from .program import Options

_log = logging.getLogger("fieldbeat.agent")
SOCKET = "cloudlink.sock"
ADDRESS_MAX = 107
"""Bytes of a path in the address of a Unix socket (``sun_path``, unix(7)), without its end."""
AGAIN_S = 1.0
LINE_MAX = 1_024
CALL_S = 900.0


class RemoteUnit:
    """The supervisor's way to the unit; the unit is started by the host, not by it."""

    def __init__(self, folder: Path, changed: Callable[[bool], None]) -> None:
        """Nothing happens before ``start``.

        Args:
            folder: the volatile one.
            changed: told when the tunnel is up, and when it is not.
        """
        self._path, self._changed = folder / SOCKET, changed
        self._enabled: bool | None = None
        """As the supervisor last said; ``None``: it has said nothing, and the unit is as it is."""
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The unit is to run; said first, at the supervisor's own start, it is the host's word."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._live())
        else:
            self._say(enabled=True)

    def stop(self) -> None:
        """The unit is to stop."""
        self._say(enabled=False)

    async def close(self) -> None:
        """The supervisor goes; the unit stays as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _say(self, *, enabled: bool) -> None:
        self._enabled = enabled
        if self._writer is not None:
            self._writer.write(_line({"enabled": enabled}))

    async def _live(self) -> None:
        while True:
            try:
                with _named(self._path) as name:
                    reader, writer = await asyncio.open_unix_connection(name, limit=LINE_MAX)
            except OSError:
                await asyncio.sleep(AGAIN_S)
                continue
            self._writer = writer
            if self._enabled is not None:
                self._say(enabled=self._enabled)
            try:
                async for words in _lines(reader):
                    self._changed(words.get("up") is True)
            finally:
                self._writer = None
                writer.close()
            self._changed(False)


class Unit:
    """The process itself: cloudlink, and whoever switches it."""

    def __init__(self, folder: Path) -> None:
        """Nothing is served before ``start``; ``folder`` is the volatile one."""
        self._path = folder / SOCKET
        self._server: asyncio.Server | None = None
        self._named = contextlib.ExitStack()
        self._cloudlink: Cloudlink | None = None
        self._session: aiohttp.ClientSession | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._up = False

    @classmethod
    async def start_with(cls, options: Options) -> Unit:
        """The unit of an agent's options.

        Raises:
            ConfigError: config.json cannot be used, or names no VPN service.
            OSError: the socket cannot be made.
        """
        config = DeviceConfig(options.config)
        values = config.values
        if values.vpn_url is None:
            raise ConfigError(f"{options.config}: vpnEndpoint: is missing")
        state = options.state or options.config.resolve().parent / "fieldbeat"
        folder = options.run or state / "run"
        folder.mkdir(parents=True, exist_ok=True)
        from ..tunnel.kinds import device_end
        from .cloudlink import NO_OTHER_TIMEOUT, Cloudlink

        unit, clock_ms = cls(folder), options.clock_ms or wall_ms
        connector = aiohttp.TCPConnector(
            ssl=trust(values.apiEndpoint, values.root_ca, options.dates_ms), use_dns_cache=False
        )
        unit._session = aiohttp.ClientSession(connector=connector, timeout=NO_OTHER_TIMEOUT)
        port = values.listenPort if options.port is None else options.port
        unit._cloudlink = Cloudlink(
            values.vpn_url,
            session=unit._session,
            who=lambda: _who(options.config),
            end=lambda: device_end(options.tunnel, clock_ms=clock_ms),
            call=lambda method, path, body: unit._call(port, method, path, body),
            changed=unit._changed,
            clock_ms=clock_ms,
            speed=options.speed,
        )
        await unit._start()
        return unit

    async def _start(self) -> None:
        assert self._cloudlink is not None
        self._path.unlink(missing_ok=True)
        name = self._named.enter_context(_named(self._path))
        self._server = await asyncio.start_unix_server(self._serve, name, limit=LINE_MAX)
        self._cloudlink.start()

    async def close(self) -> None:
        """Stop in order: the tunnel is closed."""
        if self._cloudlink is not None:
            await self._cloudlink.close()
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()
        if self._session is not None:
            await self._session.close()
        self._named.close()
        self._path.unlink(missing_ok=True)

    def _changed(self, up: bool) -> None:
        self._up = up
        for writer in self._writers:
            writer.write(_line({"up": up}))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        writer.write(_line({"up": self._up}))
        assert self._cloudlink is not None
        try:
            async for words in _lines(reader):
                if words.get("enabled") is True:
                    self._cloudlink.start()
                elif words.get("enabled") is False:
                    self._cloudlink.stop()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _call(
        self, port: int, method: str, path: str, body: dict[str, Any]
    ) -> tuple[int, Any]:
        """Call the supervisor's API, which is another process and may be gone.

        Raises:
            NoAnswer: it does not answer.
        """
        assert self._session is not None
        secret = body.pop("apikey", None)
        with whatever_fails():
            async with self._session.request(
                method,
                f"http://127.0.0.1:{port}{path}",
                params={"apikey": secret} if isinstance(secret, str) else {},
                json=None if method == "GET" else body,
                timeout=aiohttp.ClientTimeout(total=CALL_S),
            ) as answer:
                if answer.content_type == "application/json":
                    return answer.status, await answer.json()
                return answer.status, await answer.text() or None


def _who(path: Path) -> tuple[str, str] | None:
    """As the unit's script reads config.json whenever it is started."""
    try:
        values = DeviceConfig(path).values
    except ConfigError as error:
        _log.error("%s", error)
        return None
    if values.uuid is None or values.deviceApiKey is None:
        return None
    return values.uuid, values.deviceApiKey


@contextlib.contextmanager
def _named(path: Path) -> Iterator[str]:
    """The socket's name in an address: a path that is too long for one begins at a descriptor."""
    if len(os.fsencode(path)) <= ADDRESS_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _line(words: dict[str, bool]) -> bytes:
    return json.dumps(words).encode() + b"\n"


async def _lines(reader: asyncio.StreamReader) -> Any:
    """What the other side says, until it goes."""
    with contextlib.suppress(OSError):
        while line := await reader.readline():
            with contextlib.suppress(ValueError):
                words = json.loads(line)
                if isinstance(words, dict):
                    yield words
