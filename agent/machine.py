"""One supervisor process: ``Agent`` takes events and gives effects, and knows no clock.

A reboot or a restart of the supervisor makes a new ``Agent`` with the last value of ``Persist``.
What this holds besides is memory: ETag, failure counters, sleeps (``SUPERVISOR.md §6``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .actions import Action, Actions
from .api import api_called
from .context import Context
from .device_config import local_mode, needs_reboot, poll_interval_ms, vpn_enabled, without_prefix
from .effects import MarkRebootNeeded, SetVpn
from .events import (
    ApiCalled,
    BoardMeasured,
    ContainerChanged,
    Event,
    HandoverSignalled,
    ImageRemoved,
    LocksRefused,
    LocksTaken,
    PullFailed,
    PullFinished,
    PullProgressed,
    RequestFailed,
    ResponseReceived,
    Started,
    TimerFired,
)
from .poll import Poll
from .provision import Provision, provisioned
from .report import Report
from .tags import Tags
from .update import Update

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import AgentConfig, Draws, Persisted
    from .effects import Effect

RESTART_MS = 10_000
"""The host's ``RestartSec`` of a supervisor that failed (``SUPERVISOR.md §7``)."""
HEALTHY_INTERVALS = 2
"""Poll intervals without a successful poll before the supervisor is unhealthy (§6)."""


