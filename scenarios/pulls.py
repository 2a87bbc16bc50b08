"""Image pulls of a simulated board: layers, a shared rate, stalls, and what survives a cut."""

from __future__ import annotations

from typing import Literal, NamedTuple

from agent.events import Event, PullFailed, PullFinished, PullProgressed

LAYERS = 5
"""An image is modelled as this many layers of one size; a finished layer is never fetched again."""
PROGRESS_MS = 1_000
"""Between two progress reports of the engine."""
STALL_MS = 30_000
"""Without a byte for this long a pull fails."""
DEFAULT_START_MS = 500
DEFAULT_STOP_MS = 200


class Times(NamedTuple):
    """How long a service takes, in ms."""

    start_ms: int = DEFAULT_START_MS
    stop_ms: int = DEFAULT_STOP_MS


class Catalog:
    """What the registry holds, and how its services behave; shared by all boards of a world."""

    __slots__ = ("_deltas", "_sizes", "_times")

    def __init__(self) -> None:
        self._deltas: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._times: dict[str, Times] = {}

    def add(
        self,
        image: str,
        *,
        size_bytes: int,
        start_time_ms: int,
        stop_time_ms: int,
        delta_bytes: int | None = None,
    ) -> None:
        """Publish an image; a time of 0 is the usual one; ``None``: nobody makes deltas of it."""
        self._sizes[image] = max(1, size_bytes)
        if delta_bytes is not None:
            self._deltas[image] = max(1, delta_bytes)
        if start_time_ms or stop_time_ms:
            self._times[image] = Times(
                start_time_ms or DEFAULT_START_MS, stop_time_ms or DEFAULT_STOP_MS
            )

    def size(self, image: str) -> int | None:
        """Bytes of an image; ``None``: the registry does not have it."""
        return self._sizes.get(image)

    def delta_size(self, image: str) -> int | None:
        """Bytes of a delta to it; ``None``: there is none."""
        return self._deltas.get(image)

    def times(self, image: str) -> Times:
        """How long the image's service takes to start and to stop."""
        return self._times.get(image, _USUAL)


_USUAL = Times()


DeltaState = Literal["ok", "processing", "none", "broken"]
NO_DELTA, BROKEN_DELTA = "the delta server has no such delta", "the delta cannot be applied"


class Registry(NamedTuple):
    """How images reach a board."""

    bytes_per_second: int | None
    """Shared by its pulls; ``None``: nothing flows, nothing is refused."""
    error: str | None = None
    """Every pull fails with this at once."""
    latency_ms: int = 0
    """Before the first byte of a pull."""
    delta: DeltaState = "ok"
    """The delta server: ``processing``: not yet made (504); ``none``: 404 for any; ``broken``:
    none can be applied."""
    layer_ms: int = 0
    """What each layer takes besides its bytes."""


def _failed(image: str, why: str) -> PullFailed:
    if why == NO_DELTA:
        return PullFailed(image=image, reason=why, delta="none")
    if why == BROKEN_DELTA:
        return PullFailed(image=image, reason=why, delta="broken")
    return PullFailed(image=image, reason=why)


class _Pull:
    """One running pull."""

    __slots__ = ("delta", "done", "percent", "size")

    def __init__(self, size: int, done: int, *, delta: bool = False) -> None:
        self.delta = delta
        self.size = size
        self.done = done
        """Bytes on the disk."""
        self.percent = 100 * done // size


