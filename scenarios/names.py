"""The durations the product has names for, usable in every expression of a scenario file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.config import AgentConfig

if TYPE_CHECKING:
    from cloud_stub.settings import CloudSettings, VpnSettings

    from .model import LinkSpec


def product_names(cloud: CloudSettings, vpn: VpnSettings, links: LinkSpec) -> dict[str, int]:
    """Name → milliseconds, under the settings of one scenario (``STATUS.md §2–3``)."""
    device = AgentConfig()
    poll_interval = cloud.default_poll_interval_ms
    window_s = -(-poll_interval * cloud.poll_jitter_factor_percent // 100_000)
    return {
        "poll_interval": poll_interval,
        "poll_jitter": device.poll_jitter_max_ms,
        "unconfigured_poll_interval": device.poll_interval_ms,
        "heartbeat_window": window_s * 1_000,
        "heartbeat_timeout": cloud.heartbeat_timeout_ms,
        "vpn_ping_interval": vpn.ping_interval_ms,
        "vpn_client_timeout": vpn.client_timeout_ms,
        "vpn_server_timeout": vpn.server_timeout_ms,
        "vpn_report_period": vpn.report_period_ms,
        "report_gap": device.report_gap_ms,
        "metrics_gap": device.metrics_gap_ms,
        "cloud_metrics_gap": cloud.metrics_gap_ms,
        "progress_gap": cloud.progress_gap_ms,
        "notify_delay": cloud.notify_delay_ms,
        "api_timeout": device.request_timeout_ms,
        "backoff_min": device.backoff_min_ms,
        "bootstrap_retry": device.bootstrap_retry_ms,
        "lock_backoff": device.lock_backoff_ms,
        "lock_backoff_max": poll_interval,
        "stop_grace": device.stop_grace_ms,
        "handover_timeout": device.handover_timeout_ms,
        "reboot_delay": device.reboot_delay_ms,
        "boot_time": links.boot_ms,
        "latency": links.latency_ms,
    }
