"""A simulated device: its power, board, supervisor and VPN client, and how they meet the world.

The supervisor and the client are the real cores of ``agent``; here their effects are carried out.
``life`` names one power cycle of the board and ``process`` one run of the supervisor: what belongs
to an earlier one is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from agent import cloudlink as client
from agent import effects as do
from agent.config import AgentConfig, Persisted
from agent.events import ApiCalled, Event, Started, TimerFired
from agent.host_os import ProgressScript, progress_request
from agent.machine import Agent
from agent.quirks import BEHAVIOURS

from ..board import Board
from ..streams import Stream
from .links import Fate, Link

if TYPE_CHECKING:
    from cloud_stub.messages import CallDevice

    from ..model import DeviceSpec
    from ..virtual import World
    from .tunnels import Session

NTP_PERIOD_MS = 64_000
"""chrony's shortest poll; balenaOS lets it step the clock at any of them."""
CERTIFICATE_SPAN_MS = 60 * 86_400_000
"""How far a clock may be off before the API's certificate is not valid for it."""
RUN_EPOCH_MS = 1_767_225_600_000
"""Wall time at the start of a run: 2026-01-01 00:00 UTC."""


class Device:
    """One device of the fleet; plain state, driven by ``Machines``."""

    __slots__ = (
        "_link_draws",
        "agent",
        "armed_ms",
        "attempt",
        "board",
        "client",
        "client_armed_ms",
        "clear",
        "clock_off_ms",
        "draws",
        "key",
        "life",
        "link",
        "machines",
        "name",
        "number",
        "power",
        "process",
        "row",
        "session",
        "spec",
        "tunnels_opened",
        "uuid",
    )

    def __init__(self, spec: DeviceSpec, number: int, machines: Machines, *, seed: int) -> None:
        self.spec = spec
        self.name = spec.name
        self.number = number
        self.machines = machines
        self.uuid: str | None = None
        self.key: str | None = None
        self.link: Link = machines.clear_link
        self.clear = False
        """A poll meets nothing on its way: the shortcut may be taken."""
        self.life = 0
        self.process = 0
        self.power: Literal["off", "booting", "on"] = "off"
        self.board = Board(machines.world.catalog)
        self.agent: Agent | None = None
        self.client: client.CloudlinkClient | None = None
        self.session: Session | None = None
        self.attempt: int | None = None
        self.tunnels_opened = 0
        self.draws = Stream(seed, spec.name, "supervisor")
        self._link_draws: Stream | None = None
        self.row: Any = None
        """The device's row in the cloud core, for the shortcut."""
        self.armed_ms = -1
        self.client_armed_ms = -1
        self.clock_off_ms = 0

    @property
    def link_draws(self) -> Stream:
        """Randomness of this device's link: jitter, loss, shares of faults."""
        if self._link_draws is None:
            self._link_draws = Stream(self.machines.world.seed, self.name, "link")
        return self._link_draws

    @property
    def trusts_certificates(self) -> bool:
        """The device's clock is inside the validity of the API's certificate."""
        return abs(self.clock_off_ms) <= CERTIFICATE_SPAN_MS

    def wants_tunnel(self, attempt: int) -> bool:
        """The client is still waiting for this attempt."""
        return self.attempt == attempt

    def cloudlink_event(self, life: int, event: client.Event) -> None:
        """Something reaches the VPN client."""
        self.machines.cloudlink_event(self, life, event)

    def api_call(self, life: int, call: CallDevice) -> None:
        """A call of the supervisor API comes out of the tunnel."""
        self.machines.api_call(self, life, call)


