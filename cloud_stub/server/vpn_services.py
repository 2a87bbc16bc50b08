"""The VPN service instances of this server: started, called through, stopped."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ..model import IDENTITY, PLATFORM
from .accounts import new_key
from .settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..messages import CallDevice
    from .desk import Desk
    from .settings import ServerSettings
    from .vpn import VpnService

_log = logging.getLogger("fieldbeat.vpn")
_SECRET, _PORT = IDENTITY.index("api_secret"), PLATFORM.index("api_port")
DEFAULT_PORT = 48_484
INSTANCES_MAX = 16
CLOSE_MS = 2_000


class VpnServices:
    """All of them, by name."""

    def __init__(
        self, desk: Desk, settings: ServerSettings, *, named: Callable[[int], None]
    ) -> None:
        """Nothing runs before ``start``; ``named`` is told what the API calls each instance."""
        self._named = named
        self.running: dict[str, VpnService] = {}
        self._desk, self._settings = desk, settings
        self._places: dict[str, tuple[int, str, int]] = {}
        self._key = new_key()
        self._tls: Any = None
        self._api = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._names: dict[int, str] = {}
        """What the API calls an instance → its name."""

    async def start(self, api: str, tls: Any, *, former: list[int]) -> None:
        """Start every instance that is not a spare one.

        Args:
            api: where it is.
            tls: the server's own context, or ``None``.
            former: what the API called the instances of a process before this one.

        Raises:
            OSError: an address cannot be listened on.
            SettingsError: two have one name, or there are too many.
        """
        settings = self._settings
        places = (*settings.vpn, *settings.vpn_spares)
        if len({name for name, _, _ in places}) < len(places) or len(places) > INSTANCES_MAX:
            raise SettingsError(f"VPN instances: up to {INSTANCES_MAX}, each with its own name")
        desk = self._desk
        desk.cloud.restore_key(desk.seal(self._key), "vpn", None, expires_at_ms=None)
        self._api, self._tls = api, tls
        for number, (name, host, port) in enumerate(places):
            self._places[name] = (number, host, port)
            if number < len(settings.vpn):
                await self.begin(name)
        if former and places:
            task = asyncio.create_task(self._take_down(former))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def adopt(self, desk: Desk, named: Callable[[int], None]) -> None:
        """The API of these instances is another one, in the same process and at the same place."""
        self._desk, self._named = desk, named
        desk.cloud.restore_key(desk.seal(self._key), "vpn", None, expires_at_ms=None)

    async def begin(self, name: str) -> None:
        """Start one, the first time or again at the same port; one in trouble is well again.

        Raises:
            KeyError: there is none of that name.
            OSError: its address cannot be listened on.
        """
        number, host, port = self._places[name]
        if name in self.running:
            self.running[name].resume()
            return
        from agent.tunnel.kinds import server_end

        from .vpn import VpnService

        service = VpnService(
            name,
            server_end(self._settings.tunnel, clock_ms=self._now_ms),
            number=number,
            key=self._key,
            api=self._api,
            settings=self._settings.vpn_timings,
            clock_ms=self._now_ms,
            named=partial(self._numbered, name),
        )
        await service.start(host, port, tls=self._tls)
        self._places[name] = (number, host, service.port)
        self.running[name] = service

    def _numbered(self, name: str, number: int) -> None:
        self._names[number] = name
        self._named(number)

    def _now_ms(self) -> int:
        return self._desk.now_ms()

    async def end(self, name: str, *, killed: bool) -> None:
        """Stop one, in order or as a process that dies.

        Raises:
            KeyError: there is none of that name.
        """
        self._places[name]
        service = self.running.pop(name, None)
        if service is not None:
            await (service.kill() if killed else service.close())

    def trouble(self, name: str, state: str) -> None:
        """One that runs is stuck (``hang``), or refuses every key (``error``).

        Raises:
            KeyError: there is none of that name.
        """
        self._places[name]
        service = self.running.get(name)
        if service is None:
            return
        service.resume()
        if state == "hang":
            service.hang()
        else:
            service.refusing = True

    async def close(self) -> None:
        """Stop them all, in order and soon: so does the API they tell of it."""
        for task in list(self._tasks):
            task.cancel()
        running, self.running = self.running, {}
        await asyncio.gather(*(s.close(within_ms=CLOSE_MS) for s in running.values()))

    async def _take_down(self, former: list[int]) -> None:
        """Clients that do not come back after a crash of this server are gone.

        On the real cloud VPN servers do not die with the API; here nobody else would say so.
        """
        await asyncio.sleep(self._settings.vpn_timings.server_timeout_ms / 1_000)
        for instance in former:
            uuids = [d.uuid for d in self._desk.cloud.devices.values() if d.managed_by == instance]
            if uuids:
                _log.info("%d devices did not come back to their VPN server", len(uuids))
                await self._desk.request(
                    "POST",
                    "/services/vpn/client-disconnect",
                    query={},
                    headers={"authorization": f"Bearer {self._key}"},
                    body={"serviceId": instance, "uuids": uuids, "connected": False},
                )

    def place(self) -> tuple[str, int] | None:
        """Host and port to put into a config.json; ``None``: there is no VPN service."""
        return next(((host, port) for _, host, port in self._places.values()), None)

    async def call(self, call: CallDevice) -> tuple[int | None, Any]:
        """Status and body of a device's answer; ``None`` where there is none."""
        device = self._desk.cloud.devices.get(call.uuid)
        if device is None:
            return None, None
        # one that the device has left may not have noticed yet
        managing = self.running.get(self._names.get(device.managed_by or 0, ""))
        services = (managing, *self.running.values())
        service = next((s for s in services if s is not None and s.reaches(call.uuid)), None)
        if service is None:
            return None, None
        secret = str(device.identity[_SECRET] or "")
        port = device.platform[_PORT]
        return await service.call(
            call.uuid,
            call.method,
            call.path,
            call.body,
            secret,
            port if isinstance(port, int) else DEFAULT_PORT,
        )

    def reaches(self, uuid: str) -> bool:
        """A tunnel of ours leads to the device."""
        return any(service.reaches(uuid) for service in self.running.values())