class Pulls:
    """The running pulls of one board, and the finished layers of those that were cut short."""

    __slots__ = (
        *("_active", "_bases", "_catalog", "_failing", "_flowed", "_layers", "_moved_ms"),
        *("_registry", "_starting", "_tick_ms"),
    )

    def __init__(self, catalog: Catalog, registry: Registry) -> None:
        self._catalog = catalog
        self._registry = registry
        self._active: dict[str, _Pull] = {}
        self._bases: dict[str, str] = {}
        """Image → what a delta of it starts from, while the registry is slow to begin."""
        self._starting: dict[str, int] = {}
        """Image → when the registry begins to answer (ms)."""
        self._failing: dict[str, tuple[int, str]] = {}
        """Image → when its pull fails (ms), and why."""
        self._layers: dict[str, int] = {}
        """Bytes of finished layers on the disk."""
        self._flowed = 0
        """Bytes that arrived and were not taken yet."""
        self._moved_ms = 0
        """Up to when ``done`` is counted."""
        self._tick_ms = 0

    @property
    def empty(self) -> bool:
        """Nothing is being pulled and nothing is kept."""
        return not (self._active or self._failing or self._layers or self._starting)

    def set_registry(self, registry: Registry, now_ms: int) -> None:
        """The way to the registry changed."""
        self._move(now_ms)
        self._registry = registry
        self._tick_ms = max(self._tick_ms, now_ms)
        stalled = {image for image, (_, why) in self._failing.items() if why == "timeout"}
        for image in stalled:
            del self._failing[image]
        for image in self._active:
            self._may_fail(image, now_ms)

    def begin(self, image: str, now_ms: int, *, base: str = "") -> None:
        """Start or resume a pull, of a delta where there is an image to start from."""
        size = self._catalog.size(image)
        if size is None:
            self._failing[image] = (now_ms, "not found")
            return
        delta = self._catalog.delta_size(image) if base else None
        refused = self._no_delta(delta) if base else None
        if refused is not None:
            self._failing[image] = (now_ms, refused)
            return
        if self._registry.latency_ms and image not in self._starting:
            self._starting[image] = now_ms + self._registry.latency_ms
            self._bases[image] = base
            return
        self._starting.pop(image, None)
        self._move(now_ms)
        if not self._active:
            self._tick_ms = now_ms + PROGRESS_MS
        if delta is not None:
            self._active[image] = _Pull(delta, 0, delta=True)
        else:
            self._active[image] = _Pull(size, self._layers.pop(image, 0))
        self._may_fail(image, now_ms)

    def _no_delta(self, size: int | None) -> str | None:
        """Why the delta server gives nothing."""
        if self._registry.error is not None:
            return None  # the whole way fails, which is another failure
        if self._registry.delta == "processing":
            return "the delta is still being made"
        return NO_DELTA if size is None or self._registry.delta == "none" else None

    def _may_fail(self, image: str, now_ms: int) -> None:
        rate, error, *_ = self._registry
        if error is not None:
            self._failing[image] = (now_ms, error)
        elif rate is None:
            self._failing[image] = (now_ms + STALL_MS, "timeout")

    def cancel(self, image: str, now_ms: int) -> None:
        """Stop a pull; its finished layers stay."""
        self._move(now_ms)
        self._failing.pop(image, None)
        self._starting.pop(image, None)
        self._interrupt(image)

    def interrupt_all(self) -> None:
        """The power or the supervisor is gone: only finished layers stay."""
        self._failing.clear()
        self._starting.clear()
        for image in list(self._active):
            self._interrupt(image)

    def fail_all(self, reason: str, now_ms: int) -> None:
        """Every running pull fails now."""
        for image in (*self._active, *self._starting):
            self._failing[image] = (now_ms, reason)
        self._starting.clear()

    def _interrupt(self, image: str) -> None:
        pull = self._active.pop(image, None)
        if pull is not None and not pull.delta:
            layer = -(-pull.size // LAYERS)
            kept = pull.done - pull.done % layer
            if kept:
                self._layers[image] = kept

    # --- time ------------------------------------------------------------------------------------

    def _move(self, now_ms: int) -> None:
        """Count the bytes that flowed since the last look."""
        rate, elapsed_ms = self._registry.bytes_per_second, now_ms - self._moved_ms
        self._moved_ms = now_ms
        if rate and self._active and self._registry.error is None:
            for pull in self._active.values():
                before = pull.done
                pull.done = min(pull.size, before + elapsed_ms * pull.size // self._takes_ms(pull))
                self._flowed += pull.done - before

    def _takes_ms(self, pull: _Pull) -> int:
        """A whole pull, from its first byte on."""
        rate = self._registry.bytes_per_second
        assert rate
        layers_ms = LAYERS * self._registry.layer_ms
        return layers_ms - (-1_000 * len(self._active) * pull.size // rate) or 1

    def take_flowed(self) -> int:
        """Bytes that arrived since the last call."""
        flowed, self._flowed = self._flowed, 0
        return flowed

    def next_deadline_ms(self) -> int | None:
        """When a pull ends, fails or has progress to tell."""
        times = [at_ms for at_ms, _ in self._failing.values()]
        times.extend(self._starting.values())
        rate = self._registry.bytes_per_second
        if self._active and rate and self._registry.error is None:
            times.append(self._tick_ms)
            left_ms = min(
                -((pull.done - pull.size) * self._takes_ms(pull) // pull.size)
                for pull in self._active.values()
            )
            times.append(self._moved_ms + left_ms)
        return min(times) if times else None

    def advance(self, now_ms: int) -> list[Event]:
        """What happened up to now, by image."""
        for image in sorted(image for image, at_ms in self._starting.items() if at_ms <= now_ms):
            self.begin(image, now_ms, base=self._bases.pop(image, ""))
        self._move(now_ms)
        events: list[Event] = []
        for image, (at_ms, why) in sorted(self._failing.items()):
            if at_ms <= now_ms:
                del self._failing[image]
                self._interrupt(image)
                events.append(_failed(image, why))
        ticked = now_ms >= self._tick_ms
        if ticked:
            self._tick_ms = now_ms + PROGRESS_MS
        for image, pull in sorted(self._active.items()):
            percent = 100 * pull.done // pull.size
            if pull.done >= pull.size:
                del self._active[image]
                if pull.delta and self._registry.delta == "broken":
                    events.append(_failed(image, BROKEN_DELTA))
                else:
                    events.append(PullFinished(image=image))
            elif ticked and percent != pull.percent:
                pull.percent = percent
                events.append(PullProgressed(image=image, percent=percent))
        return events
