"""Publishes changes of status fields to an MQTT broker, retained, at least once.

Topics: ``fieldbeat/<fleet id>/<uuid>/status/<field>``; a payload is one event as JSON.  A broker
that is away is tried again with backoff; what happened meanwhile is published when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiomqtt

from .history import shown
from .settings import SettingsError
from .wire import dumps

if TYPE_CHECKING:
    from ..store.statements import EventRow
    from .history import History, Subscriber

_log = logging.getLogger("fieldbeat.mqtt")
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
_PORT = 1883
_TLS_PORT = 8883


def topic(event: EventRow) -> str:
    """Where an event is published."""
    return f"fieldbeat/{event.fleet}/{event.device}/status/{event.field}"


class Publisher:
    """One connection to a broker, made again as often as needed."""

    def __init__(self, url: str, history: History) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise SettingsError(f"--mqtt must be mqtt://host[:port], not {url!r}")
        secure = parts.scheme == "mqtts"
        self._host = parts.hostname
        self._port = parts.port or (_TLS_PORT if secure else _PORT)
        self._user, self._password = parts.username, parts.password
        self._tls = aiomqtt.TLSParameters() if secure else None
        self._history = history
        self._task: asyncio.Task[None] | None = None
        self.published = 0

    def start(self) -> None:
        """Begin to follow the history."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        wait_s = BACKOFF_FIRST_S
        with self._history.follow(lambda _: True) as subscriber:
            unsent: list[EventRow] = []
            while True:
                before = self.published
                try:
                    await self._publish(subscriber, unsent)
                except aiomqtt.MqttError as error:
                    wait_s = BACKOFF_FIRST_S if self.published > before else wait_s
                    _log.warning("MQTT broker: %s; next attempt in %.1f s", error, wait_s)
                    await asyncio.sleep(wait_s)
                    wait_s = min(BACKOFF_MAX_S, 2 * wait_s)

    async def _publish(self, subscriber: Subscriber, unsent: list[EventRow]) -> None:
        client = aiomqtt.Client(
            self._host,
            self._port,
            username=self._user,
            password=self._password,
            tls_params=self._tls,
        )
        async with client:
            _log.info("publishing to %s:%d", self._host, self._port)
            while True:
                if not unsent:
                    unsent.append(await subscriber.queue.get())
                event = unsent[0]
                await client.publish(topic(event), dumps(shown(event)), qos=1, retain=True)
                self.published += 1
                unsent.pop()
