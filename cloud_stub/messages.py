"""What reaches the cloud core and what it answers: requests, people's commands, effects."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Device

_EMPTY: Mapping[str, str] = MappingProxyType({})


def _empty() -> Mapping[str, str]:
    """The shared empty mapping; a factory, as Python 3.11 takes a mapping proxy for mutable."""
    return _EMPTY


# --- inputs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request as the shell parsed it."""

    id: int
    """Names the request in a later ``Respond``."""
    method: str
    path: str
    """Without the query string."""
    query: Mapping[str, str] = field(default_factory=_empty)
    headers: Mapping[str, str] = field(default_factory=_empty)
    """Lower-case names."""
    body: Any = None
    """Parsed JSON; ``{}`` where the content type was not JSON (``WIRE.md``)."""
    person: bool = False
    """A shell that keeps accounts of its own vouches: a person asks, and may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """``next_deadline_ms()`` was reached: everything due is consumed now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One service of a release."""

    name: str
    image: str
    """Location with digest."""
    labels: Mapping[str, str] = field(default_factory=_empty)
    environment: Mapping[str, str] = field(default_factory=_empty)
    composition: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    contract: Mapping[str, Any] | None = None
    """Container contract (``requires``), sent to the device."""
    service_id: int = 0
    image_id: int = 0
    """0: the core gives the next number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateFleet:
    name: str
    uuid: str
    device_type: str = "raspberrypi4-64"
    number: int = 0
    """0: the core gives the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameFleet:
    fleet: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFleet:
    """The fleet, its releases and its devices."""

    fleet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRelease:
    """A finished release; ``track``: the fleet follows it at once.

    With the ``number`` of one that is there, that one gets these services.
    """

    fleet: str
    """Name or uuid of the fleet, here and in every other command."""
    commit: str
    services: tuple[ServiceSpec, ...]
    track: bool = True
    number: int = 0
    """0: the core gives the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRelease:
    """Devices that ran it run nothing known; pins to it and tracking of it are gone."""

    fleet: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRelease:
    fleet: str
    commit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddKey:
    """A key, and what it may do.

    ``owner`` is the name of a fleet (provisioning), a user's name (user) or a uuid (device).
    """

    key: str
    kind: Literal["provisioning", "user", "vpn", "device"]
    owner: str
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey:
    """A key is nobody's any more."""

    sealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preregister:
    """A person registers a device before it boots (``balena device register``)."""

    uuid: str
    name: str
    fleet: str
    api_key: str
    device_type: str = "raspberrypi4-64"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinDevice:
    uuid: str
    commit: str | None
    """``None``: track the fleet again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveDevice:
    uuid: str
    fleet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariable:
    """A configuration variable; ``value=None`` deletes it."""

    level: Literal["device", "fleet"]
    target: str
    """uuid or fleet name."""
    name: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetEnvironment:
    """An environment variable of services; ``value=None`` deletes it."""

    level: Literal["device", "fleet"]
    target: str
    """uuid of a device, name or uuid of a fleet."""
    service: str | None
    """``None``: of all services."""
    name: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFrozen:
    uuid: str
    frozen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetActive:
    """A person deactivates a device (or undoes it)."""

    uuid: str
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDevice:
    uuid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpoke:
    """The device itself made a request that the shell answers: contact with the API."""

    uuid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteDevice:
    """A direct write of device fields through the resource API (OData PATCH)."""

    uuid: str
    fields: Mapping[str, Any]


KnownFault = Literal["stale-disconnect"]
"""``stale-disconnect``: a disconnect counts whichever VPN server it is from (``STATUS.md §3``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFault:
    """Switch a fault that a real cloud once had on or off; it is not kept over a restart."""

    fault: KnownFault
    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReplied:
    """The device's supervisor API answered (or not) a ``CallDevice``."""

    call: int
    status: int | None
    """``None``: no answer in time."""
    body: Any


Command = (
    CreateFleet
    | RenameFleet
    | DeleteFleet
    | CreateRelease
    | DeleteRelease
    | TrackRelease
    | AddKey
    | RevokeKey
    | Preregister
    | PinDevice
    | MoveDevice
    | SetVariable
    | SetEnvironment
    | SetFrozen
    | SetActive
    | DeleteDevice
    | DeviceSpoke
    | WriteDevice
    | SetFault
)
"""What a person or a script does; each is answered, a refused one with a status >= 400."""

Event = Request | TimerFired | DeviceReplied | Command


# --- outputs ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP answer; the shell serialises ``body`` (JSON value, or ``str`` as it is)."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChanged:
    """A field people can see changed: stored or computed (``observe.FIELDS``)."""

    uuid: str
    field: str
    old: Any
    new: Any
    cause: str
    """Short words: ``heartbeat``, ``heartbeat window over``, ``state report``, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDevice:
    """Call the device's supervisor API through cloudlink; ``DeviceReplied`` follows."""

    call: int
    uuid: str
    method: str
    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """The late answer to ``Request`` ``id`` (one that had to ask the device)."""

    id: int
    response: Response


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStored:
    """A device has one more key: a shell with a store keeps it."""

    sealed: str
    """What the core's ``seal`` made of the key; the key itself is not kept."""
    uuid: str


Effect = FieldChanged | CallDevice | Respond | KeyStored


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one ``handle`` gave: the answer (``None``: later or nobody asked) and the effects."""

    response: Response | None = None
    effects: tuple[Effect, ...] = ()
    rows: tuple[Device, ...] = ()
    """Devices whose rows may have changed, visibly or not: a shell with a store writes them."""
