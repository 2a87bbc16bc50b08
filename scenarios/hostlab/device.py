"""A device of a host lab: a real ``fieldbeat agent`` at its site."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

from agent.config import Persisted
from agent.daemon.config_json import DeviceConfig
from agent.daemon.disk import FileDisk
from agent.daemon.processes import marked
from agent.daemon.registry import Images
from agent.device_config import POLL_INTERVAL, without_prefix

from ..streams import digest
from .card import Card
from .netns import kill_all, pids, signal_all
from .places import NAMES, PLACES
from .topology import unplug

if TYPE_CHECKING:
    from pathlib import Path

    from ..model import DeviceSpec
    from .cloud import CloudProcess, Fleet
    from .works import Works

STOP_S = 20.0
START_S = 0.5
"""Real seconds that a program takes to start: a part of a board's boot."""
SERVICES_S, SERVICES_TRIES = 0.05, 40
"""Between two looks whether services have stopped, and how many looks."""
IN_ITS_OWN_WORLD = """
mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"
"""
"""``ip netns exec`` gives a program mounts of its own: those two files are the device's."""
NSSWITCH = "hosts: files dns\n"
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
        *,
        split: bool,
        card: bool,
        boot_ms: int,
    ) -> None:
        """Nothing runs before ``power_on``.

        Args:
            spec: what the scenario says of it.
            works: its site.
            folder: for what survives a power cut; ``run`` in it does not.
            cloud: where it belongs to.
            fleet: of the cloud.
            split: supervisor and cloudlink are two processes, as on a board.
            card: its disk must be able to be full.
            boot_ms: from power to supervisor, of the run's time.
        """
        self.spec, self.works, self.site, self.folder = spec, works, works.site, folder
        self.uuid: str | None = None
        self._cloud, self._fleet = cloud, fleet
        self.split = split
        self.card: Card | None = None
        self._wants_card = card
        self._boot_ms = boot_ms
        self._booting: asyncio.Task[None] | None = None
        self._cut = asyncio.Event()
        self._programs: dict[str, asyncio.subprocess.Process] = {}
        self._config = folder / "config.json"
        # what is not on its disk must not fill it
        self._beside = folder.with_name(f"{folder.name}.host") if card else folder
        self._run, self.log = self._beside / "run", self._beside / "agent.log"

    # --- its disk --------------------------------------------------------------------------------

    async def flash(self, seed: int, preload: str | None) -> None:
        """Write its disk; a device that is not fresh is registered, with its release on it.

        Args:
            seed: of the run.
            preload: commit of the release; ``None``: nothing, and the device registers itself.
        """
        if self._wants_card:
            self.card = Card(self.folder)
            self._beside.mkdir()
        else:
            self.folder.mkdir()
        (self.folder / "resolv.conf").write_text(self.works.resolv_conf())
        (self.folder / "nsswitch.conf").write_text(NSSWITCH)
        values: dict[str, Any] = {
            "apiEndpoint": f"http://{NAMES['api']}:{PLACES['api'].port}",
            "vpnEndpoint": NAMES["vpn"],
            "vpnPort": PLACES["vpn"].port,
            "applicationId": self._fleet.id,
            "deviceType": self.spec.device_type,
            "apiKey": self._fleet.provisioning_key,
        }
        if preload is not None:
            self.uuid = digest("uuid", seed, self.spec.name)
            key = digest("key", seed, "device", self.spec.name)
            made = await self._register(self.uuid, key)
            del values["apiKey"]
            values |= {"uuid": self.uuid, "deviceApiKey": key, "registered_at": 1, "deviceId": made}
        self._config.write_text(json.dumps(values))
        await self._write_state(preload)

    async def _register(self, uuid: str, key: str) -> int:
        body = {
            "application": self._fleet.id,
            "uuid": uuid,
            "device_type": self.spec.device_type,
            "api_key": key,
        }
        headers = {"Authorization": f"Bearer {self._fleet.provisioning_key}"}
        url = f"{self._cloud.url}/device/register"
        async with self._cloud.session.post(url, json=body, headers=headers) as answer:
            answer.raise_for_status()
            number: int = (await answer.json())["id"]
        rename = f"/v7/device({number})"
        await self._cloud.must("PATCH", rename, {"device_name": self.spec.name})
        return number

    async def _write_state(self, preload: str | None) -> None:
        state = self.folder / "state"
        state.mkdir()
        config = DeviceConfig(self._config)
        target = None
        if preload is not None:
            path = f"/device/v3/fleet/{self._fleet.uuid}/state"
            found = await self._cloud.must("GET", path)
            apps = found[self._fleet.uuid]["apps"]
            target = {"name": self.spec.name, "apps": apps, "config": {}}
            await self._preload(state, config, self._fleet.images[preload])
        downloaded = without_prefix({f"BALENA_{POLL_INTERVAL}": str(self._cloud.poll_interval_ms)})
        persisted = Persisted(**{**config.identity(), "target": target, "config": downloaded})
        FileDisk(config, state).save(persisted)

    async def _preload(self, state: Path, config: DeviceConfig, images: list[str]) -> None:
        identity = config.identity()
        store = Images(
            state / "images",
            self._cloud.session,
            plain=[f"{NAMES['registry']}:{PLACES['registry'].port}"],
            credentials=lambda: (f"d_{identity['uuid']}", identity["device_api_key"]),
            arch=platform.machine(),
        )
        for image in images:
            await store.pull(image, lambda _: None)

    # --- power -----------------------------------------------------------------------------------

    async def power_on(self) -> None:
        """Power comes: the board boots; the agent starts, and cloudlink where it is a program of
        its own."""
        if self._programs or self._booting is not None:
            return
        if self.works.plugged:
            self.works.plug()
        self._cut = asyncio.Event()
        self._booting = asyncio.get_running_loop().create_task(self._boot(self._cut))

    async def _boot(self, cut: asyncio.Event) -> None:
        wait_s = max(0.0, self._boot_ms / 1_000 / self._cloud.clock.speed - START_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await cut.wait()
                return
        if self.split:
            await self._start("cloudlink")
            await self._start("supervisor")
        else:
            await self._start("all")
        self._booting = None

    async def _not_booting(self) -> None:
        """A board that boots does so no more."""
        task, self._booting = self._booting, None
        if task is not None:
            self._cut.set()  # what has begun to start is there to be killed
            await asyncio.gather(task, return_exceptions=True)

    async def _start(self, part: str) -> None:
        clock, folder = self._cloud.clock, self.folder
        path = os.pathsep.join((str(self._beside / "bin"), os.environ.get("PATH", os.defpath)))
        with self.log.open("ab") as log:
            self._programs[part] = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", self.site.device, "sh", "-c", IN_ITS_OWN_WORLD, "sh"),
                *(str(folder / "resolv.conf"), str(folder / "nsswitch.conf")),
                *(sys.executable, "-m", "scenarios", "agent"),
                *("--config", str(self._config), "--listen", EVERYWHERE),
                *("--state", str(folder / "state"), "--run", str(self._run)),
                *("--behaviour", self.spec.behaviour, "--speed", str(clock.speed)),
                *("--tunnel", self._cloud.tunnel, "--part", part),
                *("--boot-time", str(self._boot_ms / 1_000)),
                *("--insecure-registry", f"{NAMES['registry']}:{PLACES['registry'].port}"),
                stdout=log,
                stderr=log,
                env={**os.environ, **clock.environment(), "PATH": path},
            )

    async def power_off(self) -> None:
        """Cut the power: not one packet gets out, everything dies, the memory is gone."""
        unplug(self.site)
        await self._not_booting()
        await self._killed()
        self._forget()

    async def reboot(self) -> None:
        """From its shell: programs are asked to stop, then it starts again."""
        await self.stop()
        self._forget()
        await self.power_on()

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
                known.send_signal(signal.SIGSTOP)
            case "stop" if known is not None:
                await self._end("supervisor")
            case "start" if "cloudlink" in self._programs:
                if known is not None:  # it hangs: whoever starts it again kills it first
                    await self._end("supervisor", kill=True)
                await self._start("supervisor")
            case _:
                pass

    async def _end(self, part: str, *, kill: bool = False) -> None:
        process = self._programs.pop(part)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill() if kill else process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _killed(self) -> None:
        kill_all(self.site.device)
        programs, self._programs = self._programs, {}
        for process in programs.values():
            await process.wait()

    def _forget(self) -> None:
        """What lies in memory is gone: locks, the last report."""
        shutil.rmtree(self._run, ignore_errors=True)

    # --- its files -------------------------------------------------------------------------------

    def lock_files(self, service: str | None, services: list[str]) -> list[Path]:
        """Lock files of a service, or of all."""
        base = self._run / "services" / str(self._fleet.id)
        return [base / name / "updates.lock" for name in ([service] if service else services)]

    def handover_files(self, service: str | None, services: list[str]) -> list[Path]:
        """Where a new service says that the old one may go."""
        return [path.with_name("handover-complete") for path in self.lock_files(service, services)]

    def processes_of(self, service: str) -> list[int]:
        """The session leaders of a service's containers that run."""
        folder = self.folder / "state" / "containers"
        running = marked(str(folder.resolve()))
        found = []
        for path in sorted(folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                value = json.loads(path.read_text())
                if value["container"]["service"] == service and value["mark"] in running:
                    found.append(running[value["mark"]].pid)
        return found

    def undervolt(self, *, on: bool) -> None:
        """Its firmware says so: a program in the place of a Raspberry Pi's ``vcgencmd``."""
        folder = self._beside / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "vcgencmd"
        aside = program.with_name("vcgencmd.new")
        aside.write_text(f"#!/bin/sh\necho throttled={'0x50005' if on else '0x0'}\n")
        aside.chmod(0o755)
        aside.replace(program)
