"""The cloud's side of the host lab: several VPN servers, incidents, deltas."""

from __future__ import annotations

import asyncio
import json
import re
import select
import socket
from typing import TYPE_CHECKING

import pytest

from scenarios.compile import compile_text
from scenarios.errors import LabError
from scenarios.hostlab import netns, nft
from scenarios.hostlab.places import PLACES, VPN_PORTS
from scenarios.hostlab.topology import make_cloud, make_site
from scenarios.hostlab.vpn_servers import VpnServers, ports_of
from tests.histories import not_held
from tests.hostlab.lab import Run, at_once, needs_host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scenarios.hostlab.places import Site

SPEED = "20"
SERVERS = """
scenario: Two VPN servers
cloud: {poll_interval: 1m}
fleet: {devices: 2}
timeline:
  - {at: 0s, do: power_on}
  - {at: 3m, do: vpn_server, state: up, name: vpn2}
  - {at: 4m, do: vpn_server, state: killed, name: vpn1, id: killed}
  - {at: 6m, do: action, name: blink, expect: ok}
  - {at: 7m, do: vpn_server, state: up, name: vpn1}
  - {at: 8m, do: firewall, block: vpn, mode: reject, on: device-1, id: blocked}
  - {at: 9m, do: firewall, allow: vpn, on: device-1, id: open}
  - {at: 13m, do: end}
expect:
  - eventually: {is_managed_by__service_instance: 2}
    after: killed
    within: 1m
  - always: {is_connected_to_vpn: true}
    from: killed
    for: device-2
  - eventually: {is_connected_to_vpn: false}
    after: blocked
    within: 30s
    for: device-1
  - eventually: {is_connected_to_vpn: true, is_managed_by__service_instance: 3}
    after: open
    within: 3m
    for: device-1
"""
STALE = """
scenario: A stale disconnect counts
timeline:
  - {at: 0s, do: incident, name: stale-disconnect, state: "on"}
  - {at: 0s, do: power_on}
  - {at: 4m, do: vpn_server, state: up, name: vpn2}
  - {at: 5m, do: network, state: down, id: lost}
  - {at: lost + 75s, do: network, state: up, id: back}
  - {at: 11m, do: end}
expect:
  - eventually: {is_managed_by__service_instance: 2}
    after: back
    within: 20s
  - always: {is_connected_to_vpn: false}
    from: lost + 125s
"""
DELTAS = """
scenario: Deltas
cloud: {poll_interval: 1m}
links: {registry_rate: 200 kB/s}
timeline:
  - {at: 0s, do: config, name: RESIN_SUPERVISOR_DELTA, value: "1"}
  - {at: 0s, do: power_on}
  - {at: 4m, do: release, commit: r2, services: {main: {size: 60 MB, delta: 1 MB}}, id: small}
  - {at: 7m, do: delta, state: processing}
  - {at: 7m, do: release, commit: r3, services: {main: {size: 60 MB, delta: 1 MB}}, id: waiting}
  - {at: 10m, do: delta, state: ok, id: made}
  - {at: 13m, do: delta, state: broken}
  - {at: 13m, do: release, commit: r4, services: {main: {size: 6 MB, delta: 1 MB}}, id: useless}
  - {at: 17m, do: end}
expect:
  # a whole image would take five minutes
  - eventually: {update_status: done, running_release: r2}
    after: small
    within: 2m
  - eventually: {update_status: downloading}
    after: waiting
    within: 1m
  - always: {overall_progress: 0, running_release: r2}
    from: waiting + 1m
    until: made
  - eventually: {update_status: done, running_release: r3}
    after: made
    within: 150s
  - never: {running_release: r4}
    until: useless + 30s
  - eventually: {update_status: done, running_release: r4}
    after: useless
    within: 3m
"""
RUNS = {"servers": SERVERS, "stale": STALE, "deltas": DELTAS}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All of them at once."""
    needs_host()
    with at_once(tmp_path_factory.mktemp("clouds"), RUNS, "--speed", SPEED) as begun:
        yield begun


@pytest.mark.parametrize("name", RUNS)
def test_what_the_cloud_has_wrong_is_met_by_real_programs(runs: dict[str, Run], name: str) -> None:
    runs[name].held()
    assert runs[name].left() == []


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS)
def test_the_model_says_the_same(text: str) -> None:
    assert not_held(compile_text(text)) == []


# --- the balancer ---------------------------------------------------------------------------------


class _Cloud:
    """A cloud that does what it is told."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.told: list[tuple[str, Any]] = []

    async def must(self, _method: str, path: str, body: Any = None) -> None:
        self.told.append((path.rpartition("/")[2], body["state"]))


