"""Fetching images: pulls and deltas, and the gate after a failure (``SUPERVISOR.md §5``).

A delta is asked for where the service has an older image on the disk.  Where the delta server has
none, or one cannot be applied three times, the whole image is pulled instead; any other failure
waits and asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backoff import backoff_ms
from .device_config import delta_updates, poll_interval_ms
from .effects import PullImage

if TYPE_CHECKING:
    from .context import Context
    from .events import PullFailed
    from .mirror import Mirror
    from .target import TargetService

DELTA_APPLY_TRIES = 3
"""``DELTA_APPLY_RETRY_COUNT``: then the whole image is pulled."""


class Fetches:
    """What went wrong with the fetches of one apply."""

    __slots__ = ("_bases", "_gates", "_unapplied", "_whole")

    def __init__(self) -> None:
        self._gates: dict[str, tuple[int, int]] = {}
        """Image → failures of its fetch, and the time before which it is not tried again (ms)."""
        self._bases: dict[str, str] = {}
        """Image → what its delta is against."""
        self._unapplied: dict[str, int] = {}
        """Image → deltas of it that could not be applied."""
        self._whole: set[str] = set()
        """Images whose delta was given up."""

    def begin(
        self, ctx: Context, mirror: Mirror, app: str, service: TargetService, *, now_ms: int
    ) -> bool:
        """Fetch a service's image, unless it is too early or under way; whether one is."""
        image = service.image
        if self._gates.get(image, (0, 0))[1] > now_ms:
            return False
        if mirror.pulls is None:
            mirror.pulls = {}
        if image not in mirror.pulls:
            if delta_updates(ctx.applied) and image not in self._whole:
                self._bases[image] = _newest(mirror, app, service)
            self._pull(ctx, mirror, image)
        return True

    def _pull(self, ctx: Context, mirror: Mirror, image: str) -> None:
        assert mirror.pulls is not None
        mirror.pulls[image] = 0
        ctx.emit(PullImage(image=image, base=self._bases.get(image, "")))

    def wake_ms(self, *, now_ms: int) -> int | None:
        """When the first gate opens."""
        times = [at_ms for _, at_ms in self._gates.values() if at_ms > now_ms]
        return min(times, default=None)

    def finished(self, image: str) -> None:
        """The image is here."""
        self._gates.pop(image, None)

    def failed(self, ctx: Context, mirror: Mirror, event: PullFailed, *, now_ms: int) -> None:
        """A fetch gave up: at once another way, or the same way later, longer each time."""
        image = event.image
        if event.delta and image in self._bases:
            if event.delta == "broken":
                self._unapplied[image] = self._unapplied.get(image, 0) + 1
            if event.delta == "none" or self._unapplied[image] >= DELTA_APPLY_TRIES:
                ctx.note(f"falling back to a regular pull: {event.reason}")
                del self._bases[image]
                self._whole.add(image)
            self._pull(ctx, mirror, image)
            return
        fails = self._gates.get(image, (0, 0))[0] + 1
        wait_ms = backoff_ms(
            fails,
            first_ms=ctx.config.lock_backoff_ms,
            cap_ms=poll_interval_ms(ctx.applied, ctx.config.poll_interval_ms),
        )
        self._gates[image] = (fails, now_ms + wait_ms)
        if fails == 1:
            ctx.note(f"image pull failed: {event.reason}")


def _newest(mirror: Mirror, app: str, service: TargetService) -> str:
    """An image of the same service that is on the disk; empty: there is none."""
    found = [
        row.image
        for row in mirror.rows
        if (row.app, row.service) == (app, service.name) and row.image not in mirror.removing
    ]
    return found[-1] if found else ""
