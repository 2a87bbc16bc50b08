"""Runs a scenario in the host lab: sets up, does the steps in time, gives what the cloud showed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from agent.daemon.registry import PullError

from .. import verbs
from ..clock import Clock
from ..errors import LabError
from ..fields import kind_of
from ..history import History, Mark, Note
from ..interrupts import terminated_as_interrupted, undisturbed
from ..simulation.steps import describe
from .cloud import CloudProcess
from .counted import traffic_of
from .device import LabDevice
from .fleets import Fleet
from .kept import device_folder, kept_folder
from .netns import Names, needs, own_prefix, sweep, unmount_below
from .ntp import DeviceClock, TimeServer
from .places import SITES_MAX
from .preloaded import Preloaded
from .recorded import Identity, Seen, history_of
from .scripted import VpnInstances
from .steps import carry_out, refuse_what_cannot_be
from .topology import make_cloud
from .vpn_servers import VpnServers, ports_of
from .watch import watching
from .wire import can_have_wires
from .works import Works

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence

    from ..history import Traffic, Unmet
    from ..how import How
    from ..model import DeviceSpec, Scenario, Step

FELT_MS = 1.0
"""Less latency than so much of real time is lost in what the programs themselves take."""
SETTLE_MS = 1_500
"""After the end: batches of the VPN service that were under way, and the store's last commit."""


