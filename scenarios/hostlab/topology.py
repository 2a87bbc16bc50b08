"""The cables: device — (bad cable —) site router — the cloud's bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .netns import FORWARD, batch, join, run, tune
from .places import CLOUD_NET, PLACES, Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from .netns import Names


_FROM_VPN = f"src {PLACES['vpn'].host}"
"""A WireGuard server forgets the address it was called at when a handshake stays unanswered; from
another one than the VPN's it would get round a firewall that blocks the VPN."""


def make_cloud(names: Names) -> str:
    """The cloud's namespace: a bridge with an address for each service."""
    cloud = names.make("cloud")
    addresses = [f"addr add {place.host}/{CLOUD_NET} dev net0" for place in PLACES.values()]
    batch(["link add net0 type bridge", "link set net0 up", *addresses], inside=cloud)
    return cloud


def make_site(
    names: Names,
    cloud: str,
    number: int,
    cable: Callable[[Site], None] | None = None,
    *,
    speed: float = 1.0,
) -> Site:
    """A device's namespace behind a router's, in front of the cloud's.

    Args:
        names: of the run.
        cloud: the cloud's namespace.
        number: from 1.
        cable: makes ``eth0`` and ``lan0``; without it they are a pair of the kernel's.
        speed: how much faster than real time the run is.
    """
    site = Site(number, names.make(f"d{number}"), names.make(f"r{number}"), speed)
    if cable is None:
        join((site.router, "lan0"), (site.device, "eth0"))
    else:
        cable(site)
    run(
        *("ip", "-n", site.router, "link", "add", "wan0", "type", "veth"),
        *("peer", "name", f"site{number}", "netns", cloud),
    )
    batch(
        [
            f"addr add {site.gateway}/24 dev lan0",
            "link set lan0 up",
            f"link set wan0 address {site.mac}",
            f"addr add {site.outside}/{CLOUD_NET} dev wan0",
            "link set wan0 up",
        ],
        inside=site.router,
    )
    tune(site.router, {FORWARD: "1"})
    batch([f"addr add {site.address}/24 dev eth0"], inside=site.device)
    plug(site)
    batch(
        [
            f"link set site{number} master net0",
            f"link set site{number} up",
            f"addr add {site.resolver}/{CLOUD_NET} dev net0",
            f"route add 10.201.{number}.0/24 via {site.outside} {_FROM_VPN}{site.tcp}",
        ],
        inside=cloud,
    )
    return site


def plug(site: Site) -> None:
    """The device's cable goes in."""
    # a DHCP server's address has no network in which the gateway would be
    by = f"via {site.gateway} dev eth0 onlink{site.tcp}"
    lines = ["link set eth0 up", f"route replace default {by}"]
    if site.speed > 1:
        # an acknowledgement held back for 40 ms of the kernel's would count many times as much, and
        # twice as much each time the server's kernel sends to a silent device again
        lines.append(f"route replace {PLACES['vpn'].host} {by} quickack 1")
    batch(lines, inside=site.device)


def unplug(site: Site) -> None:
    """The device's cable comes out."""
    batch(["link set eth0 down"], inside=site.device)


def readdress(site: Site, cloud: str, address: str) -> None:
    """The device's only address is another one; site and cloud find the way to it."""
    batch(["addr flush dev eth0", f"addr add {address}/32 dev eth0"], inside=site.device)
    batch([f"route replace {address}/32 dev lan0"], inside=site.router)
    batch([f"route replace {address}/32 via {site.outside} {_FROM_VPN}{site.tcp}"], inside=cloud)
    plug(site)  # its ways went with its address
