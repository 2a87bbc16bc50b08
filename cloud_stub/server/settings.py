"""What a server is started with; from flags and, for automation, the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..settings import CloudSettings, Profile, VpnSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECOND_MS = 1_000


class SettingsError(Exception):
    """A setting cannot be used; the text names it and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One server's settings; times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free one."""
    db: str = "fieldbeat.sqlite"
    """A file, or a URL of SQLAlchemy."""
    cloud: CloudSettings = field(default_factory=CloudSettings)
    admin_email: str | None = None
    admin_password: str | None = None
    vpn_service_key: str | None = None
    certificate: tuple[str, str] | None = None
    """Files: certificate chain, key."""
    mqtt: str | None = None
    """``mqtt://[user:password@]host[:port]``."""
    lag_s: float = 0.5
    """How far heartbeat timers in the store may be behind."""
    retention_s: float = 30 * 86_400
    """How long the history is kept."""
    registry: str | None = None
    """Host of image locations; the server's own address where not said."""
    reach: bool = False
    """Call devices' supervisor APIs at the addresses they report, where no tunnel leads to them."""
    vpn: tuple[tuple[str, str, int], ...] = ()
    """VPN service instances: name, host and port (TCP and UDP; 0: any free one)."""
    vpn_spares: tuple[tuple[str, str, int], ...] = ()
    """Those that run when somebody starts them (``PUT /fieldbeat/v1/vpn/{name}``)."""
    vpn_timings: VpnSettings = field(default_factory=VpnSettings)
    tunnel: str = "inprocess"
    """What the VPN service's tunnels are made of: inprocess, userspace or kernel."""
    login_attempts: int = 10
    """Wrong passwords for one name in a minute before 429."""
    requests_per_s: int = 0
    """Of one key; 0: no limit."""
    connections_max: int = 20_000
    """More are answered with 503."""
    slow_client_s: float = 30.0
    """The head of a connection's first request, and every body, must have arrived by then."""
    log_lines_per_device: int = 1_000
    traffic: str | None = None
    """A file for what clients' requests amount to."""

    @property
    def profile(self) -> Profile:
        """Whose rules and fields."""
        return self.cloud.profile


_NAMES_MS = {
    "DEFAULT_SUPERVISOR_POLL_INTERVAL": ("default_poll_interval_ms", 1),
    "API_HEARTBEAT_STATE_TIMEOUT_SECONDS": ("heartbeat_timeout_ms", _SECOND_MS),
    "METRICS_MAX_REPORT_INTERVAL_SECONDS": ("metrics_gap_ms", _SECOND_MS),
    "DOWNLOAD_PROGRESS_MAX_REPORT_INTERVAL_SECONDS": ("progress_gap_ms", _SECOND_MS),
}

_VPN_NAMES_MS = {
    "VPN_KEEPALIVE_FREQUENCY": ("ping_interval_ms", _SECOND_MS),
    "VPN_KEEPALIVE_TIMEOUT": ("client_timeout_ms", _SECOND_MS),
}


def cloud_settings(environment: Mapping[str, str], profile: Profile) -> CloudSettings:
    """The core's settings, under the real API's names.

    Raises:
        SettingsError: a variable is no number, or out of range.
    """
    return CloudSettings(profile=profile, **_numbers(environment, _NAMES_MS))


def vpn_timings(environment: Mapping[str, str]) -> VpnSettings:
    """The VPN service's timings, under its own names, in seconds.

    ``VPN_KEEPALIVE_FREQUENCY`` (10) is between pings; ``VPN_KEEPALIVE_TIMEOUT`` (60) the silence
    after which a client gives up; the server does after twice as much.

    Raises:
        SettingsError: a variable is no number, or out of range.
    """
    found = _numbers(environment, _VPN_NAMES_MS)
    timeout_ms = found.get("client_timeout_ms", VpnSettings().client_timeout_ms)
    return VpnSettings(**found, server_timeout_ms=2 * timeout_ms)


def _numbers(
    environment: Mapping[str, str], names: Mapping[str, tuple[str, int]]
) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, (attribute, unit_ms) in names.items():
        text = environment.get(name)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit()) or int(text) == 0:
            raise SettingsError(f"{name} must be a whole number above 0, not {text!r}")
        found[attribute] = int(text) * unit_ms
    return found
