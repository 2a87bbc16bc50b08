"""Runs a scenario in the host lab: sets up, does the steps in time, gives what the cloud showed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from agent.daemon.registry import PullError
from cloud_stub.observe import FIELDS

from .. import verbs
from ..clock import Clock
from ..errors import LabError
from ..history import History, Mark, Note
from ..simulation.steps import describe
from .cloud import CloudProcess, Fleet
from .device import LabDevice
from .netns import Names, needs, own_prefix, sweep
from .places import SITES_MAX
from .steps import carry_out, refuse_what_cannot_be
from .topology import make_cloud
from .wire import can_have_wires
from .works import Works

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..how import How
    from ..model import Scenario, Step

VPN = "vpn1"
"""The one VPN service instance."""
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
        self.fleet: Fleet
        self._folder = folder
        self._names = Names()
        self._began_ms = 0
        self._initial: dict[str, dict[str, Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def now_ms(self) -> int:
        """Since the scenario began."""
        return self.clock.now_ms() - self._began_ms

    def note(self, device: LabDevice, text: str) -> None:
        """A line of the run's history."""
        self.history.notes.append(Note(self.now_ms(), device.spec.name, text))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something while the timeline goes on."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> History:
        """Set up, run, and remove everything.

        Raises:
            LabError: something could not be made.
        """
        try:
            await self._set_up()
            await self._timeline()
            return self.history
        except (aiohttp.ClientError, PullError, TimeoutError) as error:
            words = str(error) or type(error).__name__
            raise LabError(f"the lab's cloud did not answer as it should: {words}") from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise LabError(f"the lab failed: {where}{error.strerror or error}") from error
        finally:
            await self._clean_up()

    async def _set_up(self) -> None:
        scenario = self.scenario
        namespace = make_cloud(self._names)
        self.cloud = CloudProcess(namespace, self._folder, self.clock, self._tunnel)
        self.cloud.poll_interval_ms = scenario.cloud.default_poll_interval_ms
        await self.cloud.start(scenario)
        first = scenario.devices[0]
        self.fleet = await Fleet.make(self.cloud, first.fleet, first.device_type)
        await self.fleet.release(scenario.releases[first.fleet])
        bad, split = _met_by(scenario, verbs.Impair), _met_by(scenario, verbs.Supervisor)
        full = _met_by(scenario, verbs.Disk)
        felt = scenario.links.latency_ms / self.clock.speed >= FELT_MS and not can_have_wires()
        for number, spec in enumerate(scenario.devices, 1):
            works = Works(
                self._names,
                namespace,
                number,
                name=spec.name,
                seed=self.seed,
                speed=self.clock.speed,
                bad=spec.name in bad or felt,
                latency_ms=scenario.links.latency_ms if felt else 0,
            )
            device = LabDevice(
                spec,
                works,
                self._folder / spec.name,
                self.cloud,
                self.fleet,
                split=spec.name in split,
                card=spec.name in full,
                boot_ms=scenario.links.boot_ms,
            )
            self.devices[spec.name] = device
            await works.start()
            preload = None if spec.fresh else scenario.releases[spec.fleet].commit
            await device.flash(self.seed, preload)
            if device.uuid is not None:
                path = f"/fieldbeat/v1/devices/{device.uuid}"
                self._initial[spec.name] = await self.cloud.must("GET", path)
        await asyncio.gather(*(device.works.reachable() for device in self.devices.values()))
        await self.cloud.registry_rate(scenario.links.registry_bytes_per_second)

    async def _timeline(self) -> None:
        scenario = self.scenario
        self._began_ms = self.clock.now_ms()
        for step in scenario.steps:
            await self._sleep_until(step.at_ms)
            text = describe(step.action)
            self.history.marks.append(Mark(self.now_ms(), step.id, text, step.devices))
            await carry_out(self, step)
        await self._sleep_until(scenario.end_ms)
        self.history.end_ms = scenario.end_ms
        await asyncio.sleep(SETTLE_MS / 1_000 / self.clock.speed + 0.5)
        await self._record()

    async def _sleep_until(self, at_ms: int) -> None:
        left_ms = max(0, at_ms - self.now_ms())
        await asyncio.sleep(left_ms / 1_000 / self.clock.speed)

    async def _record(self) -> None:
        """What the cloud showed, from its own history: before the timeline and in it."""
        for device in self.devices.values():
            if device.uuid is None:
                device.uuid = _uuid_of(device.folder)
        names = {d.uuid: name for name, d in self.devices.items() if d.uuid is not None}
        blank: dict[str, Any] = dict.fromkeys(FIELDS)
        initial = {name: {**blank, **self._initial.get(name, {})} for name in self.devices}
        later = []
        for event in await self.cloud.events():
            name = names.get(event["device"])
            if name is None:
                continue
            at_ms = _ms(event["at"]) - self._began_ms
            if 0 <= at_ms <= self.scenario.end_ms:
                later.append((at_ms, name, event))
        recorded = History(initial)
        recorded.marks, recorded.notes = self.history.marks, self.history.notes
        recorded.unmet, recorded.end_ms = self.history.unmet, self.history.end_ms
        for at_ms, name, event in later:
            recorded.changes.add(at_ms, name, event["field"], event["to"], event["cause"])
        self.history = recorded

    async def _clean_up(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(device.stop() for device in self.devices.values()))
        await asyncio.gather(*(device.works.close() for device in self.devices.values()))
        if hasattr(self, "cloud"):
            with contextlib.suppress(LabError):
                await self.cloud.close()
        self._names.remove()
        for device in self.devices.values():
            with contextlib.suppress(LabError):
                device.close(keep=self._keep)