class _Bench:
    """Sites, a cloud whose VPN servers only listen, and the balancer before them."""

    def __init__(self, names: netns.Names, *servers: str) -> None:
        self.cloud = _Cloud(make_cloud(names))
        self.sites = [make_site(names, self.cloud.namespace, number) for number in (1, 2)]
        ports = {name: PLACES["vpn"].port + number for number, name in enumerate(servers)}
        self.listening = {}
        for name, port in ports.items():
            made = netns.socket_in(self.cloud.namespace, socket.AF_INET, socket.SOCK_STREAM, 0)
            made.bind((PLACES["vpn"].host, port))
            made.listen()
            made.setblocking(False)
            self.listening[name] = made
        self.balancer = VpnServers(self.cloud, ports)  # type: ignore[arg-type]  # as much of it
        self.balancer.begin(self.sites)

    def change(self, name: str | None, state: str) -> None:
        asyncio.run(self.balancer.change(name, state))

    def reached(self, site: Site) -> str:
        """Which server a new connection of a site comes to."""
        vpn = PLACES["vpn"]
        with netns.socket_in(site.device, socket.AF_INET, socket.SOCK_STREAM, 0) as knocking:
            knocking.settimeout(60)
            knocking.connect((vpn.host, vpn.port))
            # the last packet of the handshake may still be on its way
            ready, _, _ = select.select(list(self.listening.values()), (), (), 60)
            (name,) = (name for name, server in self.listening.items() if server in ready)
            accepted, (host, _) = self.listening[name].accept()
            accepted.close()
            assert host == site.address
            return name


@pytest.fixture
def bench() -> Iterator[_Bench]:
    needs_host()
    names = netns.Names()
    try:
        made = _Bench(names, "vpn1", "vpn2", "west")
        # a bridge forwards some time after its cable was put in
        for _ in range(50):
            try:
                made.reached(made.sites[0])
            except OSError:
                continue
            break
        yield made
        for server in made.listening.values():
            server.close()
    finally:
        names.remove()


def test_each_connection_goes_to_the_next_server_that_runs(bench: _Bench) -> None:
    first, second = bench.sites
    assert [bench.reached(second) for _ in range(2)] == ["vpn1", "vpn1"]
    bench.change("vpn2", "up")
    # the second site has made two, and begins one further on
    assert [bench.reached(second) for _ in range(3)] == ["vpn2", "vpn1", "vpn2"]
    before = bench.reached(first)
    assert bench.reached(first) != before
    bench.change("west", "up")
    assert {bench.reached(first) for _ in range(3)} == {"vpn1", "vpn2", "west"}
    bench.change("vpn1", "killed")
    assert {bench.reached(first) for _ in range(4)} == {"vpn2", "west"}
    # one that hangs or refuses is sent devices all the same
    bench.change("vpn2", "hang")
    assert {bench.reached(first) for _ in range(4)} == {"vpn2", "west"}


def test_all_servers_are_those_that_ever_ran(bench: _Bench) -> None:
    bench.change(None, "hang")
    assert bench.cloud.told == [("vpn1", "hang")]
    bench.change("vpn2", "up")
    bench.change(None, "down")
    assert bench.cloud.told[2:] == [("vpn1", "down"), ("vpn2", "down")]
    bench.change("west", "up")
    assert [bench.reached(bench.sites[0]) for _ in range(2)] == ["west", "west"]


def test_ports_are_of_the_servers_that_a_scenario_names() -> None:
    first = PLACES["vpn"].port
    assert ports_of(compile_text(SERVERS)) == {"vpn1": first, "vpn2": first + 1}
    assert ports_of(compile_text(DELTAS)) == {"vpn1": first}
    line = "  - {{at: 1m, do: vpn_server, state: up, name: n{}}}\n"
    steps = "".join(line.format(number) for number in range(VPN_PORTS))
    start = "scenario: x\ntimeline:\n  - {at: 0s, do: power_on}\n"
    many = compile_text(f"{start}{steps}  - {{at: 2m, do: end}}\n")
    with pytest.raises(LabError, match=f"has {VPN_PORTS} VPN servers, not {VPN_PORTS + 1}"):
        ports_of(many)


def test_a_firewall_against_the_vpn_is_one_against_all_its_servers() -> None:
    table = json.dumps(nft.table("t", [PLACES["vpn"]], mode="drop", outward=True, inward=False))
    first = PLACES["vpn"].port
    ranges = re.findall(r'"range": \[(\d+), (\d+)\]', table)
    assert ranges == [(str(first), str(first + VPN_PORTS - 1))] * 2