class Agent:
    """A supervisor from its start to its end."""

    __slots__ = (
        "_actions",
        "_deadline_ms",
        "_started_ms",
        "_steady",
        "_tags",
        "_vpn_on",
        "ctx",
        "poll",
        "provision",
        "report",
        "update",
        "vpn_connected",
    )

    def __init__(self, config: AgentConfig, persisted: Persisted, draws: Draws) -> None:
        self.ctx: Context = Context(config, persisted, draws)
        self.poll = Poll()
        self.report = Report()
        self.update = Update()
        self._actions: Actions | None = None
        self._tags: Tags | None = None
        self.provision: Provision | None = None
        self._vpn_on = True
        self.vpn_connected = False
        """What the host says of the tunnel (``vpn_status/active``); a driver writes it."""
        self._started_ms = 0
        self._deadline_ms: int | None = None
        self._steady = False

    @property
    def actions(self) -> Actions:
        """Actions of the supervisor API; most devices never see one."""
        if self._actions is None:
            self._actions = Actions()
        return self._actions

    @property
    def tags(self) -> Tags:
        """Tags of user code; most devices never see one."""
        if self._tags is None:
            self._tags = Tags()
        return self._tags

    # --- the machine -----------------------------------------------------------------------------

    def handle(self, event: Event, *, now_ms: int) -> list[Effect]:
        """Take one event; what to do about it, in order."""
        ctx = self.ctx
        match event:
            case TimerFired():
                self._due(now_ms=now_ms)
            case ResponseReceived() | RequestFailed():
                self._answered(event, now_ms=now_ms)
            case Started():
                self._start(event, now_ms=now_ms)
            case ApiCalled():
                api_called(self, event, now_ms=now_ms)
            case BoardMeasured():
                self.report.measured(event.readings)
            case _:
                self._engine(event, now_ms=now_ms)
        self._look_around(now_ms=now_ms)
        return ctx.take()

    def next_deadline_ms(self) -> int | None:
        """When ``TimerFired`` is wanted; ``None`` while only an answer can move things on."""
        return self._deadline_ms

    def _look_around(self, *, now_ms: int) -> None:
        """After every event: report what changed, reboot if it is time, know the next deadline."""
        self.update.look(now_ms=now_ms)
        containers = self.update.containers
        if (
            containers.reboot_needed
            and (self._actions is None or self._actions.current is None)
            and not self.update.active
            and not self.update.busy
        ):
            self._reboot(now_ms=now_ms)
        if self.report.started:
            self.report.consider(self.ctx, self._apps(), now_ms=now_ms)
        waiting = (
            self.poll.next_ms if self.poll.waiting is None else None,
            self.report.next_ms,
            self.update.deadline_ms(),
            self._actions.next_ms if self._actions else None,
            self.provision.next_ms if self.provision else None,
            self._tags.next_ms if self._tags else None,
        )
        times = [at_ms for at_ms in waiting if at_ms is not None]
        self._deadline_ms = min(times) if times else None
        self._steady = (
            waiting[0] is not None
            and len(times) == 1
            and self.report.waiting is None
            and self.provision is None
            and self.poll.failures == 0
            and self.poll.instant is None
            and self.poll.undelivered is None
            and self.poll.etag is not None
        )

    def _apps(self) -> Mapping[str, Any] | None:
        if local_mode(self.ctx.applied):
            return None
        return self.update.report(self.ctx)

    def _due(self, *, now_ms: int) -> None:
        ctx = self.ctx
        if self.provision is not None:
            self.provision.due(ctx, now_ms=now_ms)
        if self._actions is not None:
            self._actions.due(ctx, now_ms=now_ms)
        if self._tags is not None:
            self._tags.due(ctx, now_ms=now_ms)
        self.update.due(ctx, now_ms=now_ms)
        self._action_moved_on(now_ms=now_ms)
        self.poll.due(ctx, now_ms=now_ms)
        if self.report.due(now_ms=now_ms) and self.report.failures:
            self.report.retry(ctx, self._apps())

    # --- start -----------------------------------------------------------------------------------

    def _start(self, event: Started, *, now_ms: int) -> None:
        ctx = self.ctx
        self._started_ms = now_ms
        if ctx.persisted.api_secret is None:
            ctx.persist(api_secret=ctx.secret())
        if not event.cold_boot:
            # the initial apply forces the VPN on, whatever was configured (§6)
            ctx.emit(SetVpn(enabled=True))
        self.update.containers.reboot_needed = event.reboot_needed
        self.update.start(ctx, event.engine, now_ms=now_ms)
        self.report.restore(event.report_cache)
        if provisioned(ctx):
            self._begin_talking(now_ms=now_ms)
        else:
            self.provision = Provision()
            self.provision.start(ctx)

    def _begin_talking(self, *, now_ms: int) -> None:
        """Reports first, then polls, a moment apart (§3)."""
        self.provision = None
        self.report.start(self.ctx)
        self.poll.start(self.ctx, now_ms=now_ms)
        self.poll.due(self.ctx, now_ms=now_ms)
        if self.ctx.persisted.tags:
            self.tags.start(self.ctx, now_ms=now_ms)

    # --- answers ---------------------------------------------------------------------------------

    def _answered(self, event: ResponseReceived | RequestFailed, *, now_ms: int) -> None:
        ctx, instant = self.ctx, self.poll.instant
        if event.id == self.poll.waiting:
            if isinstance(event, RequestFailed):
                self.poll.no_answer(ctx, event, now_ms=now_ms)
            else:
                part = self.poll.answered(ctx, event, now_ms=now_ms)
                if self.poll.last_success_ms is not None:
                    self._started_ms = 0  # looked at before the first success alone
                if part is not None:
                    self._new_target(part, force=False, now_ms=now_ms)
        elif event.id == self.report.waiting:
            if isinstance(event, RequestFailed):
                self.report.no_answer(ctx, event, now_ms=now_ms)
            else:
                self.report.answered(ctx, event, now_ms=now_ms)
        elif instant is not None and event.id == instant[0]:
            self.poll.instant = None
            if isinstance(event, ResponseReceived):
                self._instant(event, force=instant[1], cancel=instant[2], now_ms=now_ms)
        elif self.provision is not None and event.id == self.provision.waiting:
            self._provisioning(self.provision, event, now_ms=now_ms)
        elif self._tags is not None:
            self._tags.answered(ctx, event, now_ms=now_ms)

    def _provisioning(
        self, provision: Provision, event: ResponseReceived | RequestFailed, *, now_ms: int
    ) -> None:
        if isinstance(event, RequestFailed):
            provision.failed(self.ctx, event, now_ms=now_ms)
            return
        state = provision.answered(self.ctx, event, now_ms=now_ms)
        if state is not None:
            self.poll.etag, self.poll.undelivered = state[0] or None, state[1]
        if provisioned(self.ctx):
            self._begin_talking(now_ms=now_ms)

    def _instant(self, event: ResponseReceived, *, force: bool, cancel: bool, now_ms: int) -> None:
        """The GET of ``/v1/update``: its failures are swallowed (§1)."""
        news = self.poll.read(self.ctx, event)
        if isinstance(news, str):
            return
        if news is not None:
            self._new_target(news, force=force, now_ms=now_ms)
        elif event.status == 304:
            self.update.again(self.ctx, force=force, cancel=cancel, now_ms=now_ms)

    def _new_target(self, part: Mapping[str, Any], *, force: bool, now_ms: int) -> None:
        """Configuration first, then the apps."""
        ctx = self.ctx
        variables = part.get("config")
        wanted = without_prefix(variables if isinstance(variables, dict) else {})
        if wanted != ctx.applied:
            if needs_reboot(ctx.applied, wanted):
                self.update.containers.reboot_needed = True
                ctx.emit(MarkRebootNeeded())
            ctx.persist(config=wanted)
        self.poll.apply_interval(ctx)
        if vpn_enabled(wanted) != self._vpn_on:
            self._vpn_on = not self._vpn_on
            ctx.emit(SetVpn(enabled=self._vpn_on))
        self.update.new_target(ctx, part, force=force, now_ms=now_ms)

    # --- the engine ------------------------------------------------------------------------------

    def _engine(
        self,
        event: PullProgressed
        | PullFinished
        | PullFailed
        | ImageRemoved
        | ContainerChanged
        | LocksTaken
        | LocksRefused
        | HandoverSignalled,
        *,
        now_ms: int,
    ) -> None:
        ctx, update = self.ctx, self.update
        match event:
            case PullProgressed():
                update.pull_progressed(event.image, event.percent)
                return
            case PullFinished():
                update.pull_finished(ctx, event.image)
            case PullFailed():
                update.pull_failed(ctx, event, now_ms=now_ms)
            case ImageRemoved():
                update.image_removed(ctx, event.image)
            case ContainerChanged():
                update.containers.changed(ctx, event, now_ms=now_ms)
            case LocksTaken():
                if update.locks_taken(event) and self._actions is not None:
                    self._actions.locks_taken(ctx, update, now_ms=now_ms)
            case LocksRefused():
                if update.locks_refused(ctx, event, now_ms=now_ms) and self._actions is not None:
                    self._actions.locks_refused(ctx, update, event, now_ms=now_ms)
            case HandoverSignalled():
                update.containers.signalled(ctx, event.service)
        self._action_moved_on(now_ms=now_ms)
        update.moved_on(ctx, now_ms=now_ms)

    def _action_moved_on(self, *, now_ms: int) -> None:
        if self._actions is not None:
            self._actions.moved_on(self.ctx, self.update, now_ms=now_ms)

    def _reboot(self, *, now_ms: int) -> None:
        """Something needs a reboot and nothing else is to be done (§6)."""
        apps = sorted({box.app for box in self.update.containers.mirror.boxes})
        self.actions.begin(self.ctx, self.update, Action("reboot", apps), now_ms=now_ms)

    def healthy(self, *, now_ms: int) -> bool:
        """``/v1/healthy``: a poll succeeded in the last two intervals, no apply is stuck (§6)."""
        limit_ms = HEALTHY_INTERVALS * poll_interval_ms(
            self.ctx.applied, self.ctx.config.poll_interval_ms
        )
        since = self.poll.last_success_ms
        polled = now_ms - (self._started_ms if since is None else since) < limit_ms
        return polled and not self.update.stuck(limit_ms, now_ms=now_ms)

    # --- the short way ---------------------------------------------------------------------------

    def steady_poll_etag(self) -> str | None:
        """The ETag of the poll due next, if a 304 to it would change nothing but the next delay."""
        return self.poll.etag if self._steady else None

    def steady_poll_done(self, *, sent_ms: int, answered_ms: int) -> int:
        """What ``TimerFired`` at ``sent_ms`` and a 304 at ``answered_ms`` do; the next deadline.

        Only while ``steady_poll_etag`` gives an ETag.  ``sent_ms`` is the deadline.
        """
        assert sent_ms == self._deadline_ms
        self.ctx.requests += 1
        self.poll.succeeded(self.ctx, now_ms=answered_ms)
        assert self.poll.next_ms is not None
        self._deadline_ms = self.poll.next_ms
        return self.poll.next_ms
