"""A site firewall's rules for nftables, in its JSON: one table a fault, so that a fault can go.

Rules stand in the router's forward chain, as a site's do: a dropped packet vanishes on the way,
its sender notices nothing; a rejected one is answered with a reset or by ICMP.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .netns import run
from .places import API_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .places import Place

FAMILY = "ip"


def table(
    name: str, places: Iterable[Place], *, mode: str, outward: bool, inward: bool
) -> dict[str, Any]:
    """The table of a fault.

    Args:
        name: of the table.
        places: services of the cloud that are not reached any more.
        mode: ``drop`` or ``reject``.
        outward: what the device sends is met.
        inward: what it is sent is met.
    """
    chain = {"name": "forward", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}
    rules = []
    for place in places:
        for protocol in place.protocols:
            if outward:
                rules.append(_rule(protocol, place, "daddr", "dport", mode))
            if inward:
                rules.append(_rule(protocol, place, "saddr", "sport", mode))
    return _commands(name, chain, rules)


def _rule(protocol: str, place: Place, address: str, port: str, mode: str) -> list[dict[str, Any]]:
    verdict: dict[str, Any] = {"drop": None}
    if mode == "reject":
        words = {"type": "tcp reset"} if protocol == "tcp" else {"type": "icmp", "expr": PORT}
        verdict = {"reject": words}
    return [
        _match("ip", address, place.host),
        _match(protocol, port, _ports(place)),
        {"counter": {"packets": 0, "bytes": 0}},
        verdict,
    ]


def portal(name: str, interface: str, port: int, *, held: Iterable[Place]) -> dict[str, Any]:
    """The table of a captive portal: HTTP ends at the router, what it holds back vanishes.

    Args:
        name: of the table.
        interface: the site's.
        port: of the router's own page.
        held: services that wait for somebody to log in.
    """
    from_lan = {
        "match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": interface},
    }
    answered = [from_lan, _match("tcp", "dport", API_PORT), {"redirect": {"port": port}}]
    chain = {"name": "page", "type": "nat", "hook": "prerouting", "prio": -100}
    dropped = table(name, held, mode="drop", outward=True, inward=True)["nftables"]
    page = _commands(name, {**chain, "policy": "accept"}, [answered])["nftables"]
    return {"nftables": [*page, *dropped[1:]]}


def _commands(name: str, chain: dict[str, Any], rules: list[Any]) -> dict[str, Any]:
    where = {"family": FAMILY, "table": name}
    commands: list[dict[str, Any]] = [
        {"add": {"table": {"family": FAMILY, "name": name}}},
        {"add": {"chain": {**where, **chain}}},
    ]
    hook = chain["name"]
    commands += [{"add": {"rule": {**where, "chain": hook, "expr": rule}}} for rule in rules]
    return {"nftables": commands}


PORT = "port-unreachable"


def _ports(place: Place) -> Any:
    if place.ports == 1:
        return place.port
    return {"range": [place.port, place.port + place.ports - 1]}


def _match(protocol: str, field: str, value: Any) -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": "==", "left": left, "right": value}}


def apply(namespace: str, commands: Mapping[str, Any]) -> None:
    """Apply commands in a namespace, all or none.

    Raises:
        LabError: nft refused, in its own words.
    """
    text = json.dumps(commands)
    run("ip", "netns", "exec", namespace, "nft", "-j", "-f", "-", text=text)


def mute(name: str) -> dict[str, Any]:
    """The table of a kernel that says to nobody that it does not know him (any more)."""
    chain = {"name": "output", "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}
    flags = {"payload": {"protocol": "tcp", "field": "flags"}}
    reset = {"match": {"op": "in", "left": flags, "right": "rst"}}
    unreachable = _match("icmp", "type", "destination-unreachable")
    # its own programs are told: who knocks to learn whether one listens has an answer at once
    own = {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "lo"}}
    rules = [[own, {"accept": None}], [reset, {"drop": None}], [unreachable, {"drop": None}]]
    return _commands(name, chain, rules)


def cut(namespace: str, *filters: str) -> None:
    """Reset the TCP connections of a namespace that fit, as a firewall does that rejects.

    Without a packet on its way such a firewall would meet a connection at its next ping only; the
    kernel closes it and tells the other end (``SOCK_DESTROY``; one without it does nothing).
    """
    with contextlib.suppress(LabError):
        run("ip", "netns", "exec", namespace, "ss", "-KHtn", *filters)


def delete(namespace: str, name: str) -> None:
    """Take a fault's table away."""
    command = {"delete": {"table": {"family": FAMILY, "name": name}}}
    apply(namespace, {"nftables": [command]})


def counted(namespace: str, name: str) -> int:
    """Packets that met the rules of a fault."""
    shown = json.loads(
        run("ip", "netns", "exec", namespace, "nft", "-j", "list", "table", FAMILY, name)
    )
    rules = [item["rule"]["expr"] for item in shown["nftables"] if "rule" in item]
    return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)
