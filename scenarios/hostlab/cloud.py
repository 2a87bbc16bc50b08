"""The cloud of a host lab: a real ``fieldbeat cloud``, driven through its public API."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import shutil
import ssl
from errno import ENOENT
from socket import AF_INET
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from agent.daemon.processes import python
from cloud_stub.server.faults import SPARED
from cloud_stub.server.settings import cloud_settings, vpn_timings
from cloud_stub.server.tls import development_authority

from ..errors import LabError
from ..verbs import VPN_SERVERS
from .netns import run, socket_in
from .places import HOSTS, NAMES, PLACES
from .vpn_servers import ports_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

    from ..clock import Clock
    from ..model import Scenario
    from ..verbs import Fault, Incident

EMAIL = "lab@fieldbeat.local"
OURS = {SPARED: "1"}
READY_S = 60.0
STOP_S, GONE_S = 20.0, 5.0
ROOM = 2_000_000
"""Bytes that a store needs to begin with."""
REQUEST_S = 60.0
PAGE = 1_000
CERTIFICATE_DAYS = 60
"""Before and after the run, as the model has it (``CERTIFICATE_SPAN_MS``)."""


class CloudProcess:
    """The program, its namespace and our way to it."""

    def __init__(
        self, namespace: str, folder: Path, clock: Clock, tunnel: str, *, tls: bool
    ) -> None:
        """Nothing runs before ``start``.

        Args:
            namespace: of the cloud.
            folder: for its database and its log.
            clock: of the run.
            tunnel: what the ends of cloudlink are made of.
            tls: it shows a certificate, whose dates a device's clock is held against.
        """
        self.tunnel = tunnel
        self.namespace, self.folder, self.clock = namespace, folder, clock
        self.log, self.traffic = folder / "cloud.log", folder / "traffic.jsonl"
        self.poll_interval_ms = 0
        self._password = secrets.token_urlsafe(12)
        self._token = ""
        self._process: asyncio.subprocess.Process | None = None
        self.vpn_key = secrets.token_hex(16)
        """Of VPN services."""
        self._certificate: tuple[str, str] | None = None
        self.root_ca: str | None = None
        """What a device's config.json says of whom to trust; ``None``: there is no TLS."""
        trusted: ssl.SSLContext | bool = True
        if tls:
            hosts = [*NAMES.values(), *(place.host for place in PLACES.values())]
            days = CERTIFICATE_DAYS
            self._certificate = development_authority(
                folder / "tls", hosts, days_before=days, days=days
            )
            authority = (folder / "tls" / "ca.pem").read_bytes()
            self.root_ca = base64.b64encode(authority).decode()
            trusted = ssl.create_default_context(cadata=authority.decode())
        self.scheme = "https" if tls else "http"
        place = PLACES["api"]
        self.url = f"{self.scheme}://{place.host}:{place.port}"
        self.faults: dict[str, Any] = {}
        """As the cloud has been told."""
        self._again: asyncio.Task[None] | None = None
        self._back_s = 0.0
        self.session = aiohttp.ClientSession(
            # a cloud whose clock is fast closes idle connections early: none is used twice
            connector=aiohttp.TCPConnector(
                socket_factory=self._socket, resolver=_Known(), force_close=True, ssl=trusted
            ),
            timeout=aiohttp.ClientTimeout(total=REQUEST_S),
        )

    def _socket(self, info: Any) -> socket.socket:
        family, kind, protocol, _, _ = info
        return socket_in(self.namespace, family, kind, protocol)

    # --- life ------------------------------------------------------------------------------------

    async def start(self, scenario: Scenario) -> None:
        """Start it and wait until it serves.

        Raises:
            LabError: it does not come up, or cannot have the scenario's settings.
        """
        api, vpn, registry = PLACES["api"], PLACES["vpn"], PLACES["registry"]
        servers = {name: f"{name}={vpn.host}:{port}" for name, port in ports_of(scenario).items()}
        begin = [("--vpn", servers.pop(name)) for name in VPN_SERVERS]
        begin += [("--vpn-spare", place) for place in servers.values()]
        environment = {**os.environ, **self.clock.environment(), **_environment(scenario)}
        environment |= {"FIELDBEAT_ADMIN_EMAIL": EMAIL, "FIELDBEAT_ADMIN_PASSWORD": self._password}
        environment["FIELDBEAT_VPN_SERVICE_KEY"] = self.vpn_key
        # the registry has an address of its own, so that a site firewall can tell it apart
        dnat = f"ip daddr {registry.host} tcp dport {registry.port} dnat to {api.host}:{api.port}"
        hooks = {"prerouting": -100, "output": -100}
        lines = ["add table ip places"]
        for hook, priority in hooks.items():
            kind = f"{{ type nat hook {hook} priority {priority}; }}"
            lines += [f"add chain ip places {hook} {kind}", f"add rule ip places {hook} {dnat}"]
        nft = ("ip", "netns", "exec", self.namespace, "nft", "-f", "-")
        run(*nft, text="\n".join(lines) + "\n")
        shown = [] if self._certificate is None else ["--tls", ",".join(self._certificate)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", self.namespace, *python(), "-m", "scenarios"),
                *("cloud", "--listen", f"{api.host}:{api.port}"),
                *(word for words in begin for word in words),
                *("--registry", f"{NAMES['registry']}:{registry.port}"),
                *("--db", str(self.folder / "cloud.sqlite"), "--traffic", str(self.traffic)),
                *("--profile", scenario.cloud.profile),
                *("--speed", str(self.clock.speed), "--tunnel", self.tunnel, *shown),
                stdout=log,
                stderr=log,
                env=environment,
            )
        await self._serving()
        await self._log_in()

    async def _log_in(self) -> None:
        credentials = {"username": EMAIL, "password": self._password}
        async with self.session.post(
            f"{self.url}/login_", json=credentials, headers=OURS
        ) as answer:
            self._token = await answer.text()

    async def _serving(self) -> None:
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    if self._process is not None and self._process.returncode is not None:
                        raise LabError(f"the cloud ended: {self._last_words()}")
                    with contextlib.suppress(aiohttp.ClientError, OSError):
                        async with self.session.get(f"{self.url}/healthz") as answer:
                            if answer.status == 200:
                                return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise LabError(f"the cloud does not serve within {READY_S:.0f} s") from None

    async def why_ended(self) -> str | None:
        """What it said last, if it is no more: its connections go a moment before it does."""
        if self._process is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_S):
                await self._process.wait()
        return None if self._process.returncode is None else self._last_words()

    def _last_words(self) -> str:
        assert self._process is not None
        said = self.log.read_text(errors="replace").strip()
        if said:
            return " / ".join(said.splitlines()[-2:])[-300:]
        room = "" if shutil.disk_usage(self.folder).free > ROOM else f", {self.folder} is full"
        return f"status {self._process.returncode}{room}"

    async def close(self) -> None:
        """Stop it in order."""
        if self._again is not None:
            self._again.cancel()
        await self.session.close()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()

    async def restart(self, down_for_ms: int) -> None:
        """The API goes away and comes back from its store; VPN servers and tunnels stay.

        It is away for so long, in its own seconds; what the API was told to fail at it is told
        again.
        """
        down_s = down_for_ms / 1_000
        await self.must("POST", "/fieldbeat/v1/restart", {"down_for": down_s})
        self._back_s = asyncio.get_running_loop().time() + down_s / self.clock.speed
        if self.faults:
            self._again = asyncio.create_task(self._told_again(down_s / self.clock.speed))

    def away_s(self) -> float:
        """Real seconds until its API is back from a restart, at the earliest."""
        return max(0.0, self._back_s - asyncio.get_running_loop().time())

    async def _told_again(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        await self._serving()
        await self.must("PUT", "/fieldbeat/v1/faults", self.faults)

    # --- requests --------------------------------------------------------------------------------

    async def fault(self, part: str, action: Fault) -> None:
        """``api`` or ``registry`` is as a verb says from now on."""
        fault: dict[str, Any] = {
            "state": action.state,
            "status": action.status,
            "latency": action.latency_ms / 1_000,
            "share": action.share,
        }
        if action.retry_after_ms is not None:
            fault["retry_after"] = -(-action.retry_after_ms // 1_000)
        well = action.state == "up" and not action.latency_ms
        self.faults[part] = [] if well else [fault]
        await self.must("PUT", "/fieldbeat/v1/faults", self.faults)

    async def delta(self, state: str) -> None:
        """The delta server is as a verb says."""
        self.faults["delta"] = state
        await self.must("PUT", "/fieldbeat/v1/faults", self.faults)

    async def incident(self, action: Incident) -> None:
        """It has, or has no more, what a real cloud once had wrong."""
        had = set(self.faults.get("incidents", ()))
        had = had | {action.name} if action.state == "on" else had - {action.name}
        self.faults["incidents"] = sorted(had)
        await self.must("PUT", "/fieldbeat/v1/faults", self.faults)

    async def registry_rate(self, bytes_per_second: int) -> None:
        """Let images flow to each device at a rate."""
        self.faults["registry_rate"] = bytes_per_second
        await self.must("PUT", "/fieldbeat/v1/faults", self.faults)

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> tuple[int, Any]:
        """A request of the lab's person, whose session may have run out, or with another key.

        As in the virtual lab it meets no fault of the API; one that restarts is waited for.

        Returns:
            Status and body.
        """
        try:
            status, found = await self._ask(method, path, body, key or self._token, OURS)
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(self.away_s())
            await self._serving()
            status, found = await self._ask(method, path, body, key or self._token, OURS)
        if status == 401 and key is None:
            await self._log_in()
            return await self._ask(method, path, body, self._token, OURS)
        return status, found

    async def act(self, path: str, body: Any) -> tuple[int, Any] | None:
        """A person's action of the dashboard, which the API's faults are met by.

        Returns:
            Status and body; ``None``: no answer, the API is away.
        """
        try:
            status, found = await self._ask("POST", path, body, self._token)
            if status == 401:
                await self._log_in()
                status, found = await self._ask("POST", path, body, self._token)
        except (aiohttp.ClientError, OSError):  # a time-out is an OSError, too
            return None
        return status, found

    async def _ask(
        self, method: str, path: str, body: Any, key: str, more: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}", **(more or {})}
        async with self.session.request(
            method, self.url + path, json=body, headers=headers
        ) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.text()

    @property
    def credentials(self) -> tuple[str, str]:
        """Of the lab's person, for the registry."""
        return EMAIL, self._token

    async def must(self, method: str, path: str, body: Any = None) -> Any:
        """A request that the run depends on.

        Raises:
            LabError: it was refused.
        """
        status, found = await self.ask(method, path, body)
        if status >= 400:
            raise LabError(f"the cloud refused {method} {path}: {status} {found}")
        return found

    async def post(self, resource: str, **body: Any) -> dict[str, Any]:
        """A new row of the resource API."""
        made: dict[str, Any] = await self.must("POST", f"/v7/{resource}", body)
        return made

    async def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of the resource API."""
        found: list[dict[str, Any]] = (await self.must("GET", f"/v7/{query}"))["d"]
        return found

    async def events(self) -> list[dict[str, Any]]:
        """Every change of a status field since the cloud began."""
        events: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = await self.must("GET", f"/fieldbeat/v1/events?after={after}&limit={PAGE}")
            events += page["events"]
            after = page["next"]
        return events


class _Known(AbstractResolver):
    """The lab itself asks nobody."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        """The address of one of the cloud's names."""
        if host not in HOSTS:
            raise OSError(ENOENT, f"{host} is not in this lab")
        return [
            {
                "hostname": host,
                "host": HOSTS[host],
                "port": port,
                "family": family,
                "proto": 0,
                "flags": 0,
            }
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _environment(scenario: Scenario) -> Mapping[str, str]:
    """The scenario's settings under the names of the real programs.

    Raises:
        LabError: they cannot be said so.
    """
    cloud, vpn = scenario.cloud, scenario.vpn
    found = {
        "DEFAULT_SUPERVISOR_POLL_INTERVAL": str(cloud.default_poll_interval_ms),
        "API_HEARTBEAT_STATE_TIMEOUT_SECONDS": str(cloud.heartbeat_timeout_ms // 1_000),
        "METRICS_MAX_REPORT_INTERVAL_SECONDS": str(cloud.metrics_gap_ms // 1_000),
        "DOWNLOAD_PROGRESS_MAX_REPORT_INTERVAL_SECONDS": str(cloud.progress_gap_ms // 1_000),
        "VPN_KEEPALIVE_FREQUENCY": str(vpn.ping_interval_ms // 1_000),
        "VPN_KEEPALIVE_TIMEOUT": str(vpn.client_timeout_ms // 1_000),
    }
    if cloud_settings(found, cloud.profile) != cloud or vpn_timings(found) != vpn:
        raise LabError("the host lab's cloud is set by the real API's variables alone: see cloud:")
    return found
