"""The VPN servers of a host lab, and the balancer in front of them (``SUPERVISOR.md §8``).

Each is an instance of the cloud's process with a port of its own, TCP and UDP, at the VPN's one
address.  Where a scenario names more than one, nftables in the cloud's namespace sends each new TCP
connection of a site to the next that runs, as ``simulation.tunnels`` does it.  A tunnel's UDP goes
to the port that its server told the client.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .. import verbs
from ..errors import LabError
from .netns import run
from .places import PLACES, VPN_PORTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..model import Scenario
    from .cloud import CloudProcess
    from .places import Site

TABLE = "fieldbeat_balancer"
CHAIN = f"{TABLE} prerouting"


def ports_of(scenario: Scenario) -> dict[str, int]:
    """Name → port of each VPN server that a scenario speaks of, those that run at once first.

    Raises:
        LabError: there are too many.
    """
    named = [step.action for step in scenario.steps if isinstance(step.action, verbs.VpnServer)]
    names = dict.fromkeys((*verbs.VPN_SERVERS, *(action.name for action in named if action.name)))
    if len(names) > VPN_PORTS:
        raise LabError(f"the host lab has {VPN_PORTS} VPN servers, not {len(names)}")
    first = PLACES["vpn"].port
    return {name: first + number for number, name in enumerate(names)}


class VpnServers:
    """Those of one run."""

    def __init__(self, cloud: CloudProcess, ports: Mapping[str, int]) -> None:
        """Those that run from the start do.

        Args:
            cloud: whose they are.
            ports: name → port.
        """
        self._cloud, self._ports = cloud, ports
        self._known = list(verbs.VPN_SERVERS)
        """Those that ever ran, in the order of their first starts."""
        self._down: set[str] = set()
        self._sites: list[Site] = []
        self._sent: dict[int, int] = {}
        """Site → connections that were given to a server, before the rules of now."""

    def begin(self, sites: Iterable[Site]) -> None:
        """Stand in front of the servers, where there is something to choose."""
        self._sites = list(sites)
        if len(self._ports) > 1:
            add = f"add table ip {TABLE}\nadd chain ip {CHAIN}"
            hook = "{ type nat hook prerouting priority -100; }"
            self._nft("-f", "-", text=f"{add} {hook}\n")
            self._balance()

    async def change(self, name: str | None, state: str) -> None:
        """One server, or each that ever ran, is as a step says."""
        for one in [name] if name else sorted(self._known):
            if state in ("down", "killed"):
                self._down.add(one)
                self._balance()  # first, so that nobody is sent to it meanwhile
            await self._cloud.must("PUT", f"/fieldbeat/v1/vpn/{one}", {"state": state})
            if state == "up":
                self._down.discard(one)
                if one not in self._known:
                    self._known.append(one)
                self._balance()

    # --- the balancer ----------------------------------------------------------------------------

    def _balance(self) -> None:
        """Send the sites' next connections to the servers that run now, each where it is in turn.

        Where none runs they reach the first one's port, and nobody listens there.
        """
        if len(self._ports) == 1 or not self._sites:
            return
        running = [self._ports[name] for name in self._known if name not in self._down]
        self._count()
        lines = [f"flush chain ip {CHAIN}"]
        for site in self._sites if running else ():
            turn = site.number - 1 + self._sent.get(site.number, 0)
            lines.append(f"add rule ip {CHAIN} {_rule(site, turn, running)}")
        self._nft("-f", "-", text="\n".join(lines) + "\n")

    def _count(self) -> None:
        """Add what the rules have sent."""
        shown = json.loads(self._nft("-j", "list", "chain", "ip", *CHAIN.split()))
        for item in shown["nftables"]:
            if "rule" in item:
                site = int(item["rule"]["comment"])
                counts = [part["counter"] for part in item["rule"]["expr"] if "counter" in part]
                sent = sum(count["packets"] for count in counts)
                self._sent[site] = self._sent.get(site, 0) + sent

    def _nft(self, *words: str, text: str | None = None) -> str:
        return run("ip", "netns", "exec", self._cloud.namespace, "nft", *words, text=text)


def _rule(site: Site, turn: int, running: Sequence[int]) -> str:
    """Of a site whose next connection is this one: the first packet of each meets it."""
    vpn, many = PLACES["vpn"], len(running)
    places = ", ".join(f"{step} : {running[(turn + step) % many]}" for step in range(many))
    port = str(running[0]) if many == 1 else f"numgen inc mod {many} map {{ {places} }}"
    meant = f"ether saddr {site.mac} ip daddr {vpn.host} tcp dport {vpn.port}"
    return f'{meant} counter dnat to {vpn.host} : {port} comment "{site.number}"'
