"""What stands at a device's site: its cable, the router's firewall, a resolver, a portal."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from socket import AF_INET, SOCK_STREAM
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from ..streams import Stream
from . import nft
from .cable import Cable
from .netns import socket_in
from .places import PLACES
from .portal import Portal
from .quality import CLEAR
from .resolver import Resolver
from .topology import make_site, plug, readdress, unplug

if TYPE_CHECKING:
    from collections.abc import Callable

    from .. import verbs
    from .netns import Names
    from .places import Place, Site

READY_S = 30.0


class Works:
    """Of one site."""

    def __init__(
        self,
        names: Names,
        cloud: str,
        number: int,
        *,
        name: str,
        seed: int,
        speed: float,
        bad: bool,
        remembers: bool = False,
        latency_ms: int = 0,
    ) -> None:
        """Make namespaces and cables.

        Args:
            names: of the run.
            cloud: the cloud's namespace.
            number: of the site, from 1.
            name: of the device.
            seed: of the run.
            speed: how much faster than real time the run is.
            bad: its cable must be able to be bad.
            remembers: and to forget connections, or close those that are idle.
            latency_ms: of the cable when it is good, one way.

        Raises:
            LabError: something cannot be made.
        """
        self._cable: Cable | None = None
        self._latency_ms = latency_ms
        self._quality = CLEAR
        """As the scenario says, beside its usual latency."""
        self.plugged, self.lit = True, True
        """The cable is in; the board behind it has power, and a kernel that answers."""
        self._blocked: dict[str, list[str]] = {}
        """Place → tables that stand in its way."""

        def cable(site: Site) -> None:
            self._cable = Cable(names, site, seed=seed, name=name, speed=speed, remembers=remembers)
            self._set(self._cable)

        self.site = make_site(names, cloud, number, cable if bad else None, speed=speed)
        self.address = self._has = self.site.address
        """The device's now, and what its interface has: what the DHCP server says while the cable
        is out, it learns when it is in."""
        self.addresses = [self.address]
        """All it has had."""
        self._cloud, self._tables, self._speed = cloud, 0, speed
        draws = Stream(seed, "resolver", name)
        self.resolver = Resolver(cloud, self.site.resolver, draws=draws, speed=speed)
        self.portal = Portal(self.site)

    async def start(self) -> None:
        """Packets pass, names are resolved."""
        if self._cable is not None:
            self._cable.start()
        await self.resolver.change(None)

    async def reachable(self) -> None:
        """Wait until the cloud is: a bridge forwards some time after its cable was put in.

        Raises:
            LabError: it is not within ``READY_S``.
        """
        api, loop = PLACES["api"], asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READY_S):
                with (
                    socket_in(self.site.device, AF_INET, SOCK_STREAM, 0) as knocking,
                    contextlib.suppress(ConnectionRefusedError),
                ):
                    await loop.sock_connect(knocking, (api.host, api.port))
        except (OSError, TimeoutError) as error:
            words = str(error) or f"not within {READY_S:.0f} s"
            raise LabError(
                f"the cloud cannot be reached from site {self.site.number}: {words}"
            ) from None

    async def close(self) -> None:
        """What is not a namespace goes."""
        if self._cable is not None:
            self._cable.close()
        self.resolver.close()
        await self.portal.close()

    def resolv_conf(self) -> str:
        """The device's."""
        return f"nameserver {self.site.resolver}\n"

    # --- what a scenario does to it ---------------------------------------------------------------

    def network(self, *, up: bool) -> None:
        """The device's cable comes out, or goes in."""
        self.plugged = up
        self._connect()

    def power(self, *, on: bool) -> None:
        """The board's kernel is there, or gone: nobody answers for a board without power, whatever
        becomes of its cable."""
        self.lit = on
        self._connect()

    def _connect(self) -> None:
        """What the cable and the board's power make of it, with the address that it has by now."""
        if not (self.plugged and self.lit):
            unplug(self.site)
            return
        plug(self.site)
        if self.address != self._has:
            readdress(self.site, self._cloud, self.address)
            self._has = self.address

    def impair(self, action: verbs.Impair) -> None:
        """The quality of the link; what is not named stays as it was."""
        assert self._cable is not None
        quality = CLEAR if action.clear else self._quality
        given: dict[str, Any] = {
            "latency_ms": action.latency_ms,
            "jitter_ms": action.jitter_ms,
            "loss": action.loss,
            "rate_bytes_per_second": action.rate_bytes_per_second,
            "mtu": action.mtu,
            "nat_timeout_ms": action.nat_timeout_ms,
            "idle_timeout_ms": action.idle_timeout_ms,
        }
        given = {name: value for name, value in given.items() if value is not None}
        self._quality = replace(quality, **given)
        self._set(self._cable)

    def _set(self, cable: Cable) -> None:
        latency_ms = self._latency_ms + self._quality.latency_ms
        quality = replace(self._quality, latency_ms=latency_ms)
        cable.change(CLEAR if quality == CLEAR else quality)

    def readdress(self, address: str) -> None:
        """The site's DHCP server gives the device another address."""
        self.address = address
        self.addresses.append(address)
        if self.plugged and self.lit:
            self._connect()

    async def captive(self, *, on: bool) -> None:
        """The captive portal stands in the way, or not any more."""
        await (self.portal.on() if on else self.portal.off())

    def firewall(self, action: verbs.Firewall, met: Callable[[str, int], None]) -> None:
        """One table for each place and fault; allowing a place takes all of its tables away.

        Args:
            action: what the firewall does.
            met: told the name of a place that is allowed, and how many packets met its rules.
        """
        for name in action.block or ():
            place = self.site.place(name)
            if place is not None:
                self._block(name, place, action)
        for name in action.allow or ():
            for table in self._blocked.pop(name, []):
                met(name, nft.counted(self.site.router, table))
                nft.delete(self.site.router, table)

    def _block(self, name: str, place: Place, action: verbs.Firewall) -> None:
        self._tables += 1
        table = f"fieldbeat_{self._tables}"
        commands = nft.table(
            table,
            [place],
            mode=action.mode,
            outward=action.direction != "in",
            inward=action.direction != "out",
        )
        nft.apply(self.site.router, commands)
        self._blocked.setdefault(name, []).append(table)
        if action.mode == "reject" and "tcp" in place.protocols:
            there = f"{place.host}:{place.port}"
            with contextlib.suppress(OSError):
                nft.cut(self.site.device, "dst", there)
                # its address says which service it is; a VPN server has a port of its own
                nft.cut(self._cloud, "src", place.host, "dst", self.address)
