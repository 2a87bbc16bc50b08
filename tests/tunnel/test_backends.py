"""What cloudlink promises, by each kind of tunnel: the model's, in this process, wireguard-go's.

One scenario for all: who is there is let in and can be called, a brief silence ends nothing, a long
one is noticed by both ends, a way that opens is found again, a client that is switched off is gone
at once.  The kernel's kind
keeps ``contract`` in a virtual machine (``.ci/kernel``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scenarios.compile import compile_text
from tests.histories import not_held
from tests.hostlab.lab import Run, at_once, needs_host

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEED = "25"
PROMISES = """
scenario: What a tunnel promises
cloud: {poll_interval: 1m}
timeline:
  - {at: 0s, do: power_on}
  - {at: 4m, do: action, name: blink, expect: ok}
  - {at: 4m10s, do: firewall, block: vpn, mode: drop, id: brief}
  - {at: 4m30s, do: firewall, allow: vpn}
  - {at: 5m, do: firewall, block: vpn, mode: drop, direction: out, id: outward}
  - {at: 8m, do: action, name: blink, expect: 404}
  - {at: 8m, do: firewall, allow: vpn, id: heard}
  - {at: 13m, do: action, name: blink, expect: ok}
  - {at: 13m30s, do: firewall, block: vpn, mode: reject, id: rejected}
  - {at: 15m, do: firewall, allow: vpn, id: open}
  - at: 20m
    do: config
    name: BALENA_SUPERVISOR_VPN_CONTROL
    value: "false"
    id: disabled
  - {at: 24m, do: end}
expect:
  - eventually: {is_connected_to_vpn: true}
    after: power_on
    within: 4m
  - always: {is_connected_to_vpn: true}
    from: brief
    until: outward
  - always: {is_connected_to_vpn: true}
    from: outward
    until: outward + vpn_server_timeout - vpn_ping_interval - 20s
  - eventually: {is_connected_to_vpn: false}
    after: outward
    within: vpn_server_timeout + 40s
  - eventually: {is_connected_to_vpn: true}
    after: heard
    within: 5m
  - eventually: {is_connected_to_vpn: false}
    after: rejected
    within: 30s
  - eventually: {is_connected_to_vpn: true}
    after: open
    within: 5m
  - eventually: {is_connected_to_vpn: false, overall_status: operational}
    after: disabled
    within: 4m
"""


REAL = ("inprocess", "userspace")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Both kinds that are real, at once."""
    needs_host("wireguard-go")
    cases = dict.fromkeys(REAL, PROMISES)
    folder = tmp_path_factory.mktemp("kinds")
    with at_once(folder, cases, "--speed", SPEED, "--tunnel", "{}") as begun:
        yield begun


def test_the_model_keeps_its_promises() -> None:
    assert not_held(compile_text(PROMISES)) == []


@pytest.mark.parametrize("kind", REAL)
def test_every_real_kind_keeps_them(runs: dict[str, Run], kind: str) -> None:
    runs[kind].held()
