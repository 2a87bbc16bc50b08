"""Containers under way: stop and remove, create and start, hand over (``SUPERVISOR.md §5``)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from .effects import (
    CreateContainer,
    MarkRebootNeeded,
    RelabelContainer,
    RemoveContainer,
    StartContainer,
    StopContainer,
)
from .mirror import Box, Mirror, Use
from .quirks import Quirk

if TYPE_CHECKING:
    from .context import Context
    from .events import ContainerChanged
    from .strategies import Step
    from .target import TargetApp, TargetService


class Handover:
    """The old and the new container of a service run side by side."""

    __slots__ = ("deadline_ms", "new", "old", "timeout_ms")

    def __init__(self, old: Box, new: Box, timeout_ms: int) -> None:
        self.old = old
        self.new = new
        self.timeout_ms = timeout_ms
        self.deadline_ms: int | None = None
        """Set once the new container runs."""


class Containers:
    """Carries single steps out; which ones is decided elsewhere."""

    __slots__ = ("handovers", "keep", "mirror", "reboot_needed")

    def __init__(self) -> None:
        self.mirror = Mirror()
        self.handovers: dict[str, Handover] | None = None
        """By service."""
        self.keep: tuple[str, ...] = ()
        """Containers that are stopped, not removed (``stop-service``)."""
        self.reboot_needed = False

    def do(self, ctx: Context, step: Step, app: TargetApp | None) -> None:
        """Begin a step that concerns a container."""
        match step.kind:
            case "kill":
                assert step.box is not None
                self.kill(ctx, step.box)
            case "relabel":
                assert step.box is not None
                assert app is not None
                assert app.commit is not None
                self._relabel(ctx, step.box, name_of(app, step.box.service), app.commit)
            case "start":
                assert step.box is not None
                self.start(ctx, step.box)
            case "install" | "hand over":
                assert app is not None
                assert step.service is not None
                if step.kind == "hand over":
                    assert step.box is not None
                    self._relabel(ctx, step.box, f"old_{step.box.name}", step.box.commit)
                new = self._create(ctx, app, step.service)
                if step.kind == "hand over" and step.box is not None:
                    timeout_ms = step.service.handover_timeout_ms
                    if timeout_ms is None:
                        timeout_ms = ctx.config.handover_timeout_ms
                    self.handovers = self.handovers or {}
                    self.handovers[new.service] = Handover(step.box, new, timeout_ms)
            case "fetch" | "wait":
                raise AssertionError(f"no container in step {step.kind}")

    def kill(self, ctx: Context, box: Box) -> None:
        """Stop a container and remove it."""
        if box.doing is not None:
            return
        if box.state == "running":
            self.stop(ctx, box)
        else:
            box.doing = "removing"
            ctx.emit(RemoveContainer(name=box.name))

    def stop(self, ctx: Context, box: Box) -> None:
        """SIGTERM, then SIGKILL after the grace."""
        box.doing = "stopping"
        ctx.emit(StopContainer(name=box.name, grace_ms=ctx.config.stop_grace_ms))

    def start(self, ctx: Context, box: Box) -> None:
        """Start a container that is there."""
        box.doing = "starting"
        ctx.emit(StartContainer(name=box.name))

    def _create(self, ctx: Context, app: TargetApp, service: TargetService) -> Box:
        assert app.commit is not None
        use = Use(service.image, app.uuid, service.name, app.commit)
        box = Box(name_of(app, service.name), use, "created", service.setup)
        box.doing = "creating"
        box.waits_reboot = service.requires_reboot
        self.mirror.add_box(box)
        ctx.emit(
            CreateContainer(
                name=box.name,
                app=box.app,
                service=box.service,
                commit=box.commit,
                image=box.image,
                setup=box.setup,
            )
        )
        return box

    def _relabel(self, ctx: Context, box: Box, name: str, commit: str) -> None:
        ctx.emit(RelabelContainer(name=box.name, new_name=name, commit=commit))
        box.name, box.commit = name, commit

    # --- what the engine tells -------------------------------------------------------------------

    def changed(self, ctx: Context, event: ContainerChanged, *, now_ms: int) -> None:
        """A container changed its state, asked for or not."""
        box = self.mirror.find(event.name)
        if box is None:
            return
        if event.state == "removed":
            self.mirror.drop_box(box)
            self._forget_handover(box)
            return
        box.state = event.state
        match box.doing:
            case "creating":
                self._created(ctx, box)
            case "starting":
                box.doing = None
                self._started(ctx, box, now_ms=now_ms)
            case "stopping" if event.state != "running":
                self._stopped(ctx, box)
            case _:
                pass

    def _created(self, ctx: Context, box: Box) -> None:
        box.doing = None
        if box.state == "dead":
            return
        if box.waits_reboot:
            self.reboot_needed = True
            ctx.emit(MarkRebootNeeded())
        else:
            self.start(ctx, box)

    def _stopped(self, ctx: Context, box: Box) -> None:
        if box.name in self.keep:
            self.keep = tuple(name for name in self.keep if name != box.name)
            box.doing = None
        else:
            box.doing = "removing"
            ctx.emit(RemoveContainer(name=box.name))

    def _started(self, ctx: Context, box: Box, *, now_ms: int) -> None:
        handover = (self.handovers or {}).get(box.service)
        if handover is not None and handover.new is box:
            if Quirk.HANDOVER_DOES_NOT_WAIT in ctx.config.quirks:
                self._end_handover(ctx, box.service)
            else:
                handover.deadline_ms = now_ms + handover.timeout_ms

    # --- hand-over -------------------------------------------------------------------------------

    def signalled(self, ctx: Context, service: str) -> None:
        """The new container says that it has taken over."""
        handover = (self.handovers or {}).get(service)
        if handover is not None and handover.deadline_ms is not None:
            self._end_handover(ctx, service)

    def end_handovers(self, ctx: Context, *, now_ms: int) -> None:
        """Hand-overs whose time is over: the old container goes anyway."""
        for service, handover in sorted((self.handovers or {}).items()):
            if handover.deadline_ms is not None and handover.deadline_ms <= now_ms:
                self._end_handover(ctx, service)

    def _end_handover(self, ctx: Context, service: str) -> None:
        assert self.handovers is not None
        old = self.handovers.pop(service).old
        if not self.handovers:
            self.handovers = None
        if any(box is old for box in self.mirror.boxes):
            self.kill(ctx, old)

    def _forget_handover(self, box: Box) -> None:
        for service, handover in sorted((self.handovers or {}).items()):
            if handover.new is box and self.handovers is not None:
                del self.handovers[service]
        self.handovers = self.handovers or None

    def deadline_ms(self) -> int | None:
        """When the next hand-over's time is over."""
        if not self.handovers:
            return None
        times = [h.deadline_ms for h in self.handovers.values() if h.deadline_ms is not None]
        return min(times, default=None)

    # --- state -----------------------------------------------------------------------------------

    def changing(self, apps: tuple[TargetApp, ...], locked: tuple[str, ...]) -> tuple[str, ...]:
        """Apps whose containers go or come, ``locked`` ones also between the two."""
        found = {box.app for box in self.mirror.boxes if box.doing is not None}
        found |= {
            app.uuid
            for app in apps
            if app.uuid in locked
            and any(not self.mirror.of(app.uuid, service.name) for service in app.services)
        }
        return tuple(sorted(found))

    def in_target(self, app: TargetApp) -> bool:
        """Each service of the release has its container, started, and there is no other one."""
        boxes = self.mirror.of(app.uuid)
        wanted = {service.name: service for service in app.services}
        return len(boxes) == len(wanted) and all(
            box.commit == app.commit
            and box.service in wanted
            and box.fits(wanted[box.service])
            and box.doing is None
            and (box.state in ("running", "exited") or box.waits_reboot)
            for box in boxes
        )


@lru_cache(maxsize=1024)
def name_of(app: TargetApp, service: str) -> str:
    """The name of a service's container."""
    return f"{service}_{app.id}_{app.commit}"
