"""Putting devices together: one with its files, or many in memory."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import platform
import random
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import aiohttp
from yarl import URL

from ..config import AgentConfig, Persisted
from ..quirks import BEHAVIOURS
from . import sensors
from .api_server import SupervisorApi, call_through_tunnel
from .config_json import DeviceConfig
from .device import Device
from .disk import FileDisk, MemoryDisk
from .engine import MemoryEngine
from .http import Cloud, DryCloud
from .logs import Logs
from .process_engine import ProcessEngine
from .processes import service_environment
from .registry import Images
from .volatile import Forgetful, Volatile
from .vpn_unit import RemoteUnit
from .wall import WallClock, trust, wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..tunnel.noise import Remote
    from .engine import Engine

_log = logging.getLogger("fieldbeat.agent")
FLEET_CONNECTIONS = 256
"""Of a fleet in one process: shared and kept; a poll every few minutes needs none of its own."""
FLEET_SOURCES = ipaddress.IPv4Network("127.64.0.0/10")
STARTS_PER_SECOND = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an agent was started; times in seconds."""

    config: Path
    state: Path | None = None
    """Folder of what survives a power cut; beside config.json where not given."""
    run: Path | None = None
    """Folder of what does not."""
    behaviour: str = "documented"
    proxy: str | None = None
    listen: str = "127.0.0.1"
    """Address of the supervisor API."""
    port: int | None = None
    """Of the supervisor API; config.json's where not given."""
    devices: int = 1
    fleet: int | None = None
    """Application id; config.json's where not given."""
    seed: int = 0
    tunnel: str = "inprocess"
    """Of cloudlink: inprocess, userspace, kernel or off."""
    part: Literal["all", "supervisor", "cloudlink"] = "all"
    """``supervisor``: cloudlink is another process, and services outlive this one."""
    boot: float = 0.0
    """How long a board takes from a reboot to its supervisor."""
    plain: tuple[str, ...] = ()
    """Registries without TLS."""
    clock_ms: Callable[[], int] | None = None
    """Instead of the system's clock."""
    speed: float = 1.0
    """How much faster than real time that clock runs."""
    off: Path | None = None
    """A file that holds by how many seconds the board's wall clock is off."""
    show: Callable[[str], None] | None = None
    """Nothing is sent or stored: each request is shown as a line of JSON."""

    @property
    def wall(self) -> WallClock:
        """The board's wall clock."""
        return WallClock(self.clock_ms or wall_ms, self.off)

    @property
    def dates_ms(self) -> Callable[[], int] | None:
        """What certificates are held against; ``None``: the system's clock."""
        return None if self.clock_ms is None and self.off is None else self.wall.now_ms