def _uuid_of(folder: Path) -> str | None:
    import json

    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "config.json").read_text()).get("uuid")
        return found if isinstance(found, str) else None
    return None


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def _met_by(scenario: Scenario, verb: type[verbs.Verb]) -> set[str]:
    """Names of the devices that a verb is done to."""
    return {name for step in _steps_of(scenario, verb) for name in step.devices}


def _steps_of(scenario: Scenario, verb: type[verbs.Verb]) -> list[Step]:
    return [step for step in scenario.steps if isinstance(step.action, verb)]


def _releases(scenario: Scenario) -> list[Any]:
    steps = [step.action for step in scenario.steps]
    return [
        *scenario.releases.values(),
        *(action for action in steps if isinstance(action, verbs.Release)),
    ]


def check_host(scenario: Scenario) -> None:
    """Raise ``LabError`` for what this lab cannot do, and for what this machine lacks."""
    refuse_what_cannot_be(scenario)
    if len({device.fleet for device in scenario.devices}) > 1:
        raise LabError("the host lab has one fleet")
    for step in _steps_of(scenario, verbs.VpnServer):
        name = getattr(step.action, "name", None)
        if name not in (None, VPN):
            raise LabError(f"the host lab has one VPN server, {VPN}, and none of the name {name}")
    if len(scenario.devices) > SITES_MAX:
        raise LabError(f"the host lab has {SITES_MAX} sites, not {len(scenario.devices)}")
    needs()


def run_host(scenario: Scenario, how: How, *, seed: int) -> History:
    """Run a compiled scenario with real processes.

    Args:
        scenario: what to do.
        how: speed, tunnel, what to keep.
        seed: of uuids and keys.

    Raises:
        LabError: this machine, or this lab, cannot do it.
    """
    check_host(scenario)
    temporary = Path(tempfile.gettempdir())
    sweep(temporary)
    with tempfile.TemporaryDirectory(prefix=f"{own_prefix()}-") as made:
        folder = Path(made)
        if how.keep is not None:
            folder = how.keep / scenario.file.name.partition(".")[0]
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        world = HostWorld(scenario, how, seed=seed, folder=folder)
        try:
            return asyncio.run(world.run())
        finally:
            sweep(temporary)
