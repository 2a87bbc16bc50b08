"""One device in real time: the pure supervisor, its timer, and what its effects become."""

from __future__ import annotations

import asyncio
import hmac
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import effects as do
from ..events import ApiCalled, BoardMeasured, HandoverSignalled, LocksTaken, Started, TimerFired
from ..machine import RESTART_MS, Agent
from .wall import wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..config import AgentConfig, Draws
    from ..events import Event
    from .cloudlink import Cloudlink
    from .disk import Disk
    from .engine import Engine
    from .http import Cloud, DryCloud
    from .logs import Logs
    from .volatile import Forgetful, Volatile
    from .vpn_unit import RemoteUnit

_log = logging.getLogger("fieldbeat.agent")
RESTART_S = RESTART_MS / 1_000
SENSORS_S = 10.0
ADDRESSES_S = 30.0
"""``ipAddressUpdateInterval``."""
LOOK_S, LOOK_IN_MEMORY_S = 1.0, 5.0
"""Between two looks at what services write; a device in memory has none, and there are many."""
HANDOVER_S = 0.1
"""Between two looks for a hand-over file (``SUPERVISOR.md §5``)."""


class Device:
    """A supervisor that runs."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        disk: Disk,
        engine: Engine,
        cloud: Cloud | DryCloud,
        volatile: Volatile | Forgetful,
        draws: Draws,
        sense: Callable[[], Mapping[str, Any]] = dict,
        addresses: Callable[[], Mapping[str, str]] = dict,
        name: str = "",
        clock_ms: Callable[[], int] = wall_ms,
    ) -> None:
        """Nothing happens before ``start``.

        Args:
            config: of the core.
            disk: what it keeps over a power cut.
            engine: images and containers.
            cloud: the way to the API.
            volatile: what it forgets.
            draws: randomness of jitter and keys.
            sense: the board's readings, by the names of the state report.
            addresses: the board's, by the names of ``AgentConfig``, looked at every 30 s.
            name: put before its lines in the log.
            clock_ms: gives the time, ms, never going back.
        """
        self.config = config
        self.agent: Agent | None = None
        self.cloudlink: Cloudlink | RemoteUnit | None = None
        """The host's VPN client; put one here before ``start``."""
        self.logs: Logs | None = None
        """The log stream to the cloud; put one here before ``start``."""
        self.leaves_services = False  # at its end they go on, as of an engine of its own
        self.done = asyncio.Event()  # the board was shut down
        self.talked = asyncio.Event()  # a poll and a report have succeeded
        self.boot_s = 0.0  # how long the board takes to boot
        self.failed = 0
        """How often the supervisor had to be started again."""
        self._disk = disk
        self._engine = engine
        self._cloud = cloud
        self._volatile = volatile
        self._draws = draws
        self._sense = sense
        self._addresses = addresses
        self.name = f"{name}: " if name else ""
        self._clock_ms = clock_ms
        self._process = 0
        self._waiting: list[Event] = []
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._due_ms = 0
        self.late_ms: list[int] | None = None
        """Put a list here to be told how late each timer was."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._tunnel_up = False
        self._app_ids: dict[str, int] = {}
        """Of apps whose locks were taken."""
        self._calls: dict[int, asyncio.Future[tuple[int, Any]]] = {}
        self._call = 0

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Power comes: the supervisor starts from what the disk holds.

        Raises:
            ConfigError: the disk holds something else.
        """
        self._begin(cold_boot=self._volatile.cold_boot)
        self._set_vpn(enabled=True)
        self._spawn(self._look())

    def _begin(self, *, cold_boot: bool) -> None:
        self._process += 1
        self.agent = Agent(self.config, self._disk.load(), self._draws)
        self.agent.vpn_connected = self._tunnel_up
        self._waiting.clear()
        self._engine.attach(self.event)
        self.event(BoardMeasured(readings=self._sense()))
        self.event(
            Started(
                engine=self._engine.snapshot(),
                cold_boot=cold_boot,
                report_cache=self._volatile.report_cache(),
                reboot_needed=self._volatile.reboot_needed,
            )
        )

    async def close(self) -> None:
        """Stop: requests are given up, services are stopped, nothing is reported."""
        self.agent = None
        self._process += 1
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for part in (self.cloudlink, self.logs):
            if part is not None:
                await part.close()
        if not self.leaves_services:
            await self._engine.stop_all()
        await self._engine.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        """Read the sensors, and look for hand-over files while one is waited for."""
        looked_s = addressed_s = 0.0
        look_s = LOOK_S if self._volatile.locks is not None else LOOK_IN_MEMORY_S
        while True:
            await asyncio.sleep(HANDOVER_S if self._handing_over() else look_s)
            output = self._engine.output()
            if self.logs is not None and self.agent is not None:
                self.logs.services(self.agent, output)
            for app_id, service in self._handing_over():
                if self._volatile.handover_signalled(app_id, service):
                    self.event(HandoverSignalled(service=service))
            now_s = asyncio.get_running_loop().time()
            if now_s - addressed_s >= ADDRESSES_S:
                addressed_s = now_s
                self._readdress()
            if now_s - looked_s >= SENSORS_S:
                looked_s = now_s
                self.event(BoardMeasured(readings=self._sense()))

    def _readdress(self) -> None:
        """The board may have other addresses by now."""
        now, known = self._addresses(), self.config
        self.config = replace(
            known,
            ip_address=now.get("ip_address", known.ip_address),
            mac_address=now.get("mac_address", known.mac_address),
        )
        if self.agent is not None and self.agent.ctx.config != self.config:
            self.agent.ctx.config = self.config
            self.event(BoardMeasured(readings=self._sense()))

    def _handing_over(self) -> list[tuple[int, str]]:
        if self.agent is None or not self.agent.update.containers.handovers:
            return []
        services = self.agent.update.containers.handovers
        return [
            (app.id, service)
            for app in self.agent.update.apps
            for service in sorted(services)
            if any(known.name == service for known in app.services)
        ]

    # --- events ----------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """Something happened; what the supervisor wants done about it is done, in order."""
        self._waiting.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting and self.agent is not None:
                process, happened = self._process, self._waiting.pop(0)
                if self.logs is not None:
                    self.logs.came(self.agent, happened)
                for effect in self.agent.handle(happened, now_ms=self._clock_ms()):
                    if self.logs is not None and self.agent is not None:
                        self.logs.begins(self.agent, effect)
                    try:
                        self._carry_out(effect)
                    except OSError as error:
                        self._disk_failed(error)
                    if self._process != process:
                        break
        finally:
            self._busy = False
        if not self.talked.is_set() and self.agent is not None and _talked(self.agent):
            self.talked.set()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ms = None if self.agent is None else self.agent.next_deadline_ms()
        if due_ms is not None:
            self._due_ms = due_ms
            wait_s = max(0.0, (due_ms - self._clock_ms()) / 1_000)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._due)

    def _due(self) -> None:
        self._timer = None
        if self.late_ms is not None:
            self.late_ms.append(self._clock_ms() - self._due_ms)
        self.event(TimerFired())

    # --- effects ---------------------------------------------------------------------------------

    def _carry_out(self, effect: do.Effect) -> None:
        match effect:
            case do.SendRequest():
                self._spawn(self._send(effect, self._process))
            case do.Persist():
                self._disk.save(effect.state)
            case do.TakeLocks() | do.ReleaseLocks():
                self._locks(effect)
            case do.SetVpn():
                self._set_vpn(enabled=effect.enabled)
            case do.Reboot():
                self._leave(self._reboot())
            case do.ShutDown():
                self._leave(self._shut_down())
            case do.CacheReport() | do.MarkRebootNeeded():
                self._remember(effect)
            case do.ReplyToApi():
                waiting = self._calls.get(effect.call)
                if waiting is not None and not waiting.done():
                    waiting.set_result((effect.status, effect.body))
            case do.Note():
                _log.info("%s%s", self.name, effect.text)
            case _:
                self._engine.carry_out(effect, self._service(effect))

    def _set_vpn(self, *, enabled: bool) -> None:
        if self.cloudlink is not None:
            if enabled:
                self.cloudlink.start()
            else:
                self.cloudlink.stop()

    def tunnel_changed(self, up: bool) -> None:
        """The host says whether cloudlink is up."""
        self._tunnel_up = up
        if self.agent is not None:
            self.agent.vpn_connected = up

    def _remember(self, effect: do.CacheReport | do.MarkRebootNeeded) -> None:
        if isinstance(effect, do.CacheReport):
            self._volatile.cache_report(effect.report)
        else:
            self._volatile.mark_reboot_needed()

    def _locks(self, effect: do.TakeLocks | do.ReleaseLocks) -> None:
        locks = self._volatile.locks
        if isinstance(effect, do.TakeLocks):
            self._waiting.append(
                LocksTaken(attempt=effect.attempt)
                if locks is None
                else locks.take(effect, self._app_id(effect.app))
            )
        elif locks is not None:
            locks.release(self._app_id(effect.app))

    async def _send(self, request: do.SendRequest, process: int) -> None:
        event = await self._cloud.send(request)
        if process == self._process:
            self.event(event)

    def _disk_failed(self, error: OSError) -> None:
        """Nothing later may be done before this is on the disk: a disk that refuses ends it."""
        self.failed += 1
        _log.error(
            "%sthe disk takes nothing (%s%s); starting again in %.0f s",
            self.name,
            f"{error.filename}: " if error.filename else "",
            error.strerror or error,
            RESTART_S,
        )
        self._leave(self._again())

    def _leave(self, what_next: Any) -> None:
        """This supervisor is over; calls of its API get no answer."""
        self.agent = None
        self._process += 1
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_result((503, {"status": "failed", "message": "shutting down"}))
        self._spawn(what_next)

    async def _again(self) -> None:
        await asyncio.sleep(RESTART_S)
        self._begin(cold_boot=False)

    async def _reboot(self) -> None:
        _log.info("%srebooting", self.name)
        self._set_vpn(enabled=False)
        await self._engine.stop_all()
        self._volatile.forget()
        await asyncio.sleep(self.boot_s)
        self._begin(cold_boot=True)
        self._set_vpn(enabled=True)

    async def _shut_down(self) -> None:
        _log.info("%sshutting down", self.name)
        self._set_vpn(enabled=False)
        await self._engine.stop_all()
        self._volatile.forget()
        self.done.set()

    # --- the target ------------------------------------------------------------------------------

    def _app_id(self, uuid: str) -> int:
        """The number an app's folder is named by; one that is gone may have containers left."""
        assert self.agent is not None
        known = next((app.id for app in self.agent.update.apps if app.uuid == uuid), None)
        known = self._engine.app_id(uuid) if known is None else known
        if known is not None:
            self._app_ids[uuid] = known
        return self._app_ids.get(uuid, 0)

    def _service(self, effect: do.Effect) -> Mapping[str, Any]:
        """A container's part of the target state: labels, environment, composition."""
        if not isinstance(effect, do.CreateContainer) or self.agent is None:
            return {}
        target = self.agent.ctx.persisted.target or {}
        app = target.get("apps", {}).get(effect.app, {})
        release = app.get("releases", {}).get(effect.commit, {})
        found = release.get("services", {}).get(effect.service, {})
        return {**found, "app_id": app.get("id", 0)}

    # --- the supervisor API ----------------------------------------------------------------------

    def knows(self, secret: str) -> bool:
        """Whether a caller of the supervisor API has its key."""
        known = None if self.agent is None else self.agent.ctx.persisted.api_secret
        return known is not None and hmac.compare_digest(secret.encode(), known.encode())

    def who(self) -> tuple[str, str] | None:
        """The uuid and key that this device shows; ``None`` before there are any."""
        state = self._disk.load() if self.agent is None else self.agent.ctx.persisted
        key = state.device_api_key
        return None if state.uuid is None or key is None else (state.uuid, key)

    async def call(self, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """A call of the supervisor API; status and body of its answer."""
        if self.agent is None:
            return 503, {"status": "failed", "message": "the supervisor is not running"}
        self._call += 1
        number = self._call
        self._calls[number] = waiting = asyncio.get_running_loop().create_future()
        try:
            self.event(ApiCalled(call=number, method=method, path=path, body=body))
            found: tuple[int, Any] = await waiting
            return found
        finally:
            del self._calls[number]


def _talked(agent: Agent) -> bool:
    report = agent.report
    polled = agent.poll.last_success_ms is not None
    return polled and report.started and report.waiting is None and report.last is not None
