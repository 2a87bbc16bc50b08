"""What a device's stored fields mean to a person: the status rules, as pure functions.

Theory.  A device keeps two links to the cloud: its heartbeat (the target-state poll) and cloudlink
(the VPN).  From the state of both, from what the device said about provisioning and downloads, and
from what people did to it, one *overall status* follows by an ordered ladder: the first rung whose
condition holds gives the answer.  The order is the rule.  ``LADDER`` has one rung for each row of
``STATUS.md §4``, in its order; nothing else in the product decides an overall status.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .settings import Profile

POST_PROVISIONING = "Post-Provisioning"
"""The ``provisioning_state`` a flasher leaves (``SUPERVISOR.md §3``)."""
DOWNLOADING = "Downloading"
PROVISIONING_STATE_SHOWN = 50
"""Characters of the provisioning state that people see (``STATUS.md §1``)."""


class HeartbeatState(StrEnum):
    """``api_heartbeat_state`` (``STATUS.md §2``)."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    TIMEOUT = "timeout"
    OFFLINE = "offline"


class OverallStatus(StrEnum):
    """``overall_status`` as the API spells it."""

    FROZEN = "frozen"
    INACTIVE = "inactive"
    POST_PROVISIONING = "post-provisioning"
    CONFIGURING = "configuring"
    DISCONNECTED = "disconnected"
    UPDATING = "updating"
    REDUCED_FUNCTIONALITY = "reduced-functionality"
    OPERATIONAL = "operational"


class UpdateStatus(StrEnum):
    """``update_status`` as supervisors report it, in order of precedence (``STATUS.md §5``)."""

    REJECTED = "rejected"
    ABORTED = "aborted"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    APPLYING_CHANGES = "applying changes"
    DONE = "done"


class Install(NamedTuple):
    """What the rules see of an image install."""

    status: str
    download_progress: int | None
    of_target: bool
    """It is of the release the device should run."""


class StatusInputs(NamedTuple):
    """Everything the rules look at."""

    heartbeat: HeartbeatState = HeartbeatState.UNKNOWN
    is_connected_to_vpn: bool = False
    ever_connected: bool = False
    """``last_connectivity_event`` is not null."""
    vpn_disabled: bool = False
    """``SUPERVISOR_VPN_CONTROL`` is the string ``false`` (``STATUS.md §4``)."""
    is_active: bool = True
    is_frozen: bool = False
    provisioning_state: str | None = None
    provisioning_progress: int | None = None
    status: str | None = None
    download_progress: int | None = None
    installs: Sequence[Install] = ()


class Rung(NamedTuple):
    """One row of the ladder."""

    row: str
    """Its number in ``STATUS.md §4``."""
    status: OverallStatus
    holds: Callable[[StatusInputs], bool]
    profiles: frozenset[Profile]


_BOTH: frozenset[Profile] = frozenset({"balena-cloud", "open-balena"})
_DOCUMENT: frozenset[Profile] = frozenset({"balena-cloud"})
_ALIVE = (HeartbeatState.ONLINE, HeartbeatState.TIMEOUT)
_SILENT = (HeartbeatState.OFFLINE, HeartbeatState.UNKNOWN)


def _never_seen(inputs: StatusInputs) -> bool:
    return (
        not inputs.is_connected_to_vpn
        and not inputs.ever_connected
        and inputs.heartbeat is HeartbeatState.UNKNOWN
    )


def _device_downloads(inputs: StatusInputs) -> bool:
    return inputs.download_progress is not None and inputs.status == DOWNLOADING


def _install_downloads(inputs: StatusInputs) -> bool:
    return any(
        install.download_progress is not None and install.status == DOWNLOADING
        for install in inputs.installs
    )


def _partly_connected(inputs: StatusInputs) -> bool:
    if inputs.heartbeat is HeartbeatState.TIMEOUT:
        return True
    if inputs.is_connected_to_vpn:
        return inputs.heartbeat is not HeartbeatState.ONLINE
    return inputs.heartbeat is HeartbeatState.ONLINE and not inputs.vpn_disabled


LADDER: tuple[Rung, ...] = (
    Rung("0", OverallStatus.FROZEN, lambda i: i.is_frozen, _DOCUMENT),
    Rung("1", OverallStatus.INACTIVE, lambda i: not i.is_active, _DOCUMENT),
    Rung(
        "2",
        OverallStatus.POST_PROVISIONING,
        lambda i: i.provisioning_state == POST_PROVISIONING,
        _BOTH,
    ),
    Rung("3", OverallStatus.CONFIGURING, _never_seen, _BOTH),
    Rung(
        "4",
        OverallStatus.DISCONNECTED,
        lambda i: not i.is_connected_to_vpn and i.heartbeat in _SILENT,
        _BOTH,
    ),
    Rung(
        "5",
        OverallStatus.UPDATING,
        lambda i: i.heartbeat in _ALIVE and _device_downloads(i),
        _BOTH,
    ),
    Rung("6", OverallStatus.CONFIGURING, lambda i: i.provisioning_progress is not None, _BOTH),
    Rung(
        "7",
        OverallStatus.UPDATING,
        lambda i: i.heartbeat in _ALIVE and _install_downloads(i),
        _BOTH,
    ),
    Rung("8", OverallStatus.REDUCED_FUNCTIONALITY, _partly_connected, _BOTH),
    Rung("9", OverallStatus.OPERATIONAL, lambda _: True, _BOTH),
)

