"""The virtual lab: a scenario run in simulated time, the same bytes for the same file and seed.

``World`` is the composition root: it sets up the cloud, the VPN servers and the fleet as a scenario
says, enters the steps on the agenda, and lets everything happen.  Nobody here knows an expectation.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agent.config import Persisted
from agent.device_config import POLL_INTERVAL, without_prefix
from cloud_stub.messages import AddKey, CreateFleet, Event, Request, Response
from cloud_stub.messages import Preregister as CloudPreregister
from cloud_stub.observe import FIELDS

from .board import Catalog
from .errors import LabError
from .history import History, Traffic
from .simulation.agenda import RANK_STEP, Agenda
from .simulation.cloudside import CloudSide, Failure
from .simulation.conditions import Conditions
from .simulation.device import Device
from .simulation.exchanges import Exchanges
from .simulation.machines import Machines
from .simulation.releases import images_of, publish
from .simulation.steps import carry_out
from .simulation.tunnels import Tunnels
from .streams import digest
from .verbs import VPN_SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.host_os import ProgressScript

    from .history import Unmet
    from .model import DeviceSpec, Scenario, Step
    from .pulls import DeltaState
    from .verbs import Fault

_NO_CONFIG: Mapping[str, str] = {}


class World:
    """A fleet, its cloud and everything between, at one simulated instant."""

    def __init__(self, scenario: Scenario, *, seed: int, shortcut: bool = True) -> None:
        self.scenario = scenario
        self.seed = seed
        self.agenda = Agenda()
        blank: dict[str, Any] = dict.fromkeys(FIELDS)
        self.history = History({spec.name: blank for spec in scenario.devices})
        if any(e.measure and e.measure.kind.of_traffic for e in scenario.expectations):
            self.history.traffic = Traffic()
            shortcut = False  # it counts no requests
        self.cloudside = CloudSide(scenario.cloud, self.agenda, self.history)
        self.exchanges = Exchanges(self.agenda, self.cloudside)
        self.tunnels = Tunnels(self.agenda, self.cloudside, scenario.vpn, self._key("vpn"))
        self.catalog = Catalog()
        self.machines = Machines(self, shortcut=shortcut)
        self.conditions = Conditions(self)
        self.devices: dict[str, Device] = {}
        self.fleets: dict[str, list[str]] = {}
        """Fleet → its devices."""
        for spec in scenario.devices:
            self.fleets.setdefault(spec.fleet, []).append(spec.name)
        self._instances: dict[str, int] = {}
        self._views: dict[tuple[tuple[str, Any], ...], Mapping[str, Any]] = {}
        self._apps: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._requests = 0
        self.unanswered: dict[tuple[str, int, str], Unmet] = {}
        """Actions with an expectation whose answer is still to come."""
        self._set_up()

    # --- setting up ------------------------------------------------------------------------------

    def _set_up(self) -> None:
        self.cloudside.connect(self._call_device)
        for kind in ("user", "vpn"):
            self.command(AddKey(key=self._key(kind), kind=kind, owner="admin"))
        for fleet in sorted(self.fleets):
            self.command(CreateFleet(name=fleet, uuid=self.fleet_uuid(fleet)))
            key = self._key("provisioning", fleet)
            self.command(AddKey(key=key, kind="provisioning", owner=fleet))
            publish(self, self.scenario.releases[fleet], fleet=fleet)
        for name in VPN_SERVERS:
            self.tunnels.hosts.start(name)
        for number, spec in enumerate(self.scenario.devices):
            device = Device(spec, number, self.machines, seed=self.seed)
            self.devices[spec.name] = device
            if spec.fresh:
                self.provision(device, preload=None)
            else:
                self.preregister(device, preload=self.scenario.releases[spec.fleet].commit)
        self._steps()

    def _steps(self) -> None:
        times = sorted({*(step.at_ms for step in self.scenario.steps), self.scenario.end_ms})
        following = dict(pairwise([*times, self.scenario.end_ms + 1]))
        self.machines.quiet_until_ms = times[0]
        for step in self.scenario.steps:
            self.agenda.at(step.at_ms, RANK_STEP, self._step, step, following[step.at_ms])

    def _step(self, step: Step, next_ms: int) -> None:
        self.machines.quiet_until_ms = next_ms
        carry_out(self, step)

    def _key(self, *what: str) -> str:
        return digest("key", self.seed, *what)

    def fleet_uuid(self, fleet: str) -> str:
        """A fleet's uuid follows from its name."""
        return digest("fleet", fleet)

    def preregister(self, device: Device, *, preload: str | None, configured: bool = True) -> None:
        """A person registers the device; its disk gets the keys, and a release if one is named."""
        spec = device.spec
        uuid, key = digest("uuid", self.seed, spec.name), self._key("device", spec.name)
        self.known(device, uuid, key)
        command = CloudPreregister(
            uuid=uuid, name=spec.name, fleet=spec.fleet, api_key=key, device_type=spec.device_type
        )
        self.tell(command, device)
        persisted = Persisted(
            uuid=uuid,
            device_api_key=key,
            registered_at_ms=self.agenda.now_ms,
            application_id=self.cloudside.cloud.fleet_id(spec.fleet),
            target=self._preloaded(spec) if preload else None,
            config=self._downloaded_config() if configured else _NO_CONFIG,
        )
        self._write_disk(device, persisted, preload)
        if self.agenda.now_ms and uuid in self.cloudside.unseen:
            self.cloudside.introduce(uuid, "preregistered")
        elif not self.agenda.now_ms:
            self.cloudside.unseen.discard(uuid)
            view = self.cloudside.view(uuid)
            # before anything happens the devices of a fleet look alike
            self.history.initial[spec.name] = self._views.setdefault(tuple(view.items()), view)

    def provision(self, device: Device, *, preload: str | None, configured: bool = True) -> None:
        """The device's disk gets an image of its fleet, with the provisioning key."""
        persisted = Persisted(
            provisioning_key=self._key("provisioning", device.spec.fleet),
            application_id=self.cloudside.cloud.fleet_id(device.spec.fleet),
            config=self._downloaded_config() if configured else _NO_CONFIG,
        )
        self._write_disk(device, persisted, preload)

    def _downloaded_config(self) -> Mapping[str, str]:
        """An OS image downloaded from a cloud has that cloud's poll interval in its config.json."""
        interval_ms = self.scenario.cloud.default_poll_interval_ms
        return without_prefix({f"BALENA_{POLL_INTERVAL}": str(interval_ms)})

    def _write_disk(self, device: Device, persisted: Persisted, preload: str | None) -> None:
        images: tuple[str, ...] = ()
        release = self.scenario.releases[device.spec.fleet]
        if preload == release.commit:
            images = tuple(images_of(device.spec.fleet, release))
        device.board.flash(persisted, images)

    def _preloaded(self, spec: DeviceSpec) -> Mapping[str, Any]:
        """``apps.json``: the device's part of the target state, without configuration."""
        place = (spec.fleet, self.scenario.releases[spec.fleet].commit)
        if place not in self._apps:
            path = f"/device/v3/fleet/{self.fleet_uuid(spec.fleet)}/state"
            response = self._ask("GET", path, self._key("user"), None)
            self._apps[place] = response.body[self.fleet_uuid(spec.fleet)]["apps"]
        return {"name": spec.name, "apps": self._apps[place], "config": _NO_CONFIG}

    def flash(self, device: Device, script: ProgressScript) -> None:
        """Boot a flasher medium: a registered device writes its internal disk and powers off."""
        if device.uuid is None:
            self.preregister(device, preload=None)
        self.conditions.run_host_program(device, script, os_version=None)

    def known(self, device: Device, uuid: str | None, key: str | None) -> None:
        """The device has this identity now."""
        if device.uuid is not None:
            self.cloudside.forget(device.uuid, device.name)
        device.uuid, device.key, device.row = uuid, key, None
        if uuid is not None:
            self.cloudside.name(uuid, device.name)
            if uuid not in self.cloudside.cloud.devices:
                self.cloudside.unseen.add(uuid)

    def clone(self, device: Device, original: Device) -> None:
        """The device's card is a copy of another one's: to the cloud they are one device."""
        if original.uuid is None:
            text = f"{original.name} has no uuid yet: nothing is copied"
            self.cloudside.note(device.name, text, of_lab=True)
            return
        before = self.cloudside.view(device.uuid) if device.uuid else {}
        device.board.insert(original.board.card())
        self.known(device, original.uuid, original.key)
        now_ms = self.agenda.now_ms
        for field, value in self.cloudside.view(original.uuid).items():
            if before.get(field) != value:
                self.history.changes.add(now_ms, device.name, field, value, "cloned")

    # --- what steps do ---------------------------------------------------------------------------

    def command(self, event: Event) -> None:
        """A person's command that the set-up depends on: it must be accepted."""
        response = self.cloudside.tell(event)
        if response is not None and response.status >= 400:
            raise LabError(f"the cloud refused {event!r}: {response.status} {response.body}")

    def tell(self, event: Event, device: Device) -> None:
        """A person's command about a device; a refusal is worth a note."""
        response = self.cloudside.tell(event)
        if response is not None and response.status >= 400:
            text = f"{type(event).__name__} answered {response.status} {response.body or ''}"
            self.cloudside.note(device.name, text.strip(), of_lab=True)

    def ask_device(
        self,
        device: Device,
        path: str,
        body: Mapping[str, Any],
        judge: Callable[[Response | None], None],
    ) -> None:
        """What the dashboard does: an action of a person, through the API and cloudlink; an API
        that is away gives no answer."""

        def answered(response: Response | Failure) -> None:
            judge(response if isinstance(response, Response) else None)

        request = self._request(
            "POST", path, self._key("user"), {"uuid": device.uuid, "method": "POST", "data": body}
        )
        self.cloudside.submit(request, None, answered)

    def as_device(self, device: Device, method: str, path: str, body: Any) -> int:
        """A raw request with a scripted device's key; the status of the answer."""
        response = self._ask(method, path, device.key or "", body)
        return response.status

    def as_vpn(self, service: str, path: str, device: Device) -> int:
        """A raw request of a VPN service instance, registered when it first speaks."""
        key = self._key("vpn")
        if service not in self._instances:
            made = self._ask("POST", "/v7/service_instance", key, {})
            self._instances[service] = made.body["id"]
        body = {"uuids": [device.uuid], "serviceId": self._instances[service]}
        return self._ask("POST", path, key, body).status

    def _ask(self, method: str, path: str, key: str, body: Any) -> Response:
        response = self.cloudside.tell(self._request(method, path, key, body))
        assert response is not None
        return response

    def _request(self, method: str, path: str, key: str, body: Any) -> Request:
        self._requests += 1
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        number = -1_000_000_000 - self._requests
        return Request(id=number, method=method, path=path, headers=headers, body=body)

    def _call_device(self, call: Any) -> None:
        names = self.cloudside.names.get(call.uuid, ())
        devices = [self.devices[name] for name in names]
        # of two with one uuid it is the one whose tunnel the server has
        reached = next((device for device in devices if device.session is not None), None)
        self.tunnels.call_device(reached, call)

    def set_registry(self, fault: Fault) -> None:
        """The registry's health, for every board."""
        self.conditions.registry_fault = fault
        for device in self.devices.values():
            self.conditions.refresh_registry(device)

    def set_delta(self, state: DeltaState) -> None:
        """The delta server's health, for every board."""
        self.conditions.delta = state
        for device in self.devices.values():
            self.conditions.refresh_registry(device)

    # --- running ---------------------------------------------------------------------------------

    def run_until(self, at_ms: int) -> None:
        """Let everything up to a moment happen; it may be called again for a later one."""
        self.agenda.run(min(at_ms, self.scenario.end_ms), self.machines)

    def run(self) -> History:
        """Let everything up to the scenario's end happen."""
        self.run_until(self.scenario.end_ms)
        self.history.end_ms = self.scenario.end_ms
        self.history.heartbeats = self.cloudside.heartbeats
        self.history.unmet.extend(self.unanswered.values())
        return self.history


def run_virtual(scenario: Scenario, *, seed: int) -> History:
    """Run a compiled scenario; the same scenario and seed give the same history.

    Raises:
        LabError: the scenario asks for what this lab cannot do.
    """
    return World(scenario, seed=seed).run()
