"""What Prometheus reads: requests, heartbeats, devices by state, commits."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from .app import Server


class _State(Collector):
    """Read from the core when asked."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """The state of now."""
        desk, store = self._server.desk, self._server.store
        cloud = desk.cloud
        heartbeats = CounterMetricFamily("fieldbeat_heartbeats", "Heartbeats since the start")
        heartbeats.add_metric([], cloud.heartbeats + desk.quick_heartbeats)
        yield heartbeats
        states = Tally(device.heartbeat.value for device in cloud.devices.values())
        devices = GaugeMetricFamily(
            "fieldbeat_devices", "Devices by API heartbeat state", labels=["api_heartbeat_state"]
        )
        for name in ("online", "timeout", "offline", "unknown"):
            devices.add_metric([name], states[name])
        yield devices
        tunnels = sum(device.is_connected_to_vpn for device in cloud.devices.values())
        yield GaugeMetricFamily("fieldbeat_cloudlinks", "Devices connected to VPN", value=tunnels)
        commits = CounterMetricFamily("fieldbeat_store_commits", "Group commits")
        commits.add_metric([], store.commits)
        yield commits
        yield GaugeMetricFamily(
            "fieldbeat_store_refused",
            "Attempts the database refused in a row",
            value=store.failures,
        )


class Metrics:
    """One server's metrics."""

    def __init__(self, server: Server) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(server))
        self.requests = Counter(
            "fieldbeat_http_requests",
            "Requests, without heartbeats of steady devices",
            ["route", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "fieldbeat_http_request_seconds",
            "Seconds a request took",
            ["route"],
            registry=self._registry,
        )

        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        found = self._children.get((route, status))
        if found is None:
            found = self.requests.labels(route, str(status)), self.seconds.labels(route)
            self._children[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
