"""Actions that have the engine to themselves: restart, purge, stop a service, reboot, shut down.

All of them respect update locks (``SUPERVISOR.md`` §4, §10): 423 while a user holds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .backoff import backoff_ms
from .device_config import poll_interval_ms
from .effects import Reboot, ReplyToApi, ShutDown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .context import Context
    from .events import LocksRefused
    from .update import Update

Kind = Literal["recreate", "stop", "configure", "reboot", "shut down"]
Stage = Literal["locks", "stopping", "applying", "leaving", "sleeping"]
LOCKED = 423
UNAVAILABLE = 503


class Answer(NamedTuple):
    """How the caller wants to hear of an action."""

    call: int
    status: int
    body: Any
    v1: bool = False
    """Failures as ``{"Data", "Error"}`` instead of ``{"status", "message"}``."""
    plain: bool = False
    """Failures as their text."""

    def failure(self, status: int, text: str) -> ReplyToApi:
        """The answer of an action that was refused."""
        body: Any = {"status": "failed", "message": text}
        if self.v1:
            body = {"Data": "", "Error": text}
        elif self.plain:
            body = text
        return ReplyToApi(call=self.call, status=status, body=body)


class Action:
    """One action under way."""

    __slots__ = ("answer", "apps", "force", "host", "kind", "service", "stage")

    def __init__(
        self,
        kind: Kind,
        apps: list[str],
        *,
        service: str | None = None,
        force: bool = False,
        answer: Answer | None = None,
        host: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.apps = apps
        """Apps whose locks are still to be taken; the first is the one acted on."""
        self.service = service
        self.force = force
        self.answer = answer
        self.host = host
        """Of ``configure``: what the host OS is set to."""
        self.stage: Stage = "locks"


class Actions:
    """At most one action at a time."""

    __slots__ = ("app", "current", "next_ms")

    def __init__(self) -> None:
        self.current: Action | None = None
        self.app: str | None = None
        self.next_ms: int | None = None

    def begin(self, ctx: Context, update: Update, action: Action, *, now_ms: int) -> None:
        """Start an action, or refuse it while another one runs."""
        if self.current is not None or update.lock_wait is not None:
            if action.answer is not None:
                text = "another action is under way"
                ctx.emit(action.answer.failure(UNAVAILABLE, text))
            return
        self.current = action
        self.app = action.apps[0] if action.apps else None
        update.cancel(ctx)
        update.paused = True
        self._next_lock(ctx, update, now_ms=now_ms)

    def _next_lock(self, ctx: Context, update: Update, *, now_ms: int) -> None:
        action = self.current
        assert action is not None
        while action.apps and action.apps[0] in update.held:
            action.apps.pop(0)
        if action.apps:
            action.stage = "locks"
            update.take_locks(ctx, action.apps.pop(0), force=action.force)
        else:
            self._locked(ctx, update, action, now_ms=now_ms)

    def locks_taken(self, ctx: Context, update: Update, *, now_ms: int) -> None:
        """The locks of one app are ours."""
        if self.current is not None and self.current.stage == "locks":
            self._next_lock(ctx, update, now_ms=now_ms)

    def locks_refused(
        self, ctx: Context, update: Update, event: LocksRefused, *, now_ms: int
    ) -> None:
        """A user's lock: the caller hears 423; a reboot of our own is tried again."""
        action = self.current
        if action is None or action.stage != "locks":
            return
        text = f"Lockfile exists for {{ app: {event.app}, service: {event.service} }}"
        update.release_locks(ctx)
        if action.answer is not None:
            ctx.emit(action.answer.failure(LOCKED, text))
            self._end(ctx, update, now_ms=now_ms)
            return
        wait_ms = backoff_ms(
            update.failures,
            first_ms=ctx.config.lock_backoff_ms,
            cap_ms=poll_interval_ms(ctx.applied, ctx.config.poll_interval_ms),
        )
        ctx.note(f"the reboot is locked by service {event.service}, retrying in {wait_ms} ms")
        action.stage = "sleeping"
        self.next_ms = now_ms + wait_ms
        update.paused = False

    def _locked(self, ctx: Context, update: Update, action: Action, *, now_ms: int) -> None:
        if action.kind in ("reboot", "shut down"):
            if action.answer is not None:
                self._reply(ctx, action.answer)
            action.stage = "leaving"
            self.next_ms = now_ms + ctx.config.reboot_delay_ms
            return
        action.stage = "stopping"
        if action.kind == "configure":
            ctx.persist(host=action.host or {})
            update.release_locks(ctx)
            if action.answer is not None:
                self._reply(ctx, action.answer)
            self._end(ctx, update, now_ms=now_ms)
            return
        containers = update.containers
        for box in containers.mirror.of(self.app or "", action.service):
            if action.kind == "recreate":
                containers.kill(ctx, box)
            elif box.state == "running" and box.doing is None:
                containers.keep = (*containers.keep, box.name)
                containers.stop(ctx, box)
        self.moved_on(ctx, update, now_ms=now_ms)

    def moved_on(self, ctx: Context, update: Update, *, now_ms: int) -> None:
        """The engine finished something: perhaps the last thing of this stage."""
        action = self.current
        if action is None:
            return
        if action.stage == "stopping":
            boxes = update.containers.mirror.of(self.app or "", action.service)
            if any(box.doing is not None for box in boxes):
                return
            if action.kind == "recreate":
                action.stage = "applying"
                update.paused = False
                update.again(ctx, force=False, cancel=True, now_ms=now_ms)
                return
            update.release_locks(ctx)
        elif action.stage != "applying" or update.active:
            return
        if action.answer is not None:
            self._reply(ctx, action.answer)
        self._end(ctx, update, now_ms=now_ms)

    def due(self, ctx: Context, *, now_ms: int) -> None:
        """Leave, or try the locks again."""
        if self.next_ms is None or self.next_ms > now_ms:
            return
        self.next_ms = None
        action = self.current
        if action is None:
            return
        if action.stage == "leaving":
            ctx.emit(Reboot() if action.kind == "reboot" else ShutDown())
        elif action.stage == "sleeping":
            self.current = None

    def _end(self, ctx: Context, update: Update, *, now_ms: int) -> None:
        self.current = None
        update.paused = False
        if update.active and update.next_ms is None:
            wait_ms = ctx.config.step_delay_ms
            if update.failures:
                wait_ms = backoff_ms(
                    update.failures,
                    first_ms=ctx.config.lock_backoff_ms,
                    cap_ms=poll_interval_ms(ctx.applied, ctx.config.poll_interval_ms),
                )
            update.next_ms = now_ms + wait_ms

    @staticmethod
    def _reply(ctx: Context, answer: Answer) -> None:
        ctx.emit(ReplyToApi(call=answer.call, status=answer.status, body=answer.body))
