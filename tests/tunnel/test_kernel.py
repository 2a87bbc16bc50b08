"""What the kernel's module says, without one (with one: ``.ci/kernel``)."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from agent.tunnel import kernel
from agent.tunnel.uapi import Got


class Attributes:
    """A message of netlink, as pyroute2 gives it."""

    def __init__(self, **known: Any) -> None:
        self._known = known

    def get_attr(self, name: str) -> Any:
        return self._known.get(name)


def _peer(name: bytes, **more: Any) -> Attributes:
    return Attributes(WGPEER_A_PUBLIC_KEY=base64.b64encode(name * 32), **more)


def test_a_peer_that_a_message_had_no_room_for_keeps_its_counters() -> None:
    """Seen of Debian's 6.1 with 700 peers: one of them is in two messages."""
    counted = {"WGPEER_A_RX_BYTES": 5, "WGPEER_A_TX_BYTES": 6}
    messages = [
        Attributes(
            WGDEVICE_A_LISTEN_PORT=7, WGDEVICE_A_PEERS=[_peer(b"a"), _peer(b"b", **counted)]
        ),
        Attributes(WGDEVICE_A_PEERS=[_peer(b"b", WGPEER_A_ALLOWEDIPS=[]), _peer(b"c", **counted)]),
    ]
    got = kernel.read(messages)
    assert got.listen_port == 7
    assert {public[:1]: p.rx_bytes for public, p in got.peers.items()} == {
        b"a": 0,
        b"b": 5,
        b"c": 5,
    }


def test_an_interface_that_is_gone_has_no_peers(monkeypatch: Any) -> None:
    def gone(method: str, name: str, words: dict[str, Any]) -> Any:
        raise OSError(f"{name}: (19, 'No such device')")

    monkeypatch.setattr(kernel, "_call", gone)
    interface = kernel.KernelInterface()
    interface._name = "wg0"
    assert asyncio.run(interface.got()) == Got()