_LADDERS: Mapping[Profile, tuple[Rung, ...]] = MappingProxyType(
    {
        "balena-cloud": tuple(rung for rung in LADDER if "balena-cloud" in rung.profiles),
        "open-balena": tuple(rung for rung in LADDER if "open-balena" in rung.profiles),
    }
)


def overall_status(inputs: StatusInputs, profile: Profile = "balena-cloud") -> OverallStatus:
    """The status of the first rung that holds (``STATUS.md §4``); total over all inputs."""
    for _, status, holds, _ in _LADDERS[profile]:
        if holds(inputs):
            return status
    raise AssertionError("the last rung always holds")


def overall_progress(inputs: StatusInputs, profile: Profile = "balena-cloud") -> int | None:
    """Percent beside the status, first match (``STATUS.md §4``, below the ladder)."""
    if profile == "balena-cloud" and not inputs.is_active:
        return None
    if inputs.provisioning_state == POST_PROVISIONING or _never_seen(inputs):
        return inputs.provisioning_progress
    if not inputs.is_connected_to_vpn and inputs.heartbeat in _SILENT:
        return None
    if _device_downloads(inputs):
        return inputs.download_progress
    if inputs.provisioning_progress is not None:
        return inputs.provisioning_progress
    if _install_downloads(inputs):
        return _mean_progress(inputs.installs)
    return None


def _mean_progress(installs: Sequence[Install]) -> int:
    """Rounded mean over the installs that count; no progress counts as 100 (``STATUS.md §4``)."""
    counted = [
        100 if install.download_progress is None else install.download_progress
        for install in installs
        if install.status != "deleted" and (install.status == DOWNLOADING or install.of_target)
    ]
    # half up, as SQL's ROUND; progress can be negative, so away from zero there
    doubled, total = 2 * sum(counted), len(counted)
    half_up = (abs(doubled) + total) // (2 * total)
    return half_up if doubled >= 0 else -half_up


_DISPLAY: Mapping[OverallStatus, str] = MappingProxyType(
    {
        OverallStatus.FROZEN: "Frozen",
        OverallStatus.INACTIVE: "Inactive",
        OverallStatus.POST_PROVISIONING: "Post Provisioning",
        OverallStatus.CONFIGURING: "Configuring",
        OverallStatus.DISCONNECTED: "Disconnected",
        OverallStatus.UPDATING: "Updating",
        OverallStatus.REDUCED_FUNCTIONALITY: "Reduced Functionality",
        OverallStatus.OPERATIONAL: "Operational",
    }
)
HEARTBEAT_ONLY = "Heartbeat Only"
CLOUDLINK_ONLY = "Cloudlink Only"


def connectivity(inputs: StatusInputs) -> str:
    """Which of the two links alone works (``STATUS.md §6``); empty when both or none do.

    A heartbeat in ``timeout`` is missing.  Cloudlink that is switched off is not missed.
    """
    heartbeat = inputs.heartbeat is HeartbeatState.ONLINE
    if inputs.is_connected_to_vpn and not heartbeat:
        return CLOUDLINK_ONLY
    if heartbeat and not inputs.is_connected_to_vpn and not inputs.vpn_disabled:
        return HEARTBEAT_ONLY
    return ""


def display(status: OverallStatus, inputs: StatusInputs) -> str:
    """The words people read; Configuring carries the provisioning state in parentheses."""
    words = _DISPLAY[status]
    if status is OverallStatus.CONFIGURING and inputs.provisioning_state:
        return f"{words} ({inputs.provisioning_state[:PROVISIONING_STATE_SHOWN]})"
    return words


def update_status_display(value: str | None) -> str:
    """``applying changes`` is shown as Applying Changes; nothing for older supervisors."""
    return "" if value is None else value.title()


_UPDATE_STATUSES = tuple(status.value for status in UpdateStatus)


def first_update_status(values: Sequence[str]) -> str | None:
    """Of several releases of the device's own app, the first in precedence wins (§5)."""
    return next((value for value in _UPDATE_STATUSES if value in values), None)


def update_status_duration_ms(last_event_ms: int | None, now_ms: int) -> int | None:
    """How long the update status has stood: now − ``last_update_status_event`` (§5)."""
    return None if last_event_ms is None else now_ms - last_event_ms
