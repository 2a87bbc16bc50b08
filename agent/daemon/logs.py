"""The log stream over HTTP: compressed lines in one request that does not end (``agent.logs``)."""

from __future__ import annotations

import asyncio
import logging
import zlib
from typing import TYPE_CHECKING, Any

from .. import system_log
from ..device_config import logs_wanted
from ..logs import LogStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..effects import Effect
    from ..events import Event
    from ..machine import Agent
    from .http import Cloud
    from .output import Output

_log = logging.getLogger("fieldbeat.agent")
GZIP = 16 + zlib.MAX_WBITS
END_S = 1.0
"""How long the last lines may take when the agent ends."""


class Logs:
    """Sends the lines of one device."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        who: Callable[[], tuple[str, str] | None],
        clock_ms: Callable[[], int],
    ) -> None:
        """Nothing is sent before the first line.

        Args:
            cloud: the way to the API.
            who: gives uuid and key; ``None`` while the device has none: lines are lost.
            clock_ms: wall time.
        """
        self._cloud, self._who, self._clock_ms = cloud, who, clock_ms
        self._machine = LogStream()
        self._parts: asyncio.Queue[bytes | None] | None = None
        """Of the request that is open."""
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = ""

    def came(self, agent: Agent, event: Event) -> None:
        """An event that ``agent`` is about to take."""
        self._supervisor(agent, system_log.came(event, agent.update.containers.mirror))

    def begins(self, agent: Agent, effect: Effect) -> None:
        """An effect that is about to be carried out."""
        self._supervisor(agent, system_log.begins(effect, agent.update.containers.mirror))

    def _supervisor(self, agent: Agent, text: str | None) -> None:
        if text is not None and logs_wanted(agent.ctx.applied):
            self._write(text, isSystem=True)

    def services(self, agent: Agent, output: Sequence[Output]) -> None:
        """Lines of services; where nobody wants them they are over."""
        if not logs_wanted(agent.ctx.applied):
            return
        for service_id, lines, stderr in output:
            more = {"isStdErr": True} if stderr else {}
            for line in lines if service_id is not None else ():
                self._write(line, serviceId=service_id, **more)

    def _write(self, message: str, **more: Any) -> None:
        if self._who() is not None:
            self._machine.write(message, now_ms=self._clock_ms(), **more)
            self._go()

    def _go(self) -> None:
        for command in self._machine.due(now_ms=self._clock_ms()):
            if command == "open":
                self._parts = asyncio.Queue()
                task = asyncio.create_task(self._stream(self._parts))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif self._parts is not None:
                self._parts.put_nowait(command if isinstance(command, bytes) else None)
                if command == "close":
                    self._parts = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ms = self._machine.next_deadline_ms()
        if due_ms is not None:
            wait_s = max(0.0, (due_ms - self._clock_ms()) / 1_000)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._go)

    async def _stream(self, parts: asyncio.Queue[bytes | None]) -> None:
        who = self._who()
        assert who is not None
        uuid, key = who
        headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
        }
        path = f"/device/v2/{uuid}/log-stream"
        words = await self._cloud.stream(path, headers, _compressed(parts))
        if self._parts is not parts:
            return  # it was ended by us
        self._parts = None
        if words != self._told:
            self._told = words
            _log.warning("log stream to %s: %s", self._cloud.endpoint, words)
        self._machine.ended()
        self._go()

    async def close(self) -> None:
        """End the request, with what is in it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._parts is not None:
            self._parts.put_nowait(None)
            self._parts = None
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _compressed(parts: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    """Each part at once, and the header of the whole before the first: with it go HTTP's."""
    press = zlib.compressobj(wbits=GZIP)
    yield press.compress(b"") + press.flush(zlib.Z_SYNC_FLUSH)
    while (part := await parts.get()) is not None:
        yield press.compress(part) + press.flush(zlib.Z_SYNC_FLUSH)
    yield press.flush()
