"""The cloud's settings, under the real API's names where it has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Profile = Literal["balena-cloud", "open-balena"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings:
    """Every time is in milliseconds; defaults are the real cloud's (``SUPERVISOR.md`` §11)."""

    profile: Profile = "balena-cloud"
    """``balena-cloud``: the document; ``open-balena``: the open-source API as it runs."""
    default_poll_interval_ms: int = 600_000
    """``DEFAULT_SUPERVISOR_POLL_INTERVAL``; also the least poll interval a variable can set."""
    poll_jitter_factor_percent: int = 150
    """``POLL_JITTER_FACTOR`` (1.5), in percent so that the window stays integer arithmetic."""
    heartbeat_timeout_ms: int = 15_000
    """``API_HEARTBEAT_STATE_TIMEOUT_SECONDS``: from ``timeout`` to ``offline``."""
    metrics_gap_ms: int = 60_000
    """``METRICS_MAX_REPORT_INTERVAL_SECONDS``."""
    progress_gap_ms: int = 30_000
    """``DOWNLOAD_PROGRESS_MAX_REPORT_INTERVAL_SECONDS``."""
    notify_delay_ms: int = 1_000
    """Before a changed target is pushed through cloudlink as ``POST /v1/update``."""
    device_request_timeout_ms: int = 50_000
    """How long a proxied action waits for the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnSettings:
    """Timings of cloudlink (``STATUS.md §3``, ``SUPERVISOR.md`` §7–8), milliseconds."""

    ping_interval_ms: int = 10_000
    """``VPN_KEEPALIVE_FREQUENCY``."""
    client_timeout_ms: int = 60_000
    """Pushed ``ping-exit``: the device gives up after this much silence."""
    server_timeout_ms: int = 120_000
    """The server gives up; a proxy in front of it can cut this to 60 s."""
    report_period_ms: int = 1_000
    """At most one batch of connects and disconnects to the API in this time."""
    report_timeout_ms: int = 59_000
    auth_fail_delay_ms: int = 10_000
    """A refused client waits this long for its AUTH_FAILED."""
