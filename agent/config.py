"""Every knob of the agent, and the explicit value of what survives a power cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .quirks import DOCUMENTED, Quirk

if TYPE_CHECKING:
    from collections.abc import Mapping


_NONE: Mapping[str, Any] = MappingProxyType({})
"""One empty value for all devices."""


class Draws(Protocol):
    """A source of randomness handed in by the driver; ``random.Random`` satisfies it."""

    def random(self) -> float:
        """Next number in [0, 1)."""
        ...


class ImageRow(NamedTuple):
    """One row of the supervisor's image table: what an image on the disk is for."""

    image: str
    app: str
    service: str
    commit: str


@lru_cache(maxsize=1024)
def shared_rows(rows: tuple[ImageRow, ...]) -> tuple[ImageRow, ...]:
    """One value for all devices with the same images."""
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """What is fixed for a device while its supervisor runs (``SUPERVISOR.md`` §11)."""

    device_type: str = "raspberrypi4-64"
    supervisor_version: str = "19.0.5"
    os_version: str = "balenaOS 6.1.0"
    os_variant: str = "prod"
    arch: str = "aarch64"
    mac_address: str = "02:00:00:00:00:01"
    ip_address: str = "192.168.1.2"
    """Blank: the board has none, and reports none."""
    kernel_version: str = "6.1.0"
    l4t_version: str | None = None
    quirks: frozenset[Quirk] = DOCUMENTED
    """Where the real program differs from its documentation, and this device does too."""
    poll_interval_ms: int = 900_000
    """``appUpdatePollInterval`` until the cloud has pushed another one."""
    poll_jitter_max_ms: int = 60_000
    """``maxApiJitterDelay``: uniform, added after a successful poll."""
    request_timeout_ms: int = 59_000
    """``apiRequestTimeout``."""
    backoff_min_ms: int = 15_000
    """First delay after a failed poll or report; doubles up to the poll interval."""
    report_gap_ms: int = 10_000
    """``maxReportFrequency``: least time between two reports."""
    metrics_gap_ms: int = 300_000
    """``maxMetricsFrequency``: least time before a report of metrics alone."""
    bootstrap_retry_ms: int = 30_000
    """``bootstrapRetryDelay``: between provisioning attempts."""
    register_timeout_ms: int = 30_000
    lock_backoff_ms: int = 500
    """``backoffIncrement``: apply failures (locks too) wait ``min(2^f × this, poll interval)``."""
    step_delay_ms: int = 200
    """Between two steps of an apply."""
    noop_delay_ms: int = 1_000
    """Before looking again when every step only waits."""
    stop_grace_ms: int = 10_000
    """The engine's default between SIGTERM and SIGKILL."""
    handover_timeout_ms: int = 60_000
    """Default of ``io.balena.update.handover-timeout``."""
    initial_config: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({"HOST_FIREWALL_MODE": ""})
    )
    """What the board is set to beyond the defaults, told to the cloud once (§3)."""
    reboot_delay_ms: int = 1_000
    """From the API's answer to the reboot call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persisted:
    """What is on the device's disk: config.json and the supervisor's database."""

    uuid: str | None = None
    device_api_key: str | None = None
    provisioning_key: str | None = None
    application_id: int | None = None
    registered_at_ms: int | None = None
    device_id: int | None = None
    target: Mapping[str, Any] | None = None
    """The device's part of the last target state (``{"name", "config", "apps"}``), as received."""
    target_rejected: bool = False
    current_commits: Mapping[str, str] = field(default_factory=lambda: _NONE)
    """fleet uuid → commit that has settled."""
    config: Mapping[str, str] = field(default_factory=lambda: _NONE)
    """Applied configuration, names without prefix (``SUPERVISOR_POLL_INTERVAL`` …)."""
    initial_env_reported: bool = False
    images: tuple[ImageRow, ...] = ()
    """Sorted; an interrupted pull has no row."""
    api_secret: str | None = None
    """Key of the supervisor API, made at the first start."""
    host: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    """``hostname`` and ``proxy`` of the host OS, where user code has set them."""
    tags: Mapping[str, str] = field(default_factory=lambda: _NONE)
    """Tags that user code has set and the cloud has not been told yet."""
