"""The cable of a device whose link may be bad: a namespace between its ``eth0`` and ``lan0``.

As long as the link is well the kernel forwards from one end to the other, at its own speed.  When
it is bad the same packets take a way through a ``Wire``.  What is switched are routes inside the
cable: neither the device nor its router notices, and what is under way lives on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .netns import FORWARD, batch, join, tune
from .quality import CLEAR
from .wire import Wire

if TYPE_CHECKING:
    from .netns import Names
    from .places import Site
    from .quality import Quality

_TO_ROUTER, _TO_DEVICE, _OUTWARD, _INWARD = 1, 2, 3, 4
"""Tables of routes: to an end of the cable, and into the wire."""
_OUT_OF_WIRE, _INTO_WIRE, _THROUGH = 10, 20, 30
"""Order of the rules: what the wire gives back must not come into it again."""


class Cable:
    """Of one site."""

    def __init__(
        self, names: Names, site: Site, *, seed: int, name: str, speed: float, remembers: bool
    ) -> None:
        """Make its namespace and both ends; it is well.

        Args:
            names: of the run.
            site: with both namespaces.
            seed: of the run.
            name: of the device, for the stream of randomness.
            speed: how much faster than real time this link's seconds are.
            remembers: something on it knows connections (a middlebox, a proxy): the wire must see
                every packet.

        Raises:
            LabError: there is no TUN device, or it may not be used.
        """
        self.namespace = names.make(f"c{site.number}")
        # a way back by another table is no reason to drop a packet; interfaces copy the default
        ways = {f"net/ipv4/conf/{which}/rp_filter": "0" for which in ("all", "default")}
        tune(self.namespace, {FORWARD: "1", **ways})
        self._remembers = remembers
        self.carries = False
        """Packets go through the wire."""
        join((self.namespace, "near"), (site.device, "eth0"))
        join((self.namespace, "far"), (site.router, "lan0"))
        self.wire = Wire(
            self.namespace, seed=seed, name=name, speed=speed, remembers=self._remembers
        )
        batch(
            [
                *(f"link set {end} up" for end in ("near", "far", "wire0", "wire1")),
                f"route add default via {site.gateway} dev far onlink table {_TO_ROUTER}",
                f"route add default dev near table {_TO_DEVICE}",
                f"route add default dev wire0 table {_OUTWARD}",
                f"route add default dev wire1 table {_INWARD}",
                f"rule add pref {_OUT_OF_WIRE} iif wire1 lookup {_TO_ROUTER}",
                f"rule add pref {_OUT_OF_WIRE} iif wire0 lookup {_TO_DEVICE}",
                f"rule add pref {_THROUGH} iif near lookup {_TO_ROUTER}",
                f"rule add pref {_THROUGH} iif far lookup {_TO_DEVICE}",
            ],
            inside=self.namespace,
        )
        self.change(CLEAR)

    def start(self) -> None:
        """The wire carries from now on what comes into it."""
        self.wire.start()

    def close(self) -> None:
        """The wire vanishes; the rest goes with the namespace."""
        self.wire.close()

    def change(self, quality: Quality) -> None:
        """The link is so good, or bad, from now on."""
        self.wire.change(quality)
        carries = self._remembers or quality is not CLEAR
        if carries is self.carries:
            return
        self.carries = carries
        word = "add" if carries else "del"
        batch(
            [
                f"rule {word} pref {_INTO_WIRE} iif near lookup {_OUTWARD}",
                f"rule {word} pref {_INTO_WIRE} iif far lookup {_INWARD}",
            ],
            inside=self.namespace,
        )