class HostWorld:
    """A run: processes, namespaces, and what is recorded of them."""

    def __init__(self, scenario: Scenario, how: How, *, seed: int, folder: Path) -> None:
        """Nothing is made before ``run``."""
        self._tunnel, self._keep = how.tunnel, how.keep is not None
        self.scenario, self.seed = scenario, seed
        self.clock = Clock.begin(how.speed)
        self.history = History({})
        self.devices: dict[str, LabDevice] = {}
        self.services = sorted(
            {name for release in _releases(scenario) for name in release.services}
        )
        self.cloud: CloudProcess
        self.vpn_servers: VpnServers
        self.fleets: dict[str, Fleet] = {}
        self.clocks: dict[str, DeviceClock] = {}
        """Of the devices whose clock the scenario changes."""
        self.instances = VpnInstances()
        self.agents = Preloaded()
        self._time: TimeServer | None = None
        self._folder = folder
        self._names = Names()
        self._began_ms = 0
        self._rows: dict[str, dict[str, Any]] = {}
        """uuid → what was shown of it before the scenario began."""
        self._identities: dict[str, list[Identity]] = {}
        self.unanswered: dict[tuple[str, int, str], Unmet] = {}
        """Actions that were expected to be answered, and have not been yet."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._wrong: list[BaseException] = []
        """What tasks ended with."""

    def now_ms(self) -> int:
        """Since the scenario began."""
        return self.clock.now_ms() - self._began_ms

    def note(self, device: LabDevice, text: str) -> None:
        """What this lab saw, or was told, of a device."""
        self.history.notes.append(Note(self.now_ms(), device.spec.name, text, of_lab=True))

    def flashed(self, device: LabDevice, cause: str, *, registered: bool = False) -> None:
        """The device's disk is about to be another one: so will be its uuid."""
        known = self._identities[device.spec.name]
        if known[-1].uuid is None:
            known[-1] = known[-1]._replace(uuid=device.uuid)
        known.append(Identity(self.now_ms(), None, cause, registered))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something while the timeline goes on."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._wrong.append(error)

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> History:
        """Set up, run, and remove everything.

        Raises:
            LabError: something could not be made.
        """
        try:
            await self._set_up()
            async with watching(self):
                await self._timeline()
            return self.history
        except (aiohttp.ClientError, PullError, TimeoutError) as error:
            words = await self.cloud.why_ended() if hasattr(self, "cloud") else None
            if words is not None:
                raise LabError(f"the cloud ended: {words}") from error
            words = str(error) or type(error).__name__
            raise LabError(f"the lab's cloud did not answer as it should: {words}") from error
        except shutil.Error as error:  # of a folder that was copied: each file's
            raise LabError(f"the lab failed: {error.args[0][0][2]}") from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise LabError(f"the lab failed: {where}{error.strerror or error}") from error
        finally:
            await self._clean_up()

    async def _set_up(self) -> None:
        scenario = self.scenario
        namespace = make_cloud(self._names)
        await self.agents.start()
        wrong = _met_by(scenario, verbs.Clock)
        self.cloud = CloudProcess(
            namespace, self._folder, self.clock, self._tunnel, tls=bool(wrong)
        )
        self.cloud.poll_interval_ms = scenario.cloud.default_poll_interval_ms
        await self.cloud.start(scenario)
        if wrong:
            self._time = TimeServer(namespace, self.clock)
            await self._time.start()
        mortal = frozenset(
            step.action.name
            for step in scenario.steps
            if isinstance(step.action, verbs.Service) and step.action.state == "exit"
        )
        kinds = {spec.fleet: spec.device_type for spec in scenario.devices}
        for name in sorted({*kinds, *_named_fleets(scenario)}):
            kind = kinds.get(name, scenario.devices[0].device_type)
            self.fleets[name] = await Fleet.make(self.cloud, name, kind, mortal=mortal)
            if name in scenario.releases:
                await self.fleets[name].release(scenario.releases[name])
                # it takes a second, and a step must not
                await self.fleets[name].fetched(scenario.releases[name].commit)
        for number, spec in enumerate(scenario.devices, 1):
            await self._device(number, spec, namespace)
        self.vpn_servers = VpnServers(self.cloud, ports_of(scenario))
        self.vpn_servers.begin(device.works.site for device in self.devices.values())
        await asyncio.gather(*(device.works.reachable() for device in self.devices.values()))
        await self.cloud.registry_rate(scenario.links.registry_bytes_per_second)

    async def _device(self, number: int, spec: DeviceSpec, namespace: str) -> None:
        scenario, name = self.scenario, spec.name
        steered = name in _met_by(scenario, verbs.Clock)
        felt = scenario.links.latency_ms / self.clock.speed >= FELT_MS and not can_have_wires()
        works = Works(
            self._names,
            namespace,
            number,
            name=name,
            seed=self.seed,
            speed=self.clock.speed,
            bad=felt or name in _met_by(scenario, verbs.Impair),
            remembers=name in _met_by_memory(scenario),
            latency_ms=scenario.links.latency_ms if felt else 0,
        )
        device = LabDevice(
            spec,
            works,
            self._folder / device_folder(number, name),
            self.cloud,
            self.fleets[spec.fleet],
            self.agents,
            split=name in _met_by(scenario, verbs.Supervisor),
            card=name in _met_by(scenario, verbs.Disk),
            clock=steered,
            boot_ms=scenario.links.boot_ms,
        )
        self.devices[name] = device
        if steered:
            note, powered = partial(self.note, device), lambda: device.powered
            self.clocks[name] = DeviceClock(
                works.site, device.clock_file, self.clock, powered=powered, note=note
            )
        await works.start()
        device.make()
        if spec.fresh:
            await device.provision(preload=None)
        else:
            await device.preregister(self.seed, preload=scenario.releases[spec.fleet].commit)
        if device.uuid is not None:
            path = f"/fieldbeat/v1/devices/{device.uuid}"
            self._rows[device.uuid] = await self.cloud.must("GET", path)
        self._identities[name] = [Identity(0, device.uuid, "began")]

    async def _timeline(self) -> None:
        scenario = self.scenario
        self._began_ms = self.clock.now_ms()
        for step in scenario.steps:
            await self.sleep_until(step.at_ms)
            text = describe(step.action)
            self.history.marks.append(Mark(self.now_ms(), step.id, text, step.devices))
            self._must_be_well()
            await carry_out(self, step)
        await self.sleep_until(scenario.end_ms)
        self._must_be_well()
        self.history.end_ms = scenario.end_ms
        await asyncio.sleep(SETTLE_MS / 1_000 / self.clock.speed + 0.5)
        await self._record()

    def _must_be_well(self) -> None:
        for error in self._wrong:
            raise error
        for device in self.devices.values():
            device.must_boot()

    async def sleep_until(self, at_ms: int) -> None:
        """Wait for a moment of the scenario."""
        left_ms = max(0, at_ms - self.now_ms())
        await asyncio.sleep(left_ms / 1_000 / self.clock.speed)

    async def _record(self) -> None:
        """What the cloud showed, from its own history: before the timeline and in it."""
        for name, found in self._identities.items():
            if found[-1].uuid is None:
                found[-1] = found[-1]._replace(uuid=self.devices[name].uuid)
        events = [
            Seen(
                _ms(event["at"]) - self._began_ms,
                event["device"],
                event["field"],
                self._value(event["field"], event["from"]),
                self._value(event["field"], event["to"]),
                event["cause"],
            )
            for event in await self.cloud.events()
        ]
        inside = [event for event in events if 0 <= event.at_ms <= self.scenario.end_ms]
        final = {}
        for uuid in {event.uuid for event in inside} | set(_uuids(self._identities)):
            status, row = await self.cloud.ask("GET", f"/fieldbeat/v1/devices/{uuid}")
            if status < 400:
                final[uuid] = self._row(row)
        rows = {uuid: self._row(row) for uuid, row in self._rows.items()}
        recorded = history_of(rows, self._identities, inside, final)
        recorded.marks, recorded.notes = self.history.marks, self.history.notes
        recorded.unmet = [*self.history.unmet, *self.unanswered.values()]
        recorded.end_ms = self.history.end_ms
        recorded.traffic = self._counted()
        ever = (list(self.devices), -self._began_ms, self.scenario.end_ms)
        recorded.heartbeats, _ = recorded.traffic.count("heartbeats", *ever)
        self.history = recorded

    def _counted(self) -> Traffic:
        """What reached the cloud's API, and what came back."""
        whose = {
            address: device.spec.name
            for device in self.devices.values()
            for address in device.works.addresses
        }
        with self.cloud.traffic.open() as lines:
            return traffic_of(lines, whose, self._identities, began_ms=self._began_ms)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {field: self._value(field, value) for field, value in row.items()}

    def _value(self, field: str, value: Any) -> Any:
        """A field's value as every lab has it: moments in ms since the scenario began."""
        moment = kind_of(field) == "moment" and isinstance(value, str)
        return _ms(value) - self._began_ms if moment else value

    async def _clean_up(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for clock in self.clocks.values():
            clock.close()
        await asyncio.gather(*(device.stop() for device in self.devices.values()))
        await asyncio.gather(*(device.works.close() for device in self.devices.values()))
        await self.agents.close()
        if self._time is not None:
            self._time.close()
        if hasattr(self, "cloud"):
            with contextlib.suppress(LabError):
                await self.cloud.close()
        self._names.remove()
        for device in self.devices.values():
            with contextlib.suppress(LabError):
                device.close(keep=self._keep)

    def abandon(self) -> None:
        """Whoever interrupts twice has cut the cleaning up short: what is left of it is killed."""
        self._names.remove()
        unmount_below(self._folder)


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def _met_by(scenario: Scenario, verb: type[verbs.Verb]) -> set[str]:
    """Names of the devices that a verb is done to."""
    return {name for step in _steps_of(scenario, verb) for name in step.devices}


def _met_by_memory(scenario: Scenario) -> set[str]:
    """Names of the devices whose link at some time forgets connections, or closes idle ones."""
    return {
        name
        for step in scenario.steps
        if isinstance(step.action, verbs.Impair)
        and (step.action.nat_timeout_ms, step.action.idle_timeout_ms) != (None, None)
        for name in step.devices
    }


def _steps_of(scenario: Scenario, verb: type[verbs.Verb]) -> list[Step]:
    return [step for step in scenario.steps if isinstance(step.action, verb)]


def _uuids(identities: Mapping[str, Sequence[Identity]]) -> Iterator[str]:
    for found in identities.values():
        yield from (identity.uuid for identity in found if identity.uuid is not None)


def _named_fleets(scenario: Scenario) -> set[str]:
    """Fleets that steps speak of."""
    named = {getattr(step.action, "fleet", None) for step in scenario.steps}
    return {name for name in named if name is not None}


def _releases(scenario: Scenario) -> list[Any]:
    steps = [step.action for step in scenario.steps]
    return [
        *scenario.releases.values(),
        *(action for action in steps if isinstance(action, verbs.Release)),
    ]


def check_host(scenario: Scenario, tunnel: str) -> None:
    """Raise ``LabError`` for what this lab cannot do, and for what this machine lacks."""
    refuse_what_cannot_be(scenario)
    ports_of(scenario)
    if len(scenario.devices) > SITES_MAX:
        raise LabError(f"the host lab has {SITES_MAX} sites, not {len(scenario.devices)}")
    needs(tunnel)


def run_host(scenario: Scenario, how: How, *, seed: int) -> History:
    """Run a compiled scenario with real processes.

    Args:
        scenario: what to do.
        how: speed, tunnel, what to keep.
        seed: of uuids and keys.

    Raises:
        LabError: this machine, or this lab, cannot do it.
    """
    check_host(scenario, how.tunnel)
    temporary = Path(tempfile.gettempdir())
    sweep(temporary)
    with (
        terminated_as_interrupted(),
        tempfile.TemporaryDirectory(prefix=f"{own_prefix()}-") as made,
    ):
        folder = Path(made)
        if how.keep is not None:
            folder = kept_folder(how.keep, scenario)
        world = HostWorld(scenario, how, seed=seed, folder=folder)
        try:
            return asyncio.run(world.run())
        finally:
            with undisturbed():
                world.abandon()
                sweep(temporary)
