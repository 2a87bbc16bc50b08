"""Speed of the stub as a server: one process serves, another asks, over loopback.

Beside it, in the same run, a bare aiohttp handler that answers the same request with the same
headers and looks at nothing: the floor that a server on aiohttp can reach here.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import secrets
import signal
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from agent.daemon.processes import python

from .streams import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 32
SECONDS = 5.0
"""Of each kind of load."""
_START_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one kind of request gave."""

    name: str
    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int


# --- the side that asks -------------------------------------------------------------------------


class _Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered."""

    def __init__(self, requests: list[bytes], until_s: float, answers: list[float]) -> None:
        self._transport: Any = None
        self._requests = requests
        self._until_s = until_s
        self._answers = answers
        self._at = secrets.randbelow(len(requests))
        self._sent_s = 0.0
        self._buffer = b""
        self.refused = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the first time."""
        self._transport = transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed, or we did."""
        if not self.done.done():
            self.done.set_result(exc)

    def _ask(self) -> None:
        self._at = (self._at + 1) % len(self._requests)
        self._sent_s = time.perf_counter()
        self._transport.write(self._requests[self._at])

    def data_received(self, data: bytes) -> None:
        """Count an answer when it is whole."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._buffer = b""
        if head[9:10] not in (b"2", b"3"):
            self.refused += 1
        now_s = time.perf_counter()
        self._answers.append(now_s - self._sent_s)
        if now_s < self._until_s:
            self._ask()
        else:
            self._transport.close()


async def _ask(port: int, requests: list[bytes], seconds: float) -> tuple[list[float], int]:
    loop = asyncio.get_running_loop()
    answers: list[float] = []
    until_s = time.perf_counter() + seconds
    clients = []
    for number in range(CONNECTIONS):
        share = requests[number::CONNECTIONS] or requests
        factory = partial(_Client, share, until_s, answers)
        _, client = await loop.create_connection(factory, "127.0.0.1", port)
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    return answers, sum(client.refused for client in clients)


def _load(name: str, port: int, requests: list[bytes], seconds: float) -> Load:
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        answers, refused = runner.run(_ask(port, requests, seconds))
    answers.sort()
    return Load(
        name=name,
        per_second=len(answers) / seconds,
        p50_ms=answers[len(answers) // 2] * 1e3,
        p99_ms=answers[int(len(answers) * 0.99)] * 1e3,
        refused=refused,
    )


# --- the side that serves -----------------------------------------------------------------------


@contextmanager
def stub(folder: Path, **variables: str) -> Iterator[tuple[int, int]]:
    """A stub in a process of its own, with a database on disk: its port and its pid.

    Args:
        folder: of the database and the log.
        variables: of the environment, besides.
    """
    import subprocess

    log = folder / "cloud.log"
    environment = {
        **os.environ,
        "FIELDBEAT_ADMIN_EMAIL": "bench@localhost",
        "FIELDBEAT_ADMIN_PASSWORD": "bench-password",
        "FIELDBEAT_VPN_SERVICE_KEY": "bench-vpn",
        **variables,
    }
    command = [*python(), "-m", "scenarios", "cloud", "--db", str(folder / "bench.sqlite")]
    command += ["--listen", "127.0.0.1:0", "--vpn", "off"]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  # this program itself
            command, stdout=out, stderr=out, env=environment
        )
    try:
        yield _port(log, process.poll), process.pid
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=_START_S)


def _port(log: Path, ended: Any) -> int:
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s and ended() is None:
        for line in log.read_text(errors="replace").splitlines():
            if "listens on" in line:
                return int(line.rpartition(":")[2])
        time.sleep(0.02)
    raise OSError(f"the stub did not start: {log.read_text(errors='replace')[-500:]}")


def _floor(port: Any) -> None:
    """The bare handler, in a process of its own."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:  # noqa: ARG001
        return web.Response(status=304, headers={"ETag": 'W/"0123456789abcdef01234567"'})

    async def serve() -> None:
        application = web.Application()
        application.router.add_get("/device/{version}/{uuid}/state", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.value = runner.addresses[0][1]
        await asyncio.Event().wait()

    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    except ImportError:
        asyncio.run(serve())


@contextmanager
def bare() -> Iterator[int]:
    """The floor's port."""
    context = multiprocessing.get_context("spawn")
    port = context.Value("i", 0)
    process = context.Process(target=_floor, args=(port,), daemon=True)
    process.start()
    until_s = time.monotonic() + _START_S
    while not port.value and time.monotonic() < until_s:
        time.sleep(0.02)
    try:
        yield port.value
    finally:
        process.kill()
        process.join()


# --- a fleet ------------------------------------------------------------------------------------


