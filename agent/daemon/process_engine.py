"""A container engine whose images are real downloads and whose containers are processes.

``containers/<name>.json`` holds each container; what runs is what user code or the default workload
(``workload``) does.  The restart policy is the composition's, ``always`` where it has none; after
crashes it has the engine's waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp

from .. import effects as do
from ..events import (
    Container,
    ContainerChanged,
    EngineSnapshot,
    ImageRemoved,
    PullFailed,
    PullFinished,
    PullProgressed,
)
from . import boxes
from .deltas import DeltaError
from .files import remove
from .output import Outputs
from .processes import MARK, Process, marked
from .registry import PullError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ..events import Event
    from .boxes import Box
    from .engine import EngineEffect
    from .locks import Locks
    from .output import Output
    from .processes import Identity
    from .registry import Images

_log = logging.getLogger("fieldbeat.engine")
CRASH_S = 0.1
"""First wait of the restart policy; doubles with every crash."""
CRASH_MAX_S = 60.0
STEADY_S = 10.0
"""A process that ran so long has not crashed on start."""
STOP_ALL_S = 1.5
"""How long services may take when the agent ends."""


class ProcessEngine:
    """Images and containers of one device."""

    def __init__(
        self,
        folder: Path,
        images: Images,
        locks: Locks,
        *,
        environment: Mapping[str, str],
        logs: Path | None = None,
    ) -> None:
        """Open the folder and start what ran when the power went.

        Args:
            folder: of containers and their data; made if it is not there.
            images: what is on the disk, and the way to get more.
            locks: where lock files are.
            environment: of every service.
            logs: folder of what services say; beside the containers where not given.
        """
        self._folder = folder / "containers"
        self._data = folder / "data"
        self._images = images
        self._locks = locks
        self._environment = dict(environment)
        self._boxes: dict[str, Box] = {}
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._tell: Callable[[Event], None] = lambda _: None
        self._closing = False
        said = logs or self._folder
        self._outputs = Outputs(said)
        for made in (self._folder, said):
            made.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("*.json")):
            box = boxes.read(path)
            if box is not None:
                self._boxes[box.known.name] = box
        self._left = marked(self._mark)
        """Processes of an earlier agent."""

    def attach(self, tell: Callable[[Event], None]) -> None:
        """From now on tell what happens here; what should run is seen to."""
        self._tell = tell
        left, self._left = self._left, {}
        for box in list(self._boxes.values()):
            if not box.wanted or box.process is not None:
                continue
            known = left.pop(box.mark, None)
            if known is None or not self._adopt(box, known):
                self._run(box)
        for known in left.values():
            # its container is gone, or was stopped
            with contextlib.suppress(ProcessLookupError):
                os.killpg(known.pid, signal.SIGKILL)

    def _adopt(self, box: Box, known: Identity) -> bool:
        """Watch a process of an earlier agent."""
        try:
            box.process = Process(known, lambda process: self._ended(box, process))
        except OSError:
            return False
        # what it wrote before was told by the earlier agent
        self._outputs.follow(box.mark, box.service_id)
        self._state(box, "running")
        return True

    def output(self) -> list[Output]:
        """What services have written since the last call."""
        return self._outputs.take()

    @property
    def _mark(self) -> str:
        return str(self._folder.resolve())

    def snapshot(self) -> EngineSnapshot:
        """What there is."""
        boxes = tuple(box.known for box in self._boxes.values())
        return EngineSnapshot(images=self._images.names, containers=boxes)

    def app_id(self, app: str) -> int | None:
        """The number of an app, by its uuid, that has containers."""
        return next((box.app_id for box in self._boxes.values() if box.known.app == app), None)

    # --- effects ---------------------------------------------------------------------------------

    def carry_out(self, effect: EngineEffect, service: Mapping[str, Any]) -> None:
        """Begin what an effect says; its end is told."""
        match effect:
            case do.PullImage():
                self._pull(effect.image, effect.base)
            case do.CancelPull():
                task = self._pulls.pop(effect.image, None)
                if task is not None:
                    task.cancel()
            case do.RemoveImage():
                self._images.remove(effect.image)
                self._soon(ImageRemoved(image=effect.image))
            case do.CreateContainer():
                self._create(effect, service)
            case _:
                box = self._boxes.get(effect.name)
                if box is not None:
                    self._change(box, effect)

    def _change(
        self,
        box: Box,
        effect: do.StartContainer | do.StopContainer | do.RemoveContainer | do.RelabelContainer,
    ) -> None:
        match effect:
            case do.StartContainer():
                box.wanted = True
                self._run(box)
            case do.StopContainer():
                box.wanted = False
                self._stop(box, effect.grace_ms / 1_000)
            case do.RemoveContainer():
                del self._boxes[effect.name]
                remove(self._path(effect.name))
                self._outputs.forget(box.mark)
                self._soon(ContainerChanged(name=effect.name, state="removed"))
            case do.RelabelContainer():
                del self._boxes[effect.name]
                box.known = replace(box.known, name=effect.new_name, commit=effect.commit)
                self._boxes[effect.new_name] = box
                self._store(box)
                remove(self._path(effect.name))

    def _soon(self, event: Event) -> None:
        asyncio.get_running_loop().call_soon(self._tell, event)

    # --- images ----------------------------------------------------------------------------------

    def _pull(self, image: str, base: str) -> None:
        if image not in self._pulls:
            self._pulls[image] = asyncio.create_task(self._pulled(image, base))

    async def _pulled(self, image: str, base: str) -> None:
        def progress(percent: int) -> None:
            self._tell(PullProgressed(image=image, percent=percent))

        event: Event
        try:
            await self._images.pull(image, progress, base=base)
            event = PullFinished(image=image)
        except DeltaError as error:
            event = PullFailed(image=image, reason=str(error), delta=error.kind)
        except PullError as error:
            event = PullFailed(image=image, reason=str(error))
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            event = PullFailed(image=image, reason=reason)
        self._pulls.pop(image, None)
        self._tell(event)

    # --- containers ------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _store(self, box: Box) -> None:
        boxes.store(self._path(box.known.name), box)

    def _create(self, effect: do.CreateContainer, service: Mapping[str, Any]) -> None:
        known = Container.made_by(effect)
        self._boxes[effect.name] = box = boxes.made(known, service, self._new_mark(effect.name))
        self._store(box)
        self._soon(ContainerChanged(name=effect.name, state="created"))

    def _new_mark(self, name: str) -> str:
        """Its name, unless a hand-over's old container was made under that name."""
        taken = {box.mark for box in self._boxes.values()}
        while name in taken:
            name += "+"
        return name

    def _run(self, box: Box) -> None:
        """Start its process, as soon as the engine is through with what comes before."""
        if box.again is not None:
            box.again.cancel()
            box.again = None
        if box.start_s:
            box.again = asyncio.get_running_loop().call_later(box.start_s, self._begin, box)
        else:
            self._begin(box)

    def _begin(self, box: Box) -> None:
        """Start its process; a command that cannot be run is a crash."""
        if box.process is not None or self._closing:
            return
        known = box.known
        locks = self._locks.folder(box.app_id, known.service)
        folder = self._data / str(box.app_id) / known.service
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **self._environment,
            MARK: f"{self._mark}/{box.mark}",
            "BALENA_SERVICE_NAME": known.service,
            "BALENA_APP_ID": str(box.app_id),
            "BALENA_APP_UUID": known.app,
            "BALENA_APP_RELEASE": known.commit,
            "BALENA_APP_LOCK_PATH": str(locks / "updates.lock"),
            "BALENA_SERVICE_HANDOVER_COMPLETE_PATH": str(locks / "handover-complete"),
            **box.environment,
        }
        box.gone.clear()
        self._outputs.follow(box.mark, box.service_id)
        box.started_s = asyncio.get_running_loop().time()
        try:
            box.process = Process.start(
                box.command,
                environment=environment,
                folder=folder,
                output=self._outputs.files(box.mark),
                ended=lambda process: self._ended(box, process),
            )
        except OSError as error:
            _log.error("%s: %s", known.name, error)
            self._crashed(box)
            return
        self._state(box, "running")

    def _state(self, box: Box, state: Any) -> None:
        box.known = replace(box.known, state=state)
        try:
            self._store(box)
        except OSError as error:
            # the next agent sees what runs all the same, by its mark
            _log.error("%s is not stored: %s", box.known.name, error.strerror or error)
        self._soon(ContainerChanged(name=box.known.name, state=state))

    def _stop(self, box: Box, grace_s: float) -> None:
        if box.again is not None:
            box.again.cancel()
            box.again = None
        if box.process is None:
            self._state(box, "exited")
            return
        self._store(box)
        box.process.stop(grace_s)

    def _ended(self, box: Box, process: Process) -> None:
        if box.process is process:
            box.process = None
        self._outputs.ended(box.mark)
        box.gone.set()
        if self._closing or box.known.name not in self._boxes:
            return
        if box.wanted and not box.comes_back(process.status):
            box.wanted = False
        self._state(box, "exited")
        if box.wanted:
            self._crashed(box)

    def _crashed(self, box: Box) -> None:
        """The restart policy: again, later with every crash."""
        loop = asyncio.get_running_loop()
        if loop.time() - box.started_s > STEADY_S:
            box.crashes = 0
        wait_s = min(CRASH_S * 2 ** min(box.crashes, 20), CRASH_MAX_S)
        box.crashes += 1
        box.again = loop.call_later(wait_s, self._run, box)

    # --- the end ---------------------------------------------------------------------------------

    async def stop_all(self) -> None:
        """Stop every process; what should run comes back with the next start."""
        running = [box for box in self._boxes.values() if box.process is not None]
        self._closing = True
        try:
            for box in self._boxes.values():
                if box.again is not None:
                    box.again.cancel()
            for box in running:
                if box.process is not None:
                    box.process.stop(STOP_ALL_S / 2)
            await asyncio.gather(*(box.gone.wait() for box in running))
        finally:
            self._closing = False

    async def close(self) -> None:
        """Give up downloads; what has arrived stays."""
        self._closing = True
        for task in list(self._pulls.values()):
            task.cancel()
        await asyncio.gather(*self._pulls.values(), return_exceptions=True)