class Machines:
    """Drives every device's cores; the ``Polls`` of the agenda."""

    def __init__(self, world: World, *, shortcut: bool) -> None:
        self.world = world
        self.shortcut = shortcut
        self.clear_link = Link(latency_ms=world.scenario.links.latency_ms)
        self.registry_fault: tuple[str, int] | None = None
        self.step_times: list[int] = []
        """Times of the scenario's steps still to come, latest first."""
        self._configs: dict[tuple[str, str], AgentConfig] = {}
        self._os_versions: dict[str, str] = {}
        self._host_requests = 0

    # --- power -----------------------------------------------------------------------------------

    def power_on(self, device: Device) -> None:
        """Power comes: the board boots, unless it runs."""
        if device.power == "off" and not device.spec.scripted:
            device.power = "booting"
            device.board.power_on()
            boot_ms = self.world.scenario.links.boot_ms
            self.world.agenda.after(boot_ms, self._booted, device, device.life)

    def power_off(self, device: Device) -> None:
        """Power is cut: nothing is flushed or closed."""
        self.world.tunnels.cut(device)
        self._down(device)
        device.board.power_cut()

    def reboot(self, device: Device) -> None:
        """Stop in order, then boot again."""
        if device.power == "on":
            self.shut_down(device)
            self.power_on(device)

    def shut_down(self, device: Device) -> None:
        """Stop in order and power off."""
        self.world.tunnels.close(device)
        self._down(device)
        device.board.shut_down()

    def _down(self, device: Device) -> None:
        device.life += 1
        device.process += 1
        device.power = "off"
        device.agent = device.client = device.attempt = None
        device.armed_ms = device.client_armed_ms = -1
        self._refresh(device)

    def _booted(self, device: Device, life: int) -> None:
        if device.life != life:
            return
        device.power = "on"
        device.client = client.CloudlinkClient(self.world.client_config)
        self._refresh(device)
        self.refresh_registry(device)
        self.cloudlink_event(device, life, client.Start())
        self._start_supervisor(device, cold_boot=True)

    def _start_supervisor(self, device: Device, *, cold_boot: bool) -> None:
        board = device.board
        persisted = board.persisted or Persisted()
        device.process += 1
        device.agent = Agent(self._config(device), persisted, device.draws)
        started = Started(
            engine=board.snapshot(),
            cold_boot=cold_boot,
            report_cache=board.report_cache,
            reboot_needed=board.reboot_needed,
        )
        self.supervisor_event(device, device.process, started)
        self._arm_board(device)

    def supervisor(self, device: Device, state: str) -> None:
        """Stop, hang or start the supervisor; the VPN client does not notice."""
        if state == "start":
            if device.power == "on" and device.agent is None:
                self._start_supervisor(device, cold_boot=False)
        elif device.agent is not None:
            device.agent = None
            device.process += 1
            device.armed_ms = -1
            device.board.supervisor_gone()

    def _config(self, device: Device) -> AgentConfig:
        """Shared by all devices of a kind: what a device has of its own is in ``Persisted``."""
        version = self._os_versions.get(device.name, AgentConfig().os_version)
        kind = (device.spec.behaviour, f"{device.spec.device_type} {version}")
        if kind not in self._configs:
            self._configs[kind] = AgentConfig(
                device_type=device.spec.device_type,
                os_version=version,
                quirks=BEHAVIOURS[device.spec.behaviour],
            )
        return self._configs[kind]

    # --- the supervisor --------------------------------------------------------------------------

    def supervisor_timer(self, device: Device) -> None:
        """The supervisor's deadline was reached (or an older one: ignored)."""
        if device.armed_ms == self.world.agenda.now_ms and device.agent is not None:
            device.armed_ms = -1
            self.supervisor_event(device, device.process, TimerFired())

    def supervisor_event(self, device: Device, process: int, event: Event) -> None:
        """Something reaches the supervisor; what it wants done is done, in order."""
        waiting = [event]
        while waiting and device.process == process and device.agent is not None:
            now_ms = self.world.agenda.now_ms
            for effect in device.agent.handle(waiting.pop(0), now_ms=now_ms):
                waiting.extend(self._carry_out(device, effect))
                if device.process != process:
                    return
        self._arm(device)

    def _arm(self, device: Device) -> None:
        if device.agent is None:
            return
        deadline = device.agent.next_deadline_ms()
        if deadline is None:
            device.armed_ms = -1
            return
        deadline = max(deadline, self.world.agenda.now_ms)
        if deadline != device.armed_ms:
            device.armed_ms = deadline
            self.world.agenda.supervisor_at(deadline, device)

    def _carry_out(self, device: Device, effect: do.Effect) -> list[Event]:
        match effect:
            case do.SendRequest():
                self.world.exchanges.send(
                    device, effect, lambda life, event: self.supervisor_event(device, life, event)
                )
            case do.SetVpn():
                event = client.Start() if effect.enabled else client.Stop()
                self.cloudlink_event(device, device.life, event)
            case do.Reboot():
                self.reboot(device)
            case do.ShutDown():
                self.shut_down(device)
            case do.ReplyToApi():
                self.world.tunnels.reply(device, effect.call, effect.status, effect.body)
            case do.Note():
                self.world.cloudside.note(device.name, effect.text)
            case do.Persist():
                device.board.persist(effect.state)
                if effect.state.uuid != device.uuid or effect.state.device_api_key != device.key:
                    self.world.known(device, effect.state.uuid, effect.state.device_api_key)
            case _:
                events = device.board.carry_out(effect, now_ms=self.world.agenda.now_ms)
                self._arm_board(device)
                return events
        return []

    def _arm_board(self, device: Device) -> None:
        deadline = device.board.next_deadline_ms()
        if deadline is not None:
            wait = max(0, deadline - self.world.agenda.now_ms)
            self.world.agenda.after(wait, self._board_timer, device, device.life, deadline)

    def _board_timer(self, device: Device, life: int, deadline: int) -> None:
        if device.life != life or device.board.next_deadline_ms() != deadline:
            return
        for event in device.board.advance(now_ms=self.world.agenda.now_ms):
            self.supervisor_event(device, device.process, event)
        self._arm_board(device)

    def api_call(self, device: Device, life: int, call: CallDevice) -> None:
        """A call through cloudlink; a supervisor that is not there refuses the connection."""
        if device.life == life and device.agent is not None:
            event = ApiCalled(call=call.call, method=call.method, path=call.path, body=call.body)
            self.supervisor_event(device, device.process, event)

    def quick_poll(self, device: Device, now_ms: int) -> int | None:
        """A steady poll in one go; ``tests/scenarios`` hold it to the walked one."""
        agent = device.agent
        if not device.clear or agent is None or device.armed_ms != now_ms or not self.shortcut:
            return None
        trip_ms = device.link.latency_ms
        answered_ms = now_ms + 2 * trip_ms
        times = self.step_times
        while times and times[-1] < now_ms:
            times.pop()
        if times and times[-1] <= answered_ms:
            return None
        cloudside = self.world.cloudside
        if not (cloudside.running and cloudside.door.open) or cloudside.cloud.calls_pending:
            return None
        etag = agent.steady_poll_etag()
        if etag is None or device.row is None:
            return None
        if not cloudside.cloud.quick_heartbeat(device.row, etag, now_ms=now_ms + trip_ms):
            return None
        self.world.history.heartbeats += 1
        following = agent.steady_poll_done(sent_ms=now_ms, answered_ms=answered_ms)
        device.armed_ms = following
        return following

    # --- cloudlink -------------------------------------------------------------------------------

    def cloudlink_event(self, device: Device, life: int, event: client.Event) -> None:
        """Something reaches the VPN client."""
        if device.life != life or device.client is None:
            return
        for effect in device.client.handle(event, now_ms=self.world.agenda.now_ms):
            match effect:
                case client.OpenTunnel():
                    device.attempt = effect.attempt
                    self.world.tunnels.open(device, effect.attempt)
                case client.CloseTunnel():
                    device.attempt = None
                    self.world.tunnels.close(device)
                case client.Note():
                    self.world.cloudside.note(device.name, effect.text)
        if device.client is None:
            return
        deadline = device.client.next_deadline_ms()
        if deadline is not None and deadline != device.client_armed_ms:
            device.client_armed_ms = deadline
            wait = max(0, deadline - self.world.agenda.now_ms)
            self.world.agenda.after(wait, self._client_timer, device, life, deadline)

    def _client_timer(self, device: Device, life: int, deadline: int) -> None:
        if device.life == life and device.client_armed_ms == deadline:
            device.client_armed_ms = -1
            self.cloudlink_event(device, life, client.TimerFired())

    # --- what steps do to a device ---------------------------------------------------------------

    def set_link(self, device: Device, link: Link) -> None:
        """The device's way to the cloud is now ``link``."""
        device.link = self.clear_link if link == self.clear_link else link
        self._refresh(device)
        self.refresh_registry(device)
        self.world.tunnels.way_changed(device)

    def _refresh(self, device: Device) -> None:
        device.clear = device.link.plain and device.trusts_certificates

    def identify(self, device: Device) -> None:
        """The cloud's row of the device may have been made or replaced."""
        device.row = self.world.cloudside.cloud.devices.get(device.uuid or "")

    def refresh_registry(self, device: Device) -> None:
        """Tell the board how images flow now."""
        link = device.link
        fault = self.registry_fault
        rate: int | None = self.world.scenario.links.registry_bytes_per_second
        if link.rate_bytes_per_second is not None and rate is not None:
            rate = min(rate, link.rate_bytes_per_second)
        error: str | None = None
        outward, inward = link.fate("registry", outward=True), link.fate("registry", outward=False)
        if outward in (Fate.REJECT, Fate.NO_ROUTE):
            error = "refused" if outward is Fate.REJECT else "unreachable"
        elif fault is not None and fault[0] in ("down", "error"):
            error = "refused" if fault[0] == "down" else f"HTTP {fault[1]}"
        elif outward is Fate.DROP or inward is not Fate.PASS or (fault and fault[0] == "hang"):
            rate = None
        device.board.set_registry(rate, error=error, now_ms=self.world.agenda.now_ms)
        self._arm_board(device)

    def flash_disk(
        self, device: Device, persisted: Persisted, images: tuple[str, ...]
    ) -> None:
        """The disk is written from outside: configuration, keys, preloaded images."""
        device.board.flash(persisted, images)

    def user_lock(self, device: Device, service: str | None, *, hold: bool) -> None:
        """User code creates or removes its lock file."""
        app = self.world.fleet_uuid(device.spec.fleet)
        for name in [service] if service else device.board.services(app):
            if hold:
                device.board.hold_lock(app, name)
            else:
                device.board.release_lock(app, name)

    def handover_complete(self, device: Device, service: str | None) -> None:
        """The hand-over file of a service appears."""
        app = self.world.fleet_uuid(device.spec.fleet)
        for name in [service] if service else device.board.services(app):
            for event in device.board.handover_complete(name):
                self.supervisor_event(device, device.process, event)

    def misbehave(self, device: Device, service: str, state: str) -> None:
        """A service exits, crashes or restarts."""
        for event in device.board.misbehave(service, state, now_ms=self.world.agenda.now_ms):
            self.supervisor_event(device, device.process, event)
        self._arm_board(device)

    def set_disk(self, device: Device, state: str) -> None:
        """The disk is full, read-only or well."""
        device.board.set_disk(state, now_ms=self.world.agenda.now_ms)
        self._arm_board(device)

    def measure(self, device: Device, readings: Mapping[str, Any]) -> None:
        """The board's sensors read something new."""
        from agent.events import BoardMeasured

        if device.agent is not None:
            self.supervisor_event(device, device.process, BoardMeasured(readings=readings))

    def set_clock(
        self,
        device: Device,
        *,
        shown_ms: int | None,
        skew_ms: int | None,
        jump_ms: int | None,
    ) -> None:
        """The device's wall clock is wrong until NTP gets through."""
        now_ms = self.world.agenda.now_ms
        if shown_ms is not None:
            device.clock_off_ms = shown_ms - (RUN_EPOCH_MS + now_ms)
        elif skew_ms is not None:
            device.clock_off_ms = skew_ms
        else:
            device.clock_off_ms += jump_ms or 0
        self._refresh(device)
        self.world.agenda.after(NTP_PERIOD_MS, self._ntp, device)

    def _ntp(self, device: Device) -> None:
        link = device.link
        through = link.up and all(
            link.fate("ntp", outward=outward) is Fate.PASS for outward in (True, False)
        )
        if device.power == "on" and through:
            device.clock_off_ms = 0
            self._refresh(device)
        elif device.clock_off_ms:
            self.world.agenda.after(NTP_PERIOD_MS, self._ntp, device)

    # --- host programs ---------------------------------------------------------------------------

    def run_host_program(
        self, device: Device, script: ProgressScript, *, os_version: str | None
    ) -> None:
        """The flasher or the OS updater reports its progress, then ends the board's life."""
        wait = 0
        for step in script.steps:
            wait += step.after_ms
            self.world.agenda.after(wait, self._host_progress, device, device.life, step)
        end = wait + script.linger_ms
        self.world.agenda.after(end, self._host_end, device, device.life, script, os_version)

    def _host_progress(self, device: Device, life: int, step: Any) -> None:
        if device.life == life:
            self._host_requests += 1
            request = progress_request(
                self._host_requests, device.uuid or "", device.key or "", step
            )
            self.world.exchanges.send(device, request, lambda *_: None)

    def _host_end(
        self, device: Device, life: int, script: ProgressScript, os_version: str | None
    ) -> None:
        if device.life != life:
            return
        if os_version is not None:
            self._os_versions[device.name] = os_version
        if script.ends_with == "reboot":
            self.reboot(device)


