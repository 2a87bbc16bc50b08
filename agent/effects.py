"""What a supervisor wants done: the outputs of ``Agent.handle`` (counterpart: ``events``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .config import Persisted


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """An HTTP request to the cloud; answered by ``ResponseReceived`` or ``RequestFailed``."""

    id: int
    method: str
    path: str
    """With the query string, relative to the API endpoint."""
    headers: Mapping[str, str]
    """Lower-case names."""
    body: Any
    """JSON value; ``None`` is no body."""
    timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImage:
    """Fetch an image; progress and end come as ``PullProgressed/Finished/Failed``."""

    image: str
    base: str = ""
    """An image on the disk that a delta may start from; empty: pull it whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelPull:
    """Stop a pull; no further event of it may arrive."""

    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveImage:
    """Delete an image; ``ImageRemoved`` follows."""

    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer:
    """Create (not start) a container; ``ContainerChanged(state="created")`` follows."""

    name: str
    app: str
    service: str
    commit: str
    image: str
    setup: str = ""
    """Digest of environment, labels and composition; ``Container.setup`` gives it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer:
    """Start it; ``ContainerChanged(state="running")`` follows."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopContainer:
    """SIGTERM, then SIGKILL after ``grace_ms``; ``ContainerChanged(state="exited")`` follows."""

    name: str
    grace_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer:
    """Delete a stopped container; ``ContainerChanged(state="removed")`` follows."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelabelContainer:
    """Same container, other commit (``updateMetadata``) or a hand-over's ``old_`` name; at once."""

    name: str
    new_name: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeLocks:
    """Take the lock files of these services, all or none; ``LocksTaken`` or ``LocksRefused``."""

    attempt: int
    app: str
    services: tuple[str, ...]
    force: bool
    """Remove users' lock files first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLocks:
    """Remove the supervisor's own lock files of this app."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVpn:
    """Start or stop the host's cloudlink client (``SUPERVISOR_VPN_CONTROL``)."""

    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reboot:
    """Reboot the board in order; the process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutDown:
    """Power the board down in order; the process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """Store this whole value durably, atomically, before any later effect is carried out."""

    state: Persisted


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    """Keep the last sent report on tmpfs (given back in ``Started.report_cache``)."""

    report: Sequence[Any]
    """JSON values, to be given back as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRebootNeeded:
    """Write the reboot-after-apply breadcrumb on tmpfs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyToApi:
    """The answer to ``ApiCalled`` ``call``."""

    call: int
    status: int
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line for the device's log and the history of a run; only on an edge, not each time."""

    text: str
    log: str | None = None
    """The same in the words of the log that the cloud gets, where that is told there too."""


Effect = (
    SendRequest
    | PullImage
    | CancelPull
    | RemoveImage
    | CreateContainer
    | StartContainer
    | StopContainer
    | RemoveContainer
    | RelabelContainer
    | TakeLocks
    | ReleaseLocks
    | SetVpn
    | Reboot
    | ShutDown
    | Persist
    | CacheReport
    | MarkRebootNeeded
    | ReplyToApi
    | Note
)
