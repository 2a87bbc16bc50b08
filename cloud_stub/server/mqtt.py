"""Publishes changes of status fields to an MQTT broker, retained, at least once.

Topics: ``fieldbeat/<fleet id>/<uuid>/status/<field>``; a payload is one event as JSON.  A broker
that is away is tried again with backoff; what happened meanwhile is published when it is back, and
after that what every device's fields are, as the broker may have kept something older or nothing.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiomqtt

from ..store.statements import EventRow
from .history import QUEUE_MAX, shown
from .settings import SettingsError
from .wire import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .desk import Desk
    from .history import History, Subscriber

_log = logging.getLogger("fieldbeat.mqtt")
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
STANDING = "snapshot"
"""The cause of an event that is none: a field's value, told after connecting."""
CANCEL_AGAIN_S = 2.0
"""Longer than a broker takes to hear a goodbye."""
AT_ONCE = 8
"""Values told without waiting for each one's acknowledgement."""
_PORT = 1883
_TLS_PORT = 8883


def topic(event: EventRow) -> str:
    """Where an event is published."""
    return f"fieldbeat/{event.fleet}/{event.device}/status/{event.field}"


class Publisher:
    """One connection to a broker, made again as often as needed."""

    def __init__(self, url: str, history: History, desk: Desk) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise SettingsError(f"--mqtt must be mqtt://host[:port], not {url!r}")
        secure = parts.scheme == "mqtts"
        self._host = parts.hostname
        self._port = parts.port or (_TLS_PORT if secure else _PORT)
        self._user, self._password = parts.username, parts.password
        self._tls = aiomqtt.TLSParameters() if secure else None
        self._history, self._desk = history, desk
        self._task: asyncio.Task[None] | None = None
        self.published = 0

    def start(self) -> None:
        """Begin to follow the history."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop.

        Before Python 3.12 ``asyncio.wait_for``, in aiomqtt, loses a cancellation that comes in the
        same turn as what it waits for: it is asked for again until it took.
        """
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=CANCEL_AGAIN_S)

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
            if subscriber.lost:
                # too much happened while the broker was away: what stands is told below
                subscriber.queue, subscriber.lost = asyncio.Queue(QUEUE_MAX), False
            standing = self._standing()
            while True:
                while unsent or not subscriber.queue.empty():
                    if not unsent:
                        unsent.append(subscriber.queue.get_nowait())
                    await self._send(client, unsent[0])
                    self.published += 1
                    unsent.pop()
                told = list(islice(standing, AT_ONCE))
                await asyncio.gather(*(self._send(client, event) for event in told))
                if not told:
                    unsent.append(await self._next(client, subscriber))

    @staticmethod
    async def _next(client: aiomqtt.Client, subscriber: Subscriber) -> EventRow:
        """The next event; a broker that goes away meanwhile is noticed at once.

        Raises:
            aiomqtt.MqttError: it is gone.
        """

        async def listen() -> None:
            async for _ in client.messages:
                pass

        gone = asyncio.create_task(listen())
        event = asyncio.create_task(subscriber.queue.get())
        try:
            await asyncio.wait((gone, event), return_when=asyncio.FIRST_COMPLETED)
            if event.done():
                return event.result()
            await gone
            raise aiomqtt.MqttError("the broker closed the connection")
        finally:
            for task in (gone, event):
                task.cancel()
            await asyncio.gather(gone, event, return_exceptions=True)

    @staticmethod
    async def _send(client: aiomqtt.Client, event: EventRow) -> None:
        await client.publish(topic(event), dumps(shown(event)), qos=1, retain=True)

    def _standing(self) -> Iterator[EventRow]:
        """Every field of every device, as it is when its turn comes."""
        cloud = self._desk.cloud
        for uuid in sorted(cloud.devices):
            device = cloud.devices.get(uuid)
            if device is None:
                continue
            now_ms = self._desk.now_ms()
            for field, value in cloud.view(uuid, now_ms=now_ms).items():
                yield EventRow(0, now_ms, uuid, device.fleet.id, field, value, value, STANDING)