class Fleet:
    """Devices registered at a stub, with their keys."""

    def __init__(self, port: int) -> None:
        self.connect(port)
        login = {"username": "bench@localhost", "password": "bench-password"}
        self.token = self.ask("POST", "/login_", login).decode()
        self.keys: dict[str, str] = {}

    def connect(self, port: int) -> None:
        """From now on ask the stub at this port."""
        self.port = port
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def rows(self, path: str) -> list[dict[str, Any]]:
        """What an OData query gives; its text is quoted here."""
        found: list[dict[str, Any]] = json.loads(self.ask("GET", quote(path, safe="/?&=$(),'")))[
            "d"
        ]
        return found

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> bytes:
        """One request; its answer must be good."""
        headers = {"Content-Type": "application/json"}
        token = key or getattr(self, "token", None)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, headers)
        with self._connection.getresponse() as answer:
            text = answer.read()
        if answer.status >= 400:
            raise OSError(f"{method} {path}: {answer.status} {text[:200]!r}")
        self.etag = answer.headers.get("ETag", "")
        return text

    def made(self, devices: int) -> Fleet:
        """Make a fleet with a release, and register devices."""

        def post(resource: str, body: dict[str, Any]) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(self.ask("POST", f"/v7/{resource}", body))
            return found

        kinds = self.rows("/v7/device_type?$select=id&$filter=slug eq 'raspberrypi4-64'")
        kind = kinds[0]["id"]
        fleet = post(
            "application", {"app_name": "bench", "organization": 1, "is_for__device_type": kind}
        )
        self.app = fleet["uuid"]
        service = post("service", {"application": fleet["id"], "service_name": "main"})
        self.commit = "b" * 32
        release = post(
            "release",
            {"belongs_to__application": fleet["id"], "commit": self.commit, "status": "success"},
        )
        image = post("image", {"is_a_build_of__service": service["id"], "status": "success"})
        self.image = image["is_stored_at__image_location"]
        part = {"image": image["id"], "is_part_of__release": release["id"]}
        post("image__is_part_of__release", part)
        key = json.loads(self.ask("POST", f"/api-key/application/{fleet['id']}/provisioning", {}))
        self.provisioning_key = key
        for number in range(devices):
            uuid = digest("bench", number)
            body = {"application": fleet["id"], "uuid": uuid, "device_type": "raspberrypi4-64"}
            answer = json.loads(self.ask("POST", "/device/register", body, key))
            self.keys[uuid] = answer["api_key"]
        return self

    def heartbeats(self) -> list[bytes]:
        """A conditional poll of each device, as a steady supervisor sends it."""
        requests = []
        for uuid, key in self.keys.items():
            self.ask("GET", f"/device/v3/{uuid}/state", key=key)
            requests.append(
                f"GET /device/v3/{uuid}/state HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Authorization: Bearer {key}\r\nIf-None-Match: {self.etag}\r\n"
                "User-Agent: Supervisor/17.0.1 (Linux; balenaOS 5.0.0; prod)\r\n"
                "Accept-Encoding: gzip\r\n\r\n".encode()
            )
        return requests

    def reports(self, rounds: int) -> list[bytes]:
        """State reports that all change something: round after round through the fleet."""
        requests = []
        for number in range(rounds):
            for uuid, key in self.keys.items():
                service = {"image": self.image, "status": "Running"}
                release = {"services": {"main": service}, "update_status": "done"}
                apps = {self.app: {"releases": {self.commit: release}}}
                report = {"status": "Idle", "cpu_usage": number, "apps": apps}
                report["ip_address"] = f"10.0.{number % 250}.1"
                body = json.dumps({uuid: report}).encode()
                requests.append(
                    f"PATCH /device/v3/state HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
        return requests


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1_024
    return 0.0


def bench_cloud(devices: int = 1_000, seconds: float = SECONDS, many: int = 10_000) -> list[str]:
    """Lines of the report for ``fieldbeat bench cloud``."""
    with tempfile.TemporaryDirectory(prefix="fieldbeat-bench-") as name:
        folder = Path(name)
        with stub(folder) as (port, pid):
            fleet = Fleet(port).made(devices)
            beats = fleet.heartbeats()
            with bare() as floor_port:
                floor = _load("bare aiohttp handler", floor_port, beats, seconds)
            rows = [floor, _load("heartbeats", port, beats, seconds)]
            rows.append(_load("state reports", port, fleet.reports(20), seconds))
            steady_mb = rss_mb(pid)
            fleet.close()
        lines = [
            f"{devices} devices with their own keys, {CONNECTIONS} keep-alive connections,",
            "SQLite on disk, one server process, load from another",
        ]
        lines += [
            f"{row.name:24} {row.per_second:>10,.0f}/s  p50 {row.p50_ms:6.2f} ms"
            f"  p99 {row.p99_ms:6.2f} ms  {row.per_second / floor.per_second:5.2f} of the floor"
            f"{f'  {row.refused} refused' if row.refused else ''}"
            for row in rows
        ]
        lines.append(f"resident memory with {devices} devices, after the load: {steady_mb:.0f} MB")
        more = folder / "many"
        more.mkdir()
        with stub(more) as (port, pid):
            crowd = Fleet(port).made(many)
            crowd.heartbeats()
            crowd.close()
            lines.append(f"resident memory with {many} devices: {rss_mb(pid):.0f} MB")
        with stub(more) as (port, pid):
            lines.append(f"the same after a restart: {rss_mb(pid):.0f} MB")
    return lines
