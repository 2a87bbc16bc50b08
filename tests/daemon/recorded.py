"""The situations of ``tests/data/supervisor-wire``, played again by the whole program.

The agent as ``fieldbeat agent`` starts it (its HTTP client, files, locks, downloads and processes)
talks over loopback to a server that records, in the same process, on a clock that stands still
while anything real is under way (``still_time``).  Targets, locks and calls come at the recorded
moments; the board shows the recorded readings.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from agent.daemon import sensors
from agent.daemon.program import Options, Program
from agent.report import METRICS
from tests.daemon.still_time import StillLoop, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

DATA = Path(__file__).parents[1] / "data" / "supervisor-wire"
UUID = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
APP = "a" * 32
FLEET = {"id": 1234567, "name": "simfleet", "class": "fleet", "is_host": False}
LAYERS = 8
DOWNLOAD_S = 21.4
"""Of an image, between the engine's recorded events (d5)."""
DOWNLOADS_S = {"d3": {"c0ffee01": 21.1}, "d5": {"c0ffee01": 0.0}}
"""Those that were quicker: its container ran just before a report; its layers were there."""
STUBBORN = "trap '' TERM; touch ready-$$; exec sleep 10000"
"""A service that has to be killed after ten seconds, as the recorded one."""
REPORT_GAP_S = 10.0
READINGS = frozenset((*METRICS, "is_undervolted"))


@dataclass(frozen=True, slots=True)
class Request:
    """One request and the status of its answer; ``at_s`` after the first."""

    at_s: float
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    status: int

    def device(self) -> dict[str, Any]:
        """What a report says; of another request nothing."""
        found: dict[str, Any] = self.body.get(UUID, {}) if isinstance(self.body, dict) else {}
        return found


class Recording:
    """A recorded run."""

    def __init__(self, name: str) -> None:
        self.name = name
        whole = json.loads((DATA / f"{name}.json").read_text())
        # later d1 is the trap of a commit of decimal digits
        self._raw: list[dict[str, Any]] = whole["requests"][: 6 if name == "d1" else None]
        self._marks: list[str] = whole["marks"]
        self._zero_s = self._raw[0]["ms"] / 1_000
        self.requests = [
            Request(
                raw["ms"] / 1_000 - self._zero_s,
                raw["method"],
                raw["url"],
                raw["headers"],
                raw["body"],
                raw["response"]["status"],
            )
            for raw in self._raw
        ]
        self.end_s = self.requests[-1].at_s

    def moment(self, words: str) -> float:
        """When a mark was made."""
        mark = next(mark for mark in self._marks if words in mark)
        first = datetime.fromisoformat(self._raw[0]["t"])
        return (datetime.fromisoformat(mark.partition(" ")[0]) - first).total_seconds()

    def steps(self) -> list[tuple[float, str, Any]]:
        """Targets, locks and calls of the supervisor API, in order of time."""
        steps: list[tuple[float, str, Any]] = []
        for request, raw in zip(self.requests, self._raw, strict=True):
            body = raw["response"].get("body")
            if request.method == "GET" and isinstance(body, dict):
                releases = body[UUID]["apps"][APP]["releases"]
                steps += [(request.at_s, "target", release) for release in releases.items()]
        if self.name == "d3":
            steps += [
                (self.moment("user takes lock"), "lock", None),
                (self.moment("user releases lock"), "unlock", None),
                (self.moment("lock again"), "lock", None),
                (self.moment("force=true"), "update", {"force": True, "cancel": True}),
            ]
        if self.name == "d5":
            steps += [
                (self.moment("with lock held"), "lock", None),
                (self.moment("lock removed"), "unlock", None),
                (self.moment("lock removed") + 0.01, "update", {"cancel": True}),
            ]
        return sorted(steps, key=lambda step: step[0])

    def readings(self, now_s: float) -> dict[str, Any]:
        """What the board shows: what the next recorded report will say."""
        found: dict[str, Any] = {}
        for request in self.requests:
            if found and request.at_s > now_s + REPORT_GAP_S:
                break
            said = request.device()
            found |= {name: said[name] for name in READINGS & said.keys()}
        return found


