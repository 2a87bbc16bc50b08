"""What can happen to a supervisor: the inputs of ``Agent.handle`` (counterpart: ``effects``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .effects import CreateContainer

FailureReason = Literal["timeout", "refused", "unreachable", "dns", "tls", "reset"]
"""Why a request got no answer, as a driver saw it."""

ContainerState = Literal["created", "running", "exited", "dead"]
"""States of the engine that a supervisor acts on; ``Stopping`` and the like are its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container as the engine knows it."""

    name: str
    """Chosen by the supervisor, unique on the device."""
    app: str
    """uuid of the fleet it belongs to."""
    service: str
    commit: str
    image: str
    state: ContainerState
    setup: str = ""
    """As in ``CreateContainer``; empty where it is not known, which is no reason to recreate it."""

    @classmethod
    def made_by(cls, effect: CreateContainer, *, state: ContainerState = "created") -> Container:
        """As an engine has it after ``effect``."""
        return cls(
            name=effect.name,
            app=effect.app,
            service=effect.service,
            commit=effect.commit,
            image=effect.image,
            setup=effect.setup,
            state=state,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSnapshot:
    """What the container engine holds when a supervisor attaches to it."""

    images: frozenset[str] = frozenset()
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The supervisor process runs; the first event of every ``Agent``."""

    engine: EngineSnapshot
    cold_boot: bool
    """True after power on or reboot: tmpfs (locks, report cache, breadcrumbs) is empty."""
    report_cache: Sequence[Any] | None = None
    """The last report sent, kept on tmpfs: survives a supervisor restart, not a reboot."""
    reboot_needed: bool = False
    """The reboot-after-apply breadcrumb (tmpfs) is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """``next_deadline_ms()`` was reached.  A stale one does no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseReceived:
    """An answer to ``SendRequest`` ``id``; ``headers`` have lower-case names."""

    id: int
    status: int
    headers: Mapping[str, str]
    body: Any
    """Parsed JSON, a ``str`` where the body was not JSON, ``None`` where it was empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """``SendRequest`` ``id`` got no answer."""

    id: int
    reason: FailureReason


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgressed:
    """An image pull moved on; ``percent`` is 0..100."""

    image: str
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFinished:
    """The image is on the disk, whole."""

    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFailed:
    """The registry or the link gave up; layers already fetched stay in the engine's cache."""

    image: str
    reason: str
    delta: Literal["", "none", "broken"] = ""
    """Of a delta: the server has ``none``, or it is ``broken`` and could not be applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRemoved:
    """The engine removed an image as asked."""

    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerChanged:
    """The engine reports a container's state, asked for or not (a crash, a restart policy)."""

    name: str
    state: Literal["created", "running", "exited", "dead", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocksTaken:
    """All lock files of ``TakeLocks`` ``attempt`` are ours now."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocksRefused:
    """A user's lock file exists; nothing is held from ``TakeLocks`` ``attempt``."""

    attempt: int
    app: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverSignalled:
    """The hand-over file of a service appeared."""

    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCalled:
    """The supervisor's own HTTP API was called (through cloudlink or from a container)."""

    call: int
    """Answered by ``ReplyToApi`` with the same number."""
    method: str
    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardMeasured:
    """New readings; keys as in the state report (``cpu_temp``, ``is_undervolted``, …)."""

    readings: Mapping[str, Any]


Event = (
    Started
    | TimerFired
    | ResponseReceived
    | RequestFailed
    | PullProgressed
    | PullFinished
    | PullFailed
    | ImageRemoved
    | ContainerChanged
    | LocksTaken
    | LocksRefused
    | HandoverSignalled
    | ApiCalled
    | BoardMeasured
)
