"""The target-state poll, which is the heartbeat (``SUPERVISOR.md §1``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .backoff import backoff_ms
from .device_config import instant_updates, poll_interval_ms
from .quirks import Quirk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .context import Context
    from .events import RequestFailed, ResponseReceived

OK = 200
NOT_MODIFIED = 304


class Poll:
    """When to ask for the target state, and what an answer means."""

    __slots__ = (
        "etag",
        "failures",
        "instant",
        "interval_ms",
        "last_success_ms",
        "next_ms",
        "undelivered",
        "waiting",
    )

    def __init__(self) -> None:
        self.etag: str | None = None
        """In memory only: after a restart the first poll is unconditional."""
        self.failures = 0
        self.interval_ms = 0
        """Applied poll interval; a new one counts from the delay after the next."""
        self.next_ms: int | None = None
        self.waiting: int | None = None
        self.instant: tuple[int, bool, bool] | None = None
        """A GET that ``/v1/update`` asked for: its number, ``force`` and ``cancel``."""
        self.last_success_ms: int | None = None
        self.undelivered: Mapping[str, Any] | None = None
        """A target state that came while provisioning; a 304 to the first poll delivers it."""

    def start(self, ctx: Context, *, now_ms: int) -> None:
        """Begin polling: at once, or without instant updates after a normal delay."""
        self.apply_interval(ctx)
        self.next_ms = now_ms if instant_updates(ctx.applied) else now_ms + self._delay_ms(ctx)

    def apply_interval(self, ctx: Context) -> None:
        """Take over the configured poll interval."""
        self.interval_ms = poll_interval_ms(ctx.applied, ctx.config.poll_interval_ms)

    def due(self, ctx: Context, *, now_ms: int) -> None:
        """Send the poll whose time has come."""
        if self.next_ms is not None and self.next_ms <= now_ms and self.waiting is None:
            self.next_ms = None
            self.waiting = self._get(ctx)

    def ask_now(self, ctx: Context, *, force: bool, cancel: bool) -> None:
        """A GET outside the cadence (``/v1/update``); the poll's own time is not moved."""
        if self.instant is None:
            self.instant = (self._get(ctx), force, cancel)
        else:
            number, forced, cancelling = self.instant
            self.instant = (number, forced or force, cancelling or cancel)

    def _get(self, ctx: Context) -> int:
        disk = ctx.persisted
        return ctx.send(
            "GET", f"/device/v3/{disk.uuid}/state", key=disk.device_api_key, etag=self.etag
        )

    # --- answers ---------------------------------------------------------------------------------

    def read(self, ctx: Context, event: ResponseReceived) -> Mapping[str, Any] | str | None:
        """The device's part of a new target; ``None`` for no news; why it failed, as text."""
        if event.status == NOT_MODIFIED:
            if self.etag is None and Quirk.UNSOLICITED_304_IS_AN_ERROR in ctx.config.quirks:
                return "HTTP 304 without a cached ETag"
            part, self.undelivered = self.undelivered, None
            return part
        if event.status != OK:
            return f"HTTP {event.status}"
        if not isinstance(event.body, dict):
            return "the answer is no JSON object"
        self.etag = event.headers.get("etag")
        self.undelivered = None
        part = event.body.get(ctx.persisted.uuid or "")
        if not isinstance(part, dict):
            ctx.note("could not move to the new release: the target state is of another device")
            return None
        return part

    def answered(
        self, ctx: Context, event: ResponseReceived, *, now_ms: int
    ) -> Mapping[str, Any] | None:
        """The answer to the poll: arm the next one; the device's part of a new target."""
        self.waiting = None
        news = self.read(ctx, event)
        if isinstance(news, str):
            self._failed(ctx, news, now_ms=now_ms)
            return None
        if self.failures:
            ctx.note(f"poll answered again after {self.failures} failures")
        self.succeeded(ctx, now_ms=now_ms)
        return news

    def succeeded(self, ctx: Context, *, now_ms: int) -> None:
        """Poll interval plus jitter until the next."""
        self.failures = 0
        self.last_success_ms = now_ms
        self.next_ms = now_ms + self._delay_ms(ctx)

    def _delay_ms(self, ctx: Context) -> int:
        return self.interval_ms + int(ctx.draws.random() * ctx.config.poll_jitter_max_ms)

    def no_answer(self, ctx: Context, event: RequestFailed, *, now_ms: int) -> None:
        """The poll got no answer."""
        self.waiting = None
        self._failed(ctx, event.reason, now_ms=now_ms)

    def _failed(self, ctx: Context, reason: str, *, now_ms: int) -> None:
        wait_ms = backoff_ms(
            self.failures, first_ms=ctx.config.backoff_min_ms, cap_ms=self.interval_ms
        )
        if self.failures == 0:
            ctx.note(f"poll failed: {reason}, next in {wait_ms} ms")
        self.failures += 1
        self.next_ms = now_ms + wait_ms
