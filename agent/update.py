"""The update engine: from what runs to the target, round by round (``SUPERVISOR.md`` §4, §5).

A round does every step that can be done now; the next begins a moment after the last of them has
ended.  Update locks refuse a round; it is tried again after a delay that doubles.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from . import contracts
from .backoff import backoff_ms
from .config import ImageRow
from .containers import Containers
from .device_config import local_mode, overrides_locks, poll_interval_ms
from .durations import pretty
from .effects import CancelPull, ReleaseLocks, RemoveImage, TakeLocks
from .fetches import Fetches
from .mirror import uses_of
from .quirks import Quirk
from .strategies import Step, next_steps, removable_images
from .target import TargetApp, TargetError, parse_apps
from .wire_status import apps_report

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .context import Context
    from .events import EngineSnapshot, LocksRefused, LocksTaken, PullFailed

SHORT_NAME = 12
"""Characters of a commit in a note."""


class Update:
    """Everything between a target state and the containers of the device."""

    __slots__ = (
        "active",
        "apps",
        "attempts",
        "began_ms",
        "containers",
        "failures",
        "fetched_ms",
        "fetches",
        "fetching_ms",
        "force",
        "held",
        "lock_wait",
        "next_ms",
        "paused",
        "queued",
        "rejected",
    )

    def __init__(self) -> None:
        self.containers = Containers()
        self.apps: tuple[TargetApp, ...] = ()
        self.rejected: tuple[str, ...] = ()
        self.began_ms = 0
        self.fetched_ms = 0
        """Time of this apply that went into pulls."""
        self.fetching_ms: int | None = None
        """Since when a pull runs."""
        self.active = False
        """A target is being applied; also while it sleeps between two tries."""
        self.paused = False
        """An action of the supervisor API has the engine to itself."""
        self.force = False
        self.queued: bool | None = None
        """Another apply waits behind this one, with this ``force``."""
        self.failures = 0
        """``f``: failed applies since the last success or new target."""
        self.next_ms: int | None = None
        self.held: tuple[str, ...] = ()
        """Apps whose lock files are ours."""
        self.lock_wait: tuple[int, str] | None = None
        self.attempts = 0
        self.fetches: Fetches | None = None
        """Of the apply under way."""

    # --- targets ---------------------------------------------------------------------------------

    def start(self, ctx: Context, engine: EngineSnapshot, *, now_ms: int) -> None:
        """Attach to the engine and apply the stored target, without asking anybody."""
        if ctx.persisted.target is not None:
            self._read(ctx, ctx.persisted.target)
        self.containers.mirror.attach(engine, ctx.persisted.images, self.apps)
        ctx.persist(images=self.containers.mirror.rows)
        if ctx.persisted.target is not None:
            self._begin(force=False, now_ms=now_ms)

    def new_target(
        self, ctx: Context, part: Mapping[str, Any], *, force: bool, now_ms: int
    ) -> None:
        """A 200: store the target, give up what is under way, apply it."""
        try:
            parse_apps(part)
        except TargetError as error:
            ctx.note(f"could not move to the new release: {error}")
            return
        ctx.persist(target=part)
        self._read(ctx, part)
        self.cancel(ctx)
        self.failures = 0
        self._begin(force=force, now_ms=now_ms)

    def _read(self, ctx: Context, part: Mapping[str, Any]) -> None:
        try:
            parsed = parse_apps(part)
        except TargetError as error:
            ctx.note(f"the stored target state cannot be applied: {error}")
            return
        self.apps, refused = contracts.judge_all(parsed, ctx.config)
        for app in refused:
            ctx.note(f"release {(app.commit or '')[:SHORT_NAME]} rejected: contract not met")
        self.rejected = tuple(app.uuid for app in refused)
        ctx.persist(target_rejected=bool(refused))

    def again(self, ctx: Context, *, force: bool, cancel: bool, now_ms: int) -> None:
        """``/v1/update`` with an unchanged target: apply once more, behind what runs or instead."""
        if self.active and not cancel:
            self.queued = force or bool(self.queued)
            return
        self.cancel(ctx)
        self._begin(force=force, now_ms=now_ms)

    def _begin(self, *, force: bool, now_ms: int) -> None:
        self.active, self.force = True, force
        self.next_ms = self.began_ms = now_ms
        self.fetched_ms = 0

    def cancel(self, ctx: Context) -> None:
        """Give up pulls, hand-overs under way and any sleep; finished layers stay in the engine."""
        for image in sorted(self.containers.mirror.pulls or ()):
            ctx.emit(CancelPull(image=image))
        self.containers.mirror.pulls = None
        self.containers.handovers = None
        self.next_ms, self.queued = None, None

    def look(self, *, now_ms: int) -> None:
        """After every event: count the time of pulls."""
        fetching = bool(self.containers.mirror.pulls)
        if fetching == (self.fetching_ms is None):
            if self.fetching_ms is not None:
                self.fetched_ms += now_ms - self.fetching_ms
            self.fetching_ms = now_ms if fetching else None

    def stuck(self, limit_ms: int, *, now_ms: int) -> bool:
        """An apply takes longer than the limit, its pulls not counted (§6)."""
        if not self.active or self.fetching_ms is not None:
            return False
        return now_ms - self.began_ms - self.fetched_ms >= limit_ms

    # --- rounds ----------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Something of the round is still to end."""
        containers = self.containers
        return bool(
            self.paused or self.lock_wait or containers.handovers or containers.mirror.working
        )

    def due(self, ctx: Context, *, now_ms: int) -> None:
        """The time of the next round, or of a hand-over's end, has come."""
        self.containers.end_handovers(ctx, now_ms=now_ms)
        if self.next_ms is not None and self.next_ms <= now_ms:
            self.next_ms = None
            if self.active and not self.busy:
                self._round(ctx, now_ms=now_ms)

    def deadline_ms(self) -> int | None:
        """When ``due`` has something to do."""
        handover_ms = self.containers.deadline_ms()
        if handover_ms is None:
            return self.next_ms
        return handover_ms if self.next_ms is None else min(self.next_ms, handover_ms)

    def moved_on(self, ctx: Context, *, now_ms: int) -> None:
        """A step ended; with the last of a round the next round is due."""
        if self.active and not self.busy and self.next_ms is None:
            self.next_ms = now_ms + ctx.config.step_delay_ms

    def _round(self, ctx: Context, *, now_ms: int) -> None:
        mirror = self.containers.mirror
        images = [] if local_mode(ctx.applied) else removable_images(self.apps, mirror)
        if images and not self.rejected:
            mirror.removing = tuple(images)
            for image in images:
                ctx.emit(RemoveImage(image=image))
            return
        steps = self._steps(ctx)
        if not steps:
            self._settle(ctx, now_ms=now_ms)
            return
        locked = [step for step in steps if step.locks and step.app not in self.held]
        if locked:
            self.take_locks(ctx, locked[0].app, force=self.force)
        began = bool(locked)
        for step in steps:
            if not (step.locks and step.app not in self.held):
                began |= self._do(ctx, step, now_ms=now_ms)
        if not began:
            self.next_ms = self._wake_ms(ctx, now_ms=now_ms)

    def _steps(self, ctx: Context) -> list[Step]:
        handover_locks = Quirk.HANDOVER_IGNORES_LOCKS not in ctx.config.quirks
        # in local mode the cloud's apps are not the device's (SUPERVISOR.md §6)
        target = () if local_mode(ctx.applied) else self.apps
        here = {app.uuid for app in target}
        # nor are those of a fleet it was moved from: what is left of them goes
        left = sorted({box.app for box in self.containers.mirror.boxes} - here)
        apps = [*target, *(TargetApp(uuid=u, id=0, commit=None, services=()) for u in left)]
        return [
            step
            for app in apps
            if app.uuid not in self.rejected
            for step in next_steps(app, self.containers.mirror, handover_locks=handover_locks)
        ]

    def _do(self, ctx: Context, step: Step, *, now_ms: int) -> bool:
        """Begin one step; whether there was something to begin."""
        if step.kind == "wait":
            return False
        if step.kind != "fetch":
            app = next((app for app in self.apps if app.uuid == step.app), None)
            self.containers.do(ctx, step, app)
            return step.kind != "relabel" or not self._after_relabel(ctx, now_ms=now_ms)
        assert step.service is not None
        self.fetches = self.fetches or Fetches()
        mirror = self.containers.mirror
        return self.fetches.begin(ctx, mirror, step.app, step.service, now_ms=now_ms)

    def _after_relabel(self, ctx: Context, *, now_ms: int) -> bool:
        """Relabelling is done at once: nothing will report its end."""
        self.next_ms = now_ms + ctx.config.step_delay_ms
        return False

    def _wake_ms(self, ctx: Context, *, now_ms: int) -> int:
        gate_ms = self.fetches.wake_ms(now_ms=now_ms) if self.fetches else None
        return now_ms + ctx.config.noop_delay_ms if gate_ms is None else gate_ms

    def _settle(self, ctx: Context, *, now_ms: int) -> None:
        """Every step is done: the commit is current, the locks are released."""
        commits = {
            app.uuid: app.commit
            for app in self.apps
            if app.commit is not None and app.uuid not in self.rejected
        }
        if commits and not local_mode(ctx.applied) and commits != ctx.persisted.current_commits:
            ctx.persist(current_commits=_shared_commits(tuple(sorted(commits.items()))))
        self.release_locks(ctx)
        self.failures, self.force, self.active = 0, False, False
        # only an apply under way looks at its times; a settled device keeps no numbers for them
        self.began_ms = self.fetched_ms = 0
        self.fetches = None
        if self.queued is not None:
            force, self.queued = self.queued, None
            self._begin(force=force, now_ms=now_ms)

    # --- locks -----------------------------------------------------------------------------------

    def take_locks(self, ctx: Context, app: str, *, force: bool) -> int:
        """Ask for the lock files of every service of an app, now and in the target."""
        services = {box.service for box in self.containers.mirror.of(app)}
        services |= {s.name for a in self.apps if a.uuid == app for s in a.services}
        self.attempts += 1
        self.lock_wait = (self.attempts, app)
        ctx.emit(
            TakeLocks(
                attempt=self.attempts,
                app=app,
                services=tuple(sorted(services)),
                force=force or overrides_locks(ctx.applied),
            )
        )
        return self.attempts

    def locks_taken(self, event: LocksTaken) -> bool:
        """Whether these are the locks that were asked for; they are held now."""
        if self.lock_wait is None or self.lock_wait[0] != event.attempt:
            return False
        app = self.lock_wait[1]
        self.lock_wait = None
        if app not in self.held:
            self.held = (*self.held, app)
        return True

    def locks_refused(self, ctx: Context, event: LocksRefused, *, now_ms: int) -> bool:
        """A user's lock file exists: sleep, longer each time; nothing watches the file."""
        if self.lock_wait is None or self.lock_wait[0] != event.attempt:
            return False
        self.lock_wait = None
        self.failures += 1
        if self.active:
            wait_ms = backoff_ms(
                self.failures,
                first_ms=ctx.config.lock_backoff_ms,
                cap_ms=poll_interval_ms(ctx.applied, ctx.config.poll_interval_ms),
            )
            self.next_ms = now_ms + wait_ms
            ctx.note(
                f"updates are locked by service {event.service}, retrying in {wait_ms} ms",
                log=f"Updates are locked, retrying in {pretty(wait_ms)}",
            )
        return True

    def release_locks(self, ctx: Context) -> None:
        """Remove our lock files."""
        for app in self.held:
            ctx.emit(ReleaseLocks(app=app))
        self.held = ()

    # --- pulls -----------------------------------------------------------------------------------

    def pull_progressed(self, image: str, percent: int) -> None:
        """A pull moved on."""
        pulls = self.containers.mirror.pulls
        if pulls and image in pulls:
            pulls[image] = percent

    def pull_finished(self, ctx: Context, image: str) -> None:
        """An image is on the disk, for every service that wants it."""
        mirror = self.containers.mirror
        if not mirror.pulls or image not in mirror.pulls:
            return
        del mirror.pulls[image]
        mirror.add_rows(ImageRow(*use) for use in uses_of(self.apps) if use.image == image)
        ctx.persist(images=mirror.rows)
        if self.fetches is not None:
            self.fetches.finished(image)

    def pull_failed(self, ctx: Context, event: PullFailed, *, now_ms: int) -> None:
        """A pull gave up: what next is for ``Fetches`` to say."""
        mirror = self.containers.mirror
        if not mirror.pulls or event.image not in mirror.pulls:
            return
        del mirror.pulls[event.image]
        self.fetches = self.fetches or Fetches()
        self.fetches.failed(ctx, mirror, event, now_ms=now_ms)

    def image_removed(self, ctx: Context, image: str) -> None:
        """An image was deleted."""
        self.containers.mirror.drop_image(image)
        ctx.persist(images=self.containers.mirror.rows)

    # --- report ----------------------------------------------------------------------------------

    def report(self, ctx: Context) -> Mapping[str, Any]:
        """``apps`` of the state report."""
        settled = ctx.persisted.current_commits
        if Quirk.RELEASE_UUID_AFTER_SETTLING not in ctx.config.quirks:
            reached = {
                app.uuid: app.commit
                for app in self.apps
                if app.commit is not None
                and app.uuid not in self.rejected
                and self.containers.in_target(app)
            }
            if reached != settled:
                settled = {**settled, **reached}
        changing = None
        if Quirk.APPLYING_CHANGES_SELDOM_SAID not in ctx.config.quirks:
            changing = self.containers.changing(self.apps, self.held if self.active else ())
        return apps_report(self.apps, self.rejected, self.containers.mirror, settled, changing)


@lru_cache(maxsize=1024)
def _shared_commits(commits: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """One value for all devices on the same release."""
    return MappingProxyType(dict(commits))
