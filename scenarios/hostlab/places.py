"""Where things are: the cloud's services at addresses of their own, and the sites."""

from __future__ import annotations

from typing import NamedTuple

API_PORT, VPN_PORT, REGISTRY_PORT = 8080, 8443, 5000
CLOUD_NET = 16
SITES_MAX = 200


class Place(NamedTuple):
    """A service of the cloud as a firewall tells it apart."""

    host: str
    port: int
    protocols: tuple[str, ...]


PLACES: dict[str, Place] = {
    "api": Place("10.202.0.1", API_PORT, ("tcp",)),
    "vpn": Place("10.202.0.2", VPN_PORT, ("tcp", "udp")),
    "registry": Place("10.202.0.3", REGISTRY_PORT, ("tcp",)),
}
"""``dns`` and ``ntp`` are not spoken in this lab: devices are given addresses, and our clock."""


class Site(NamedTuple):
    """A device's place: its namespace and its router's."""

    number: int
    device: str
    router: str

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