class Program:
    """What runs in this process."""

    def __init__(self) -> None:
        self.devices: list[Device] = []
        self.api: SupervisorApi | None = None
        self._cloud: Cloud | DryCloud | None = None
        self._starting: asyncio.Task[None] | None = None
        self._held: aiohttp.ClientSession | None = None
        """Of cloudlink's WebSockets."""
        self._remotes: Callable[[bytes], Remote] | None = None
        """Servers' keys with what is derived of them, shared by a fleet."""

    @classmethod
    async def start(cls, options: Options) -> Program:
        """Start it all.

        Raises:
            ConfigError: config.json or the state cannot be used.
            OSError: the supervisor API's port cannot be had, or a folder cannot be made.
        """
        program, config = cls(), DeviceConfig(options.config)
        many = options.devices > 1
        program._cloud = (
            DryCloud(options.show)
            if options.show
            else Cloud(
                config.values.apiEndpoint,
                context=trust(config.values.apiEndpoint, config.values.root_ca, options.dates_ms),
                proxy=options.proxy,
                keep_alive=many,
                connections=FLEET_CONNECTIONS if many else 0,
            )
        )
        try:
            if many or options.show:
                program._many(options, config)
            else:
                await program._one(options, config)
        except BaseException:
            await program.close()
            raise
        return program

    async def _one(self, options: Options, config: DeviceConfig) -> None:
        assert self._cloud is not None
        state = options.state or options.config.resolve().parent / "fieldbeat"
        state.mkdir(parents=True, exist_ok=True)
        settings = replace(
            config.agent_config(**sensors.network(), **sensors.host_os()),
            quirks=BEHAVIOURS[options.behaviour],
        )
        volatile = Volatile(options.run or state / "run")
        disk = FileDisk(config, state)
        device = Device(
            settings,
            disk=disk,
            engine=self._engine(options, state, volatile, config, disk),
            cloud=self._cloud,
            volatile=volatile,
            draws=random.SystemRandom(),
            sense=sensors.Sensors(state).read,
            addresses=sensors.network,
            clock_ms=options.clock_ms or wall_ms,
        )
        device.boot_s = options.boot
        self.api = SupervisorApi(
            device,
            endpoint=config.values.apiEndpoint,
            host=options.listen,
            port=config.values.listenPort if options.port is None else options.port,
        )
        await self.api.start()
        if options.part == "supervisor":
            device.cloudlink = RemoteUnit(volatile.folder, device.tunnel_changed)
            device.leaves_services = True
        else:
            self._give_cloudlink(options, config, device)
        if config.values.apiEndpoint.startswith("https:") and isinstance(self._cloud, Cloud):
            # over TLS only, as the real one (SUPERVISOR.md §2)
            device.logs = Logs(self._cloud, who=device.who, clock_ms=options.wall.now_ms)
        self.devices.append(device)
        device.start()

    def _give_cloudlink(
        self, options: Options, config: DeviceConfig, device: Device, number: int | None = None
    ) -> None:
        """A VPN client, where the device is told of a VPN service.

        ``number``: of a device in a fleet, each of which speaks from a loopback address of its own.
        """
        url = config.values.vpn_url
        if url is None or options.tunnel == "off" or not isinstance(self._cloud, Cloud):
            return
        # cryptography weighs some megabytes: not for an agent without a tunnel
        from ..tunnel.kinds import device_end
        from ..tunnel.noise import Remote
        from .cloudlink import Cloudlink

        remotes = self._remotes = self._remotes or lru_cache(maxsize=16)(Remote)
        source = ""
        if number is not None and is_loopback(config.values.vpnEndpoint):
            source = str(FLEET_SOURCES[number % FLEET_SOURCES.num_addresses])
        device.cloudlink = Cloudlink(
            url,
            session=self._websockets(options, config),
            who=device.who,
            end=lambda: device_end(
                options.tunnel,
                source=source,
                clock_ms=options.clock_ms or wall_ms,
                remote_of=remotes,
            ),
            call=partial(call_through_tunnel, device),
            changed=device.tunnel_changed,
            clock_ms=options.clock_ms or wall_ms,
            name=device.name,
            speed=options.speed,
        )

    def _engine(
        self,
        options: Options,
        state: Path,
        volatile: Volatile,
        config: DeviceConfig,
        disk: FileDisk,
    ) -> Engine:
        """Real downloads, and processes."""
        assert isinstance(self._cloud, Cloud)
        values = config.values
        plain = (*_plain_hosts(values.apiEndpoint), *options.plain)

        def credentials() -> tuple[str, str] | None:
            known = disk.load()
            if known.uuid is None or known.device_api_key is None:
                return None
            return f"d_{known.uuid}", known.device_api_key

        images = Images(
            state / "images",
            self._cloud.session,
            plain=plain,
            credentials=credentials,
            arch=platform.machine(),
            deltas=values.deltaEndpoint,
        )
        environment = service_environment(
            BALENA_API_URL=values.apiEndpoint, BALENA_DEVICE_TYPE=values.deviceType
        )
        logs = None if options.run is None else options.run / "logs"
        return ProcessEngine(state, images, volatile.locks, environment=environment, logs=logs)

    def _many(self, options: Options, config: DeviceConfig) -> None:
        assert self._cloud is not None
        settings = replace(config.agent_config(), quirks=BEHAVIOURS[options.behaviour])
        for number in range(options.devices):
            device = _in_memory(options, config, settings, number, self._cloud)
            self._give_cloudlink(options, config, device, number)
            self.devices.append(device)
        self._starting = asyncio.create_task(self._start_all())

    def _websockets(self, options: Options, config: DeviceConfig) -> aiohttp.ClientSession:
        """Connections that stay open must not use up the bound on those of requests."""
        if self._held is None:
            from .cloudlink import NO_OTHER_TIMEOUT

            values, many = config.values, options.devices > 1
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=trust(values.apiEndpoint, values.root_ca, options.dates_ms),
                use_dns_cache=many,
                ttl_dns_cache=10,
            )
            self._held = aiohttp.ClientSession(connector=connector, timeout=NO_OTHER_TIMEOUT)
        return self._held

    async def _start_all(self) -> None:
        """One after the other: a whole fleet's first requests at once would meet time-outs."""
        for device in self.devices:
            device.start()
            await asyncio.sleep(1 / STARTS_PER_SECOND)

    async def close(self) -> None:
        """Stop it all."""
        if self._starting is not None:
            self._starting.cancel()
        if self.api is not None:
            await self.api.close()
        await asyncio.gather(*(device.close() for device in self.devices))
        if self._held is not None:
            await self._held.close()
        if self._cloud is not None:
            await self._cloud.close()

    async def talked(self) -> None:
        """Return when every device has polled, and reported, with success."""
        await asyncio.gather(*(device.talked.wait() for device in self.devices))

    async def shut_down(self) -> None:
        """Return when a person shut down every board."""
        await asyncio.gather(*(device.done.wait() for device in self.devices))


def is_loopback(host: str | None) -> bool:
    """Whether a host name is this machine's by itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _plain_hosts(endpoint: str) -> tuple[str, ...]:
    """Registries spoken to without TLS: where the API itself has none."""
    url = URL(endpoint)
    return (f"{url.host}:{url.port}", str(url.host)) if url.scheme == "http" else ()


def _in_memory(
    options: Options,
    config: DeviceConfig,
    settings: AgentConfig,
    number: int,
    cloud: Cloud | DryCloud,
) -> Device:
    """A device of a fleet: its uuid and keys come from the seed and its number."""
    draws = random.Random(f"{options.seed}/{number}")

    def secret(what: str) -> str:
        text = f"{options.seed}/{number}/{what}/{config.values.apiKey}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    state = (
        Persisted(**config.identity())
        if options.show
        else Persisted(
            uuid=secret("uuid"),
            device_api_key=secret("key"),
            provisioning_key=config.values.apiKey,
            application_id=options.fleet or config.values.applicationId,
        )
    )
    return Device(
        settings,
        disk=MemoryDisk(state),
        engine=MemoryEngine(),
        cloud=cloud,
        volatile=Forgetful(),
        draws=draws,
        sense=sensors.Sensors(Path("/")).read if options.show else dict,
        name=(state.uuid or "")[:7],
        clock_ms=options.clock_ms or wall_ms,
    )
