"""A simulated board: its disk, container engine, tmpfs and power, without any I/O of its own.

It carries out what a supervisor wants (``agent.effects``) and gives back what happens
(``agent.events``): at once from ``carry_out``, later through ``next_deadline_ms``/``advance``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from agent import effects as do
from agent.events import (
    Container,
    ContainerChanged,
    EngineSnapshot,
    Event,
    HandoverSignalled,
    ImageRemoved,
    LocksRefused,
    LocksTaken,
    PullFailed,
    PullFinished,
)

from .cards import Card, DiskState, shared, shared_boxes, without_power
from .pulls import Catalog, Pulls, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config import Persisted

__all__ = ["Board", "Catalog"]

CREATE_MS = 300
"""An engine creates a container."""
REMOVE_MS = 150
REMOVE_IMAGE_MS = 400
CRASH_RESTART_MS = 100
"""First wait of the engine's restart policy; doubles with every crash."""
CRASH_RESTART_MAX_MS = 60_000

_UNREACHED = Registry(None)
_Files = tuple[tuple[str, str], ...]


class Board:
    """One board; a steady one is a handful of shared or empty values."""

    __slots__ = (
        "_card",
        "_catalog",
        "_containers",
        "_crashes",
        "_disk",
        "_flowed",
        "_images",
        "_locks",
        "_own_locks",
        "_pulls",
        "_registry",
        "_sequence",
        "_soon",
        "_stopped",
        "persisted",
        "reboot_needed",
        "report_cache",
    )

    def __init__(self, catalog: Catalog) -> None:
        self.persisted: Persisted | None = None
        """What the disk holds of the supervisor's."""
        self.report_cache: Sequence[Any] | None = None
        """tmpfs: the last report sent."""
        self.reboot_needed = False
        """tmpfs: the reboot breadcrumb."""
        self._catalog = catalog
        self._disk: DiskState = "ok"
        self._card: Card | None = None
        """What a forgetful disk holds of late."""
        self._images: tuple[str, ...] = ()
        self._containers: tuple[Container, ...] = ()
        self._stopped: tuple[str, ...] = ()
        """Containers a person or supervisor stopped: the engine does not start them at boot."""
        self._pulls: Pulls | None = None
        self._flowed = 0
        self._registry = _UNREACHED
        self._locks: _Files = ()
        """tmpfs: users' lock files, by app and service."""
        self._own_locks: _Files = ()
        """tmpfs: the supervisor's."""
        self._soon: list[tuple[int, int, Event]] | None = None
        """What the engine is about to report: at (ms), sequence, event."""
        self._sequence = 0
        self._crashes: dict[str, int] | None = None

    # --- power -----------------------------------------------------------------------------------

    def flash(self, persisted: Persisted, images: tuple[str, ...]) -> None:
        """Write the disk from outside: configuration, keys, preloaded images."""
        self.persisted = persisted
        self._images = shared(tuple(sorted(images)))
        self._containers = self._stopped = ()
        self._pulls = None

    def power_on(self) -> None:
        """The engine starts what its restart policy says."""
        self._containers = tuple(
            replace(box, state="running")
            if box.state == "exited" and box.name not in self._stopped
            else box
            for box in self._containers
        )

    def power_cut(self) -> None:
        """Everything that is not on the disk is gone."""
        self._off()
        self._forget()

    def shut_down(self) -> None:
        """Stop in order; to the disk it makes no difference here."""
        self._off()
        self._forget()

    def _forget(self) -> None:
        """A forgetful disk is what it was when it began to forget."""
        if self._card is not None:
            self.insert(self._card)

    def card(self) -> Card:
        """A copy of the card."""
        boxes = without_power(self._containers)
        return Card(self.persisted, self._images, boxes, self._stopped)

    def insert(self, card: Card) -> None:
        """The board has this card now."""
        self.persisted, self._images, self._containers, self._stopped = card
        self._pulls = None

    def _off(self) -> None:
        self.report_cache, self.reboot_needed = None, False
        self._locks = self._own_locks = ()
        self._soon = self._crashes = None
        self._interrupt_pulls()
        self._containers = without_power(self._containers)

    def supervisor_gone(self) -> None:
        """The supervisor's process ended: its pulls end with it, the engine goes on."""
        self._interrupt_pulls()

    def _interrupt_pulls(self) -> None:
        if self._pulls is not None:
            self._flowed += self._pulls.take_flowed()
            self._pulls.interrupt_all()

    def take_flowed(self) -> int:
        """Bytes of images that arrived since the last call."""
        flowed, self._flowed = self._flowed, 0
        return flowed

    def snapshot(self) -> EngineSnapshot:
        """What the engine holds when a supervisor attaches."""
        return EngineSnapshot(images=frozenset(self._images), containers=self._containers)

    # --- time ------------------------------------------------------------------------------------

    def next_deadline_ms(self) -> int | None:
        """When ``advance`` has something to tell."""
        soon = min(self._soon)[0] if self._soon else None
        pulls = self._pulls.next_deadline_ms() if self._pulls is not None else None
        times = [at_ms for at_ms in (soon, pulls) if at_ms is not None]
        return min(times) if times else None

    def advance(self, now_ms: int) -> list[Event]:
        """Everything that has happened up to now."""
        events: list[Event] = []
        if self._soon:
            due = sorted(entry for entry in self._soon if entry[0] <= now_ms)
            self._soon = [entry for entry in self._soon if entry[0] > now_ms] or None
            for _, _, event in due:
                events += self._happens(event)
        if self._pulls is not None:
            for event in self._pulls.advance(now_ms):
                if isinstance(event, PullFinished):
                    self._images = shared(tuple(sorted({*self._images, event.image})))
                events.append(event)
            self._flowed += self._pulls.take_flowed()
            if self._pulls.empty:
                self._pulls = None
        return events

    def _later(self, at_ms: int, event: Event) -> None:
        self._sequence += 1
        self._soon = [*(self._soon or ()), (at_ms, self._sequence, event)]

    def _happens(self, event: Event) -> list[Event]:
        """The engine's own state follows what it reports."""
        match event:
            case ContainerChanged():
                box = self._find(event.name)
                if box is None:
                    return []
                if event.state == "removed":
                    self._containers = tuple(b for b in self._containers if b is not box)
                elif event.state == "running" and box.state == "running":
                    return []
                else:
                    self._set(replace(box, state=event.state))
            case ImageRemoved():
                self._images = tuple(image for image in self._images if image != event.image)
            case _:
                pass
        return [event]

    def _find(self, name: str) -> Container | None:
        return next((box for box in self._containers if box.name == name), None)

    def _set(self, new: Container) -> None:
        changed = tuple(new if box.name == new.name else box for box in self._containers)
        self._containers = shared_boxes(changed)

    # --- what the supervisor wants ---------------------------------------------------------------

    def persist(self, state: Persisted) -> bool:
        """Store the supervisor's value; whether the disk takes it."""
        if self._disk == "read_only":
            return False
        self.persisted = state
        return True

    def carry_out(self, effect: do.Effect, now_ms: int) -> list[Event]:
        """Do what an effect says; the events that follow at once."""
        match effect:
            case do.PullImage() | do.CancelPull() | do.RemoveImage():
                self._image(effect, now_ms)
            case (
                do.CreateContainer()
                | do.StartContainer()
                | do.StopContainer()
                | do.RemoveContainer()
                | do.RelabelContainer()
            ):
                self._container(effect, now_ms)
            case do.TakeLocks():
                return [self._take_locks(effect)]
            case do.ReleaseLocks():
                self._own_locks = tuple(file for file in self._own_locks if file[0] != effect.app)
            case do.CacheReport():
                self.report_cache = effect.report
            case do.MarkRebootNeeded():
                self.reboot_needed = True
            case _:
                raise AssertionError(f"not for a board: {effect!r}")
        return []

    def _image(self, effect: do.PullImage | do.CancelPull | do.RemoveImage, now_ms: int) -> None:
        match effect:
            case do.PullImage():
                if effect.image in self._images:
                    self._later(now_ms, PullFinished(image=effect.image))
                elif self._disk in ("full", "read_only"):
                    self._later(now_ms, PullFailed(image=effect.image, reason=self._disk_error()))
                else:
                    if self._pulls is None:
                        self._pulls = Pulls(self._catalog, self._registry)
                    self._pulls.begin(effect.image, now_ms, base=effect.base)
            case do.CancelPull():
                if self._pulls is not None:
                    self._pulls.cancel(effect.image, now_ms)
            case do.RemoveImage():
                self._later(now_ms + REMOVE_IMAGE_MS, ImageRemoved(image=effect.image))

    def _container(
        self,
        effect: do.CreateContainer
        | do.StartContainer
        | do.StopContainer
        | do.RemoveContainer
        | do.RelabelContainer,
        now_ms: int,
    ) -> None:
        name = effect.name
        box = self._find(name)
        times = self._catalog.times(box.image if box else "")
        match effect:
            case do.CreateContainer():
                failed = self._disk == "read_only"
                new = Container.made_by(effect, state="dead" if failed else "created")
                self._containers = (*self._containers, new)
                changed = ContainerChanged(name=name, state=new.state)
                self._later(now_ms + CREATE_MS, changed)
            case do.StartContainer():
                self._stopped = tuple(other for other in self._stopped if other != name)
                self._later(now_ms + times.start_ms, ContainerChanged(name=name, state="running"))
            case do.StopContainer():
                self._stopped = (*self._stopped, name)
                wait_ms = min(times.stop_ms, effect.grace_ms)
                self._later(now_ms + wait_ms, ContainerChanged(name=name, state="exited"))
            case do.RemoveContainer():
                self._stopped = tuple(other for other in self._stopped if other != name)
                self._later(now_ms + REMOVE_MS, ContainerChanged(name=name, state="removed"))
            case do.RelabelContainer():
                if box is not None:
                    new = replace(box, name=effect.new_name, commit=effect.commit)
                    self._containers = tuple(
                        new if other is box else other for other in self._containers
                    )

    def _take_locks(self, effect: do.TakeLocks) -> Event:
        """All or none; a user's file refuses, unless it is forced away."""
        wanted = [(effect.app, service) for service in effect.services]
        held = [file for file in wanted if file in self._locks]
        if held and not effect.force:
            app, service = held[0]
            return LocksRefused(attempt=effect.attempt, app=app, service=service)
        self._locks = tuple(file for file in self._locks if file not in held)
        self._own_locks = tuple(sorted({*self._own_locks, *wanted}))
        return LocksTaken(attempt=effect.attempt)

    # --- the site --------------------------------------------------------------------------------

    def set_registry(self, registry: Registry, now_ms: int) -> None:
        """How images flow from now on."""
        self._registry = registry
        if self._pulls is not None:
            self._pulls.set_registry(registry, now_ms)

    def _disk_error(self) -> str:
        return "no space left on device" if self._disk == "full" else "read-only file system"

    def set_disk(self, state: DiskState, now_ms: int) -> None:
        """The disk fills up, goes read-only, begins to forget, or is well again."""
        self._disk = state
        self._card = None
        if state == "forgets":
            self._card = self.card()
        if state in ("full", "read_only") and self._pulls is not None:
            self._pulls.fail_all(self._disk_error(), now_ms)

    # --- user code -------------------------------------------------------------------------------

    def services(self, app: str) -> tuple[str, ...]:
        """Services of an app that have a container, by name."""
        return tuple(sorted({box.service for box in self._containers if box.app == app}))

    def apps(self) -> tuple[str, ...]:
        """Apps that have a container."""
        return tuple(sorted({box.app for box in self._containers}))

    def hold_lock(self, app: str, service: str) -> None:
        """User code creates its lock file."""
        self._locks = tuple(sorted({*self._locks, (app, service)}))

    def release_lock(self, app: str, service: str) -> None:
        """User code removes its lock file."""
        self._locks = tuple(file for file in self._locks if file != (app, service))

    def handover_complete(self, service: str) -> list[Event]:
        """The hand-over file of a service appears."""
        return [HandoverSignalled(service=service)]

    def misbehave(
        self, service: str, state: Literal["exit", "crash", "restart"], now_ms: int
    ) -> list[Event]:
        """User code ends; the engine's restart policy starts it again, later with every crash.

        An ``exit`` is one the policy leaves alone; a ``restart`` comes back after the start time.
        """
        events: list[Event] = []
        for box in self._containers:
            if box.service != service or box.state != "running":
                continue
            events.append(ContainerChanged(name=box.name, state="exited"))
            self._set(replace(box, state="exited"))
            if state == "exit":
                self._stopped = (*self._stopped, box.name)
                continue
            wait_ms = self._catalog.times(box.image).start_ms
            if state == "crash":
                self._crashes = self._crashes or {}
                count = self._crashes.get(box.name, 0)
                self._crashes[box.name] = count + 1
                wait_ms += min(CRASH_RESTART_MS << min(count, 20), CRASH_RESTART_MAX_MS)
            self._later(now_ms + wait_ms, ContainerChanged(name=box.name, state="running"))
        return events
