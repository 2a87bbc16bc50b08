"""What a scenario does to a device and its site: the link, the disk, the clock, user code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agent.events import BoardMeasured
from agent.host_os import ProgressScript, ProgressStep, progress_request

from ..pulls import DeltaState, Registry
from ..verbs import Fault
from .links import PULL_ROUND_TRIPS, Fate, Link

if TYPE_CHECKING:
    from ..cards import DiskState
    from ..virtual import World
    from .device import Device

NTP_PERIOD_MS = 64_000
"""chrony's shortest poll; balenaOS lets it step the clock at any of them."""
IP_REFRESH_MS = 30_000
"""``ipAddressUpdateInterval``."""
RUN_EPOCH_MS = 1_767_225_600_000
"""Wall time at the start of a run: 2026-01-01 00:00 UTC."""


class Conditions:
    """Changes the conditions a device lives in, and tells whoever notices."""

    __slots__ = ("_host_requests", "_registries", "delta", "registry_fault", "world")

    def __init__(self, world: World) -> None:
        self.world = world
        self.registry_fault = Fault(state="up")
        self.delta: DeltaState = "ok"
        """The delta server's health."""
        self._host_requests = 0
        self._registries: dict[Registry, Registry] = {}
        """One shared value for each state."""

    def set_link(self, device: Device, link: Link) -> None:
        """The device's way to the cloud is now ``link``."""
        device.link = (
            self.world.machines.clear_link if link == self.world.machines.clear_link else link
        )
        self.refresh(device)
        self.refresh_registry(device)
        self.world.tunnels.way_changed(device)

    def refresh(self, device: Device) -> None:
        """Whether the shortcut may be taken has to be looked at again."""
        device.clear = device.link.plain and device.trusts_certificates

    def refresh_registry(self, device: Device) -> None:
        """Tell the board how images flow now; a fault of a share hits a device or not, by draw."""
        link, fault = device.link, self.registry_fault
        rate: int | None = self.world.scenario.links.registry_bytes_per_second
        for bound in (link.rate_bytes_per_second, link.tcp_bytes_per_second):
            if bound is not None and rate is not None:
                rate = min(rate, bound)
        hit = fault.share >= 1.0 or device.link_draws.random() < fault.share
        state = fault.state if hit else "up"
        error: str | None = None
        outward, inward = link.fate("registry", outward=True), link.fate("registry", outward=False)
        if outward in (Fate.REJECT, Fate.NO_ROUTE):
            error = "refused" if outward is Fate.REJECT else "unreachable"
        elif outward is Fate.DROP or inward is not Fate.PASS or state == "hang":
            rate = None
        elif state != "up":
            error = "refused" if state == "down" else f"HTTP {fault.status}"
        if error is None and not device.trusts_certificates:
            error = "certificate is not valid"
        latency_ms = fault.latency_ms + PULL_ROUND_TRIPS * link.round_trip_ms
        layer_ms = 0 if rate is None else link.layer_ms(rate)
        registry = Registry(rate, error, latency_ms, self.delta, layer_ms)
        registry = self._registries.setdefault(registry, registry)
        device.board.set_registry(registry, now_ms=self.world.agenda.now_ms)
        self.world.machines.arm_board(device)

    def user_lock(self, device: Device, service: str | None, *, hold: bool) -> None:
        """User code creates or removes its lock file."""
        # the fleet it was moved from may have containers left
        apps = device.board.apps() or (self.world.fleet_uuid(device.spec.fleet),)
        for app in apps:
            for name in [service] if service else device.board.services(app):
                if hold:
                    device.board.hold_lock(app, name)
                else:
                    device.board.release_lock(app, name)

    def new_address(self, device: Device, address: str) -> None:
        """The uplink has another address: old connections are dead, the supervisor reports it."""
        device.address = address
        self.world.tunnels.address_changed(device)
        wait_ms = IP_REFRESH_MS - self.world.agenda.now_ms % IP_REFRESH_MS
        self.world.agenda.after(wait_ms, self._address_seen, device, device.life)

    def _address_seen(self, device: Device, life: int) -> None:
        if device.life == life and device.agent is not None and device.address is not None:
            reading = BoardMeasured(readings={"ip_address": device.address})
            self.world.machines.supervisor_event(device, device.process, reading)

    def handover_complete(self, device: Device, service: str | None) -> None:
        """The hand-over file of a service appears."""
        app = self.world.fleet_uuid(device.spec.fleet)
        for name in [service] if service else device.board.services(app):
            for event in device.board.handover_complete(name):
                self.world.machines.supervisor_event(device, device.process, event)

    def misbehave(
        self, device: Device, service: str, state: Literal["exit", "crash", "restart"]
    ) -> None:
        """A service exits, crashes or restarts."""
        for event in device.board.misbehave(service, state, now_ms=self.world.agenda.now_ms):
            self.world.machines.supervisor_event(device, device.process, event)
        self.world.machines.arm_board(device)

    def set_disk(self, device: Device, state: DiskState) -> None:
        """The disk is full, read-only or well."""
        device.board.set_disk(state, now_ms=self.world.agenda.now_ms)
        self.world.machines.arm_board(device)

    def undervolt(self, device: Device, *, on: bool) -> None:
        """The supply is weak, or well again; the kernel notices at once."""
        device.undervolted = on
        if device.agent is not None:
            reading = BoardMeasured(readings={"is_undervolted": on})
            self.world.machines.supervisor_event(device, device.process, reading)

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
        self.refresh(device)
        self.refresh_registry(device)
        self.world.agenda.after(NTP_PERIOD_MS, self._ntp, device)

    def _ntp(self, device: Device) -> None:
        link = device.link
        through = link.up and all(
            link.fate("ntp", outward=outward) is Fate.PASS for outward in (True, False)
        )
        if device.power == "on" and through:
            device.clock_off_ms = 0
            self.refresh(device)
            self.refresh_registry(device)
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

    def _host_progress(self, device: Device, life: int, step: ProgressStep) -> None:
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
            self.world.machines.os_versions[device.name] = os_version
        if script.ends_with == "reboot":
            self.world.machines.reboot(device)
