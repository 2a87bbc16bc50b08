"""A device of a host lab: a real ``fieldbeat agent`` at its site."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from agent.daemon.processes import marked

from ..errors import LabError
from ..streams import digest
from . import booting, disk, nft
from .card import Card
from .netns import kill_all, pids, signal_all
from .preloaded import IN_ITS_OWN_WORLD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..model import DeviceSpec
    from .cloud import CloudProcess
    from .fleets import Fleet
    from .preloaded import Preloaded, Program
    from .works import Works

STOP_S = 20.0
START_S = 0.1
"""Real seconds that an agent takes to start: a part of a board's boot."""
SERVICES_S, SERVICES_TRIES = 0.05, 40
"""Between two looks whether services have stopped, and how many looks."""
RESOLV, SWITCH, CLOCK = "resolv.conf", "nsswitch.conf", "clock"
NSSWITCH = "hosts: files dns\n"
CONFLICT, BAD = 409, 400
EVERYWHERE = "0.0.0.0"  # noqa: S104  # also inside its tunnel; the namespace is its own


class LabDevice:
    """Its site, its disk and its program."""

    def __init__(
        self,
        spec: DeviceSpec,
        works: Works,
        folder: Path,
        cloud: CloudProcess,
        fleet: Fleet,
        agents: Preloaded,
        *,
        split: bool,
        card: bool,
        clock: bool,
        boot_ms: int,
    ) -> None:
        """Nothing runs before ``power_on``.

        Args:
            spec: what the scenario says of it.
            works: its site.
            folder: for what survives a power cut; ``run`` in it does not.
            cloud: where it belongs to.
            fleet: of the cloud.
            agents: starts its programs.
            split: supervisor and cloudlink are two processes, as on a board.
            card: its disk must be able to be full, or to forget.
            clock: its programs look at a clock that may be wrong.
            boot_ms: from power to supervisor, of the run's time.
        """
        self.spec, self.works, self.site, self.folder = spec, works, works.site, folder
        self.fleet = self.present = fleet
        """Whose image it has, and where it is by now."""
        self._cloud, self._agents = cloud, agents
        self.split = split
        self.card: Card | None = None
        self._wants_card = card
        self._boot_ms = boot_ms
        self._booting: asyncio.Task[None] | None = None
        self._cut = asyncio.Event()
        self._programs: dict[str, Program] = {}
        # what is not on its disk must neither fill it nor go with it
        self.beside = folder.with_name(f"{folder.name}.host")
        self._run, self.log = self.beside / "run", self.beside / "agent.log"
        self.clock_file = self.beside / CLOCK
        self._clock = ("--clock", str(self.clock_file)) if clock else ()
        self.life = 0
        """Counts power cycles and reboots."""

    # --- its disk --------------------------------------------------------------------------------

    def make(self) -> None:
        """Its disk is there, and empty."""
        self.beside.mkdir()
        (self.beside / RESOLV).write_text(self.works.resolv_conf())
        (self.beside / SWITCH).write_text(NSSWITCH)
        if self._wants_card:
            self.card = Card(self.folder)
        else:
            self.folder.mkdir()

    async def preregister(self, seed: int, *, preload: str | None, configured: bool = True) -> None:
        """A person registers it; its disk gets the keys, and a release if one is named.

        Args:
            seed: of the run.
            preload: commit of the release.
            configured: the image was downloaded from the cloud and has its poll interval.
        """
        uuid = digest("uuid", seed, self.spec.name)
        key = digest("key", seed, "device", self.spec.name)
        number = await self._register(uuid, key)
        identity = {"uuid": uuid, "deviceApiKey": key, "registered_at": 1, "deviceId": number}
        await self._flash(identity, preload, configured=configured)

    async def provision(self, *, preload: str | None, configured: bool = True) -> None:
        """Its disk gets an image of its fleet with the provisioning key: it registers itself."""
        key = {"apiKey": self.fleet.provisioning_key}
        await self._flash(key, preload, configured=configured)

    async def _flash(
        self, identity: Mapping[str, Any], preload: str | None, *, configured: bool
    ) -> None:
        disk.wipe(self.folder)
        await disk.write(
            self.folder,
            self._cloud,
            self.fleet,
            device_type=self.spec.device_type,
            identity=identity,
            name=self.spec.name,
            preload=preload,
            configured=configured,
        )

    async def _register(self, uuid: str, key: str) -> int:
        """The number of its row; one that is there stays."""
        body = {
            "application": self.fleet.id,
            "uuid": uuid,
            "device_type": self.spec.device_type,
            "api_key": key,
        }
        path, provisioning = "/device/register", self.fleet.provisioning_key
        status, found = await self._cloud.ask("POST", path, body, key=provisioning)
        if status == CONFLICT:
            rows = await self._cloud.rows(f"device(uuid='{uuid}')?$select=id")
            return int(rows[0]["id"])
        if status >= BAD:
            raise LabError(f"the cloud refused {path}: {status} {found}")
        number = int(found["id"])
        rename = f"/v7/device({number})"
        await self._cloud.must("PATCH", rename, {"device_name": self.spec.name})
        return number

    def clone(self, other: LabDevice) -> None:
        """Its card is a copy of another one's, with all that has been written there."""
        disk.wipe(self.folder)
        shutil.copytree(other.folder, self.folder, symlinks=True, dirs_exist_ok=True)
        self.fleet, self.present = other.fleet, other.present

    @property
    def identity(self) -> tuple[str | None, str | None]:
        """The uuid and the key on its disk."""
        return disk.identity_of(self.folder)

    @property
    def api(self) -> str:
        """Host and port of the API, as it knows it."""
        return disk.API

    @property
    def uuid(self) -> str | None:
        """As its disk says."""
        return self.identity[0]

    # --- power -----------------------------------------------------------------------------------

    async def power_on(self) -> None:
        """Power comes: the board boots; the agent starts, and cloudlink where it is a program of
        its own."""
        if self._programs and not self.powered:  # somebody shut it down through its supervisor
            await self.power_off()
        if self._programs or self._booting is not None or self.spec.scripted:
            return
        self._cut = asyncio.Event()
        self._booting = asyncio.get_running_loop().create_task(self._boot(self._cut))

    async def _boot(self, cut: asyncio.Event) -> None:
        wait_s = max(0.0, self._boot_ms / 1_000 / self._cloud.clock.speed - START_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await cut.wait()
                return
        with booting.mute(self.site.device):
            self.works.power(on=True)
            if self.split:
                await self._start("cloudlink")
                await self._start("supervisor")
            else:
                await self._start("all")
            await booting.listens(self.site.device, disk.listen_port(self.folder), cut)
        self._booting = None

    def must_boot(self) -> None:
        """Raise what a boot ended with, if it was an error.

        Raises:
            LabError: a program could not be started.
        """
        if self._booting is not None and self._booting.done():
            self._booting.result()

    async def _not_booting(self) -> None:
        """A board that boots does so no more."""
        task, self._booting = self._booting, None
        if task is not None:
            self._cut.set()  # what has begun to start is there to be killed
            await asyncio.gather(task, return_exceptions=True)

    async def _start(self, part: str) -> None:
        words = ["--part", part, "--config", str(self.folder / disk.CONFIG), *self._clock]
        words += ["--state", str(self.folder / disk.STATE), "--run", str(self._run)]
        words += ["--behaviour", self.spec.behaviour, "--listen", EVERYWHERE]
        words += ["--boot-time", str(self._boot_ms / 1_000)]
        words += ["--speed", str(self._cloud.clock.speed), "--tunnel", self._cloud.tunnel]
        if self._cloud.scheme == "http":
            words += ["--insecure-registry", disk.REGISTRY]
        self._programs[part] = await self._agents.agent(
            ("agent", *words),
            namespace=self.site.device,
            place=self.beside,
            log=self.log,
            environment=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join((str(self.beside / "bin"), os.environ.get("PATH", os.defpath)))
        return {**os.environ, **self._cloud.clock.environment(), "PATH": path}

    async def run(self, *words: str, given: bytes | None = None) -> asyncio.subprocess.Process:
        """Start Python at the device: in its namespace, with files of ``/etc`` of its own.

        Args:
            words: for Python.
            given: on its standard input.
        """
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", self.site.device, "sh", "-c", IN_ITS_OWN_WORLD, "sh"),
                *(str(self.beside), sys.executable, *words),
                stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment(),
            )
        if process.stdin is not None and given is not None:
            process.stdin.write(given)
            process.stdin.close()
        return process

    async def power_off(self) -> None:
        """Cut the power: not one packet gets out, everything dies, the memory is gone."""
        self.works.power(on=False)
        await self._not_booting()
        await self._killed()
        # nor does a kernel without power say goodbye for them later
        nft.cut(self.site.device)
        self._forget()
        if self.card is not None:
            self.card.power_gone()

    async def reboot(self) -> None:
        """From its shell: programs are asked to stop, then it starts again."""
        if not self._programs:
            return
        await self.shut_down()
        await self.power_on()

    async def shut_down(self) -> None:
        """In order: programs are asked to stop, and the memory is gone."""
        await self.stop()
        self._forget()
        if self.card is not None:
            self.card.power_gone()

    @property
    def powered(self) -> bool:
        """It has power, and its programs run: the supervisor's ends with the board."""
        ended = [program.ended for program in self._programs.values()]
        return bool(ended) and not any(ended)

    async def stop(self) -> None:
        """Ask everything to stop; what does not is killed."""
        await self._not_booting()
        for part in list(self._programs):
            await self._end(part)
        signal_all(self.site.device, signal.SIGTERM)
        for _ in range(SERVICES_TRIES):
            if not pids(self.site.device):
                return
            await asyncio.sleep(SERVICES_S)
        await self._killed()

    def close(self, *, keep: bool) -> None:
        """Its disk goes; ``keep``: what lay on it is wanted."""
        if self.card is not None:
            self.card.close(keep=keep)

    async def supervisor(self, state: str) -> None:
        """Stop, hang or start it; cloudlink and the services are other processes."""
        known = self._programs.get("supervisor")
        match state:
            case "hang" if known is not None:
                known.send(signal.SIGSTOP)
            case "stop" if known is not None:
                await self._end("supervisor")
            case "start" if "cloudlink" in self._programs:
                if known is not None:  # it hangs: whoever starts it again kills it first
                    await self._end("supervisor", kill=True)
                await self._start("supervisor")
            case _:
                pass

    async def _end(self, part: str, *, kill: bool = False) -> None:
        program = self._programs.pop(part)
        program.send(signal.SIGKILL if kill or program.hangs else signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await program.wait()
        except TimeoutError:
            program.send(signal.SIGKILL)
            await program.wait()

    async def _killed(self) -> None:
        kill_all(self.site.device)
        programs, self._programs = self._programs, {}
        for program in programs.values():
            await program.wait()

    def _forget(self) -> None:
        """What lies in memory is gone: locks, the last report."""
        self.life += 1
        shutil.rmtree(self._run, ignore_errors=True)

    # --- its files -------------------------------------------------------------------------------

    def lock_files(self, service: str | None, services: Sequence[str]) -> list[Path]:
        """Lock files of a service, or of all, in each app that has containers.

        Args:
            service: whose; ``None``: of all.
            services: of the fleet, where there is no container yet.
        """
        apps = {app_id for app_id, _ in self._containers()} or {self.fleet.id}
        found = self._containers() or {(self.fleet.id, name) for name in services}
        if service is not None:
            found = {(app_id, service) for app_id in apps}
        base = self._run / "services"
        return [base / str(app) / name / "updates.lock" for app, name in sorted(found)]

    def handover_files(self, service: str | None, services: Sequence[str]) -> list[Path]:
        """Where a new service says that the old one may go."""
        return [path.with_name("handover-complete") for path in self.lock_files(service, services)]

    def _stored(self) -> list[dict[str, Any]]:
        """Containers as the engine has stored them."""
        found = []
        for path in sorted((self.folder / disk.STATE / "containers").glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                value = json.loads(path.read_text())
                if isinstance(value, dict):
                    found.append(value)
        return found

    def _containers(self) -> set[tuple[int, str]]:
        """App and service of each container."""
        return {(value["app_id"], value["container"]["service"]) for value in self._stored()}

    def processes_of(self, service: str) -> list[int]:
        """The session leaders of a service's containers that run."""
        running = marked(str((self.folder / disk.STATE / "containers").resolve()))
        return [
            running[value["mark"]].pid
            for value in self._stored()
            if value["container"]["service"] == service and value["mark"] in running
        ]