@dataclass
class Server:
    """An API and a registry that take their time, and keep what they were asked."""

    download_s: dict[str, float] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    waiting: int = 0
    """Requests without an answer yet."""
    parked: int = 0
    """Those that wait for the clock, not for us."""
    host: str = ""
    _part: dict[str, Any] = field(default_factory=dict)
    _etag: str = ""
    _blobs: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    _began_s: float | None = None

    def track(self, releases: dict[str, Any]) -> None:
        """A new target."""
        apps = {APP: {**FLEET, "releases": releases}}
        self._part = {UUID: {"name": "sim-device", "config": {}, "apps": apps}}
        self._etag = f'"{hashlib.sha256(json.dumps(releases).encode()).hexdigest()[:12]}"'

    def image_of(self, commit: str) -> str:
        """The name of a release's image here."""
        return f"{self.host}/v2/{commit[:8]}"

    async def answer(self, request: web.Request) -> web.Response:
        """As the recorded server did."""
        if request.path.startswith("/v2/"):
            return await self._registry(request.path.removeprefix("/v2/"))
        raw = await request.read()
        body = json.loads(raw) if raw else None
        now_s = asyncio.get_running_loop().time()
        if self._began_s is None:
            self._began_s = now_s
        answer = self._api(request, body)
        headers = {name.lower(): value for name, value in request.headers.items()}
        entry = Request(
            now_s - self._began_s, request.method, request.path, headers, body, answer.status
        )
        self.asked.append(entry)
        return answer

    def _api(self, request: web.Request, body: Any) -> web.Response:
        match request.method, request.path.rpartition("/")[2]:
            case "POST", "register":
                made = {"id": 42, "uuid": body["uuid"], "api_key": body["api_key"]}
                return web.json_response(made, status=201)
            case "POST", "device_config_variable":
                return web.json_response({"id": 1}, status=201)
            case "PATCH", "state":
                return web.Response(text="OK")
            case "GET", "state":
                tag = {"ETag": self._etag}
                if request.headers.get("If-None-Match") == self._etag:
                    return web.Response(status=304, headers=tag)
                return web.json_response(self._part, headers=tag)
        raise AssertionError(request.path)

    async def _registry(self, path: str) -> web.Response:
        name, _, wanted = path.rpartition("/")
        if name.endswith("/manifests"):
            return web.json_response(self._manifest(name.split("/")[-2]))
        data, pause_s = self._blobs[wanted]
        self.parked += 1
        try:
            await asyncio.sleep(pause_s)
        finally:
            self.parked -= 1
        return web.Response(body=data)

    def _manifest(self, commit: str) -> dict[str, Any]:
        pause_s = self.download_s.get(commit, DOWNLOAD_S) / LAYERS
        blobs = [b"{}", *(f"{commit}{n}".encode() * 2_000 for n in range(LAYERS))]
        parts = []
        for number, data in enumerate(blobs):
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self._blobs[digest] = (data, pause_s if number else 0.0)
            parts.append({"digest": digest, "size": len(data)})
        return {"config": parts[0], "layers": parts[1:]}


@asynccontextmanager
async def _served(server: Server) -> AsyncIterator[None]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()


def _counted(server: Server, session: aiohttp.ClientSession) -> None:
    """Have the server know which requests have no answer yet."""

    async def begun(*_: Any) -> None:
        server.waiting += 1

    async def ended(*_: Any) -> None:
        server.waiting -= 1

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begun)
    trace.on_request_end.append(ended)
    trace.on_request_exception.append(ended)
    trace.freeze()
    session.trace_configs.append(trace)


def _process_under_way(program: Program) -> str:
    """A service that has not come up yet, or one that was killed and is not gone yet."""
    now_s = asyncio.get_running_loop().time()
    for device in program.devices:
        engine: Any = device._engine
        for box in engine._boxes.values():
            if box.process is None:
                continue
            folder = engine._data / str(box.app_id) / box.known.service
            if not (folder / f"ready-{box.process.known.pid}").exists():
                return f"{box.known.name} comes up"
            if box.process._kill is not None and box.process._kill.when() <= now_s:
                return f"{box.known.name} is killed"
    return ""


def play(recording: Recording, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Play a recording; what the agent asked meanwhile."""
    server = Server(download_s=DOWNLOADS_S.get(recording.name, {}))
    first = recording.requests[0].body
    network = {"mac_address": first["mac_address"], "ip_address": ""}
    monkeypatch.setattr(sensors, "network", lambda: network)
    run(_play(recording, server, folder, monkeypatch))
    return server


async def _play(
    recording: Recording, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StillLoop)
    began_s = loop.time()
    monkeypatch.setattr(
        sensors.Sensors, "read", lambda _: recording.readings(loop.time() - began_s)
    )
    lock = folder / "fieldbeat/run/services/1234567/main/updates.lock"
    async with _served(server), aiohttp.ClientSession() as session:
        server.track({})
        program = await Program.start(_options(recording, server, folder, loop))
        assert program._cloud is not None
        _counted(server, session)
        _counted(server, program._cloud.session)

        def busy() -> str:
            return "an answer" if server.waiting > server.parked else _process_under_way(program)

        loop.hold_while(busy)

        async def update(how: dict[str, Any]) -> None:
            state = json.loads((folder / "fieldbeat" / "state.json").read_text())
            assert program.api is not None
            url = f"http://127.0.0.1:{program.api.port}/v1/update?apikey={state['api_secret']}"
            async with session.post(url, json=how) as answer:
                assert answer.status == 204

        try:
            for at_s, what, how in recording.steps():
                await asyncio.sleep(began_s + at_s - loop.time())
                match what:
                    case "lock":
                        lock.touch(exist_ok=False)
                    case "unlock":
                        lock.unlink()
                    case "target":
                        server.track(_release(server, *how))
                        await update({})
                    case _:
                        await update(how)
            await asyncio.sleep(began_s + recording.end_s + REPORT_GAP_S - loop.time())
        finally:
            await program.close()
            loop.hold_while(str)


def _release(server: Server, commit: str, release: dict[str, Any]) -> dict[str, Any]:
    """A recorded release, with our image and a command that is as stubborn as its container."""
    main = release["services"]["main"]
    command = {"io.fieldbeat.command": f'sh -c "{STUBBORN}"'}
    changed = {"image": server.image_of(commit), "labels": {**main["labels"], **command}}
    return {commit: {**release, "services": {"main": {**main, **changed}}}}


def _options(
    recording: Recording, server: Server, folder: Path, loop: asyncio.AbstractEventLoop
) -> Options:
    first = recording.requests[0].body
    values = {
        "apiEndpoint": f"http://{server.host}",
        "applicationId": first["application"],
        "deviceType": first["device_type"],
        "uuid": UUID,
        "apiKey": "provkey",
    }
    config = folder / "config.json"
    config.write_text(json.dumps(values))
    return Options(
        config=config,
        behaviour="supervisor-19",
        port=0,
        clock_ms=lambda: round(loop.time() * 1_000),
    )
