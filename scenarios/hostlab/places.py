"""Where things are: the cloud's services at addresses of their own, and the sites."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cloud_stub.server.vpn_services import INSTANCES_MAX

from ..simulation.links import RETRANSMIT_MIN_MS

API_PORT, VPN_PORT, REGISTRY_PORT, DNS_PORT, NTP_PORT = 8080, 8443, 5000, 53, 123
VPN_PORTS = INSTANCES_MAX
"""VPN servers have ports one after the other."""
CLOUD_NET = 16
SITES_MAX = 200
CONGESTION = "cubic"
"""What Linux takes where nobody says otherwise: this machine's own choice is not the lab's."""
_LOADED = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


class Place(NamedTuple):
    """A service of the cloud as a firewall tells it apart."""

    host: str
    port: int
    protocols: tuple[str, ...]
    ports: int = 1
    """From ``port`` on."""


PLACES: dict[str, Place] = {
    "api": Place("10.202.0.1", API_PORT, ("tcp",)),
    "vpn": Place("10.202.0.2", VPN_PORT, ("tcp", "udp"), VPN_PORTS),
    "registry": Place("10.202.0.3", REGISTRY_PORT, ("tcp",)),
    "ntp": Place("10.202.0.4", NTP_PORT, ("udp",)),
}
"""Each site has a resolver of its own."""
NAMES: dict[str, str] = {name: f"{name}.fieldbeat.test" for name in PLACES}
"""What devices know them by (RFC 2606 keeps ``.test`` for such)."""
HOSTS: dict[str, str] = {NAMES[name]: place.host for name, place in PLACES.items()}


class Site(NamedTuple):
    """A device's place: its namespace and its router's."""

    number: int
    device: str
    router: str
    speed: float = 1.0
    """How much faster than real time the run is."""

    @property
    def tcp(self) -> str:
        """Words of a route: how TCP behaves there.

        Linux waits 200 ms at least for an acknowledgement, whatever a lab's clock says.
        """
        words = f" congctl {CONGESTION}" if CONGESTION in _LOADED.read_text().split() else ""
        if self.speed <= 1:
            return words
        return f"{words} rto_min {max(1, round(RETRANSMIT_MIN_MS / self.speed))}ms"

    @property
    def mac(self) -> str:
        """The router's, seen from the cloud (locally administered)."""
        return f"02:fb:00:00:{self.number >> 8:02x}:{self.number & 0xFF:02x}"

    @property
    def address(self) -> str:
        """The device's."""
        return f"10.201.{self.number}.2"

    @property
    def gateway(self) -> str:
        """The router's, seen from the device."""
        return f"10.201.{self.number}.1"

    @property
    def outside(self) -> str:
        """The router's, seen from the cloud."""
        return f"10.202.1.{self.number}"

    @property
    def resolver(self) -> str:
        """Its resolver's, in the cloud."""
        return f"10.202.2.{self.number}"

    def place(self, name: str) -> Place | None:
        """A service as this site's firewall tells it apart."""
        if name == "dns":
            return Place(self.resolver, DNS_PORT, ("udp", "tcp"))
        return PLACES.get(name)
