"""Drives each device's supervisor and VPN client: power, boot, processes, and the shortcut.

The supervisor and the client are the real cores of ``agent``; here their effects are carried out.
``life`` names one power cycle of the board and ``process`` one run of the supervisor: what belongs
to an earlier one is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import cloudlink as client
from agent import effects as do
from agent.config import AgentConfig, Persisted
from agent.events import ApiCalled, ContainerChanged, Event, Started, TimerFired
from agent.machine import RESTART_MS, Agent
from agent.quirks import BEHAVIOURS

from .links import Link

if TYPE_CHECKING:
    from cloud_stub.messages import CallDevice

    from ..virtual import World
    from .device import Device


class Machines:
    """Drives every device's cores; the ``Polls`` of the agenda."""

    def __init__(self, world: World, *, shortcut: bool) -> None:
        self.world = world
        self.shortcut = shortcut
        self.clear_link = Link(latency_ms=world.scenario.links.latency_ms)
        self.client_config = client.CloudlinkConfig(
            ping_exit_ms=world.scenario.vpn.client_timeout_ms
        )
        self.quiet_until_ms = 0
        """Time of the scenario's next step: no shortcut may reach over it."""
        self._configs: dict[tuple[str, str], AgentConfig] = {}
        self.os_versions: dict[str, str] = {}
        """Of devices whose host OS was upgraded."""

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
        self._count_pulled(device)

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
        self._count_pulled(device)

    def _down(self, device: Device) -> None:
        device.life += 1
        device.process += 1
        device.power = "off"
        device.agent = device.client = device.attempt = None
        device.armed_ms = device.client_armed_ms = -1
        self.world.conditions.refresh(device)

    def _booted(self, device: Device, life: int) -> None:
        if device.life != life:
            return
        device.power = "on"
        device.client = client.CloudlinkClient(self.client_config)
        self.world.tunnels.booted(device)
        self.world.conditions.refresh(device)
        self.world.conditions.refresh_registry(device)
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
        self.supervisor_event(device, device.process, device.sense())
        self.supervisor_event(device, device.process, started)
        self.arm_board(device)

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
            self._count_pulled(device)

    def _config(self, device: Device) -> AgentConfig:
        """Shared by all devices of a kind: what a device has of its own is in ``Persisted``."""
        version = self.os_versions.get(device.name, AgentConfig().os_version)
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
                process = device.process
                self.world.exchanges.send(
                    device, effect, lambda _, event: self.supervisor_event(device, process, event)
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
                if not device.board.persist(effect.state):
                    self._disk_failed(device)
                elif effect.state.uuid != device.uuid or effect.state.device_api_key != device.key:
                    self.world.known(device, effect.state.uuid, effect.state.device_api_key)
            case _:
                events = device.board.carry_out(effect, now_ms=self.world.agenda.now_ms)
                self.arm_board(device)
                return events
        return []

    def _disk_failed(self, device: Device) -> None:
        """Nothing later may be done before this is on the disk: a disk that refuses ends it."""
        self.world.cloudside.note(
            device.name,
            "the disk takes nothing (read-only file system);"
            f" starting again in {RESTART_MS // 1_000} s",
        )
        self.supervisor(device, "stop")
        self.world.agenda.after(RESTART_MS, self._again, device, device.life, device.process)

    def _again(self, device: Device, life: int, process: int) -> None:
        if (device.life, device.process) == (life, process):
            self.supervisor(device, "start")

    def arm_board(self, device: Device) -> None:
        """Have the board advance when it next has something to do."""
        deadline = device.board.next_deadline_ms()
        if deadline is not None:
            wait = max(0, deadline - self.world.agenda.now_ms)
            self.world.agenda.after(wait, self._board_timer, device, device.life, deadline)

    def _count_pulled(self, device: Device) -> None:
        """What images weighed on the device's line."""
        traffic, flowed = self.world.history.traffic, device.board.take_flowed()
        if traffic is not None and flowed:
            traffic.add("bytes_received", self.world.agenda.now_ms, device.name, flowed)

    def _board_timer(self, device: Device, life: int, deadline: int) -> None:
        if device.life != life or device.board.next_deadline_ms() != deadline:
            return
        events = device.board.advance(now_ms=self.world.agenda.now_ms)
        self._count_pulled(device)
        for event in events:
            if isinstance(event, ContainerChanged):
                self.supervisor_event(device, device.process, device.sense())
            self.supervisor_event(device, device.process, event)
        self.arm_board(device)

    def api_call(self, device: Device, life: int, call: CallDevice) -> None:
        """A call through cloudlink; a supervisor that is not there refuses the connection."""
        if device.life == life and device.agent is not None:
            device.agent.vpn_connected = True  # the call came that way
            event = ApiCalled(call=call.call, method=call.method, path=call.path, body=call.body)
            self.supervisor_event(device, device.process, event)

    def quick_poll(self, device: Device, now_ms: int) -> int | None:
        """A steady poll in one go; ``tests/scenarios`` hold it to the walked one."""
        agent, cloudside = device.agent, self.world.cloudside
        if not (device.clear and cloudside.quiet and device.armed_ms == now_ms) or agent is None:
            return None
        trip_ms = device.link.latency_ms
        answered_ms = now_ms + 2 * trip_ms
        if answered_ms >= self.quiet_until_ms or not self.shortcut:
            return None
        etag = agent.steady_poll_etag()
        if etag is None:
            return None
        if device.row is None:
            device.row = cloudside.cloud.devices.get(device.uuid or "")
            if device.row is None:
                return None
        if not cloudside.cloud.quick_heartbeat(device.row, etag, now_ms=now_ms + trip_ms):
            return None
        cloudside.quick_heartbeats += 1
        device.armed_ms = following = agent.steady_poll_done(
            sent_ms=now_ms, answered_ms=answered_ms
        )
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
