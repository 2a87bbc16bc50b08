"""WireGuard by the kernel's module, over netlink (``pyroute2``), as on a board."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
from typing import TYPE_CHECKING, Any

from .uapi import Got, PeerGot
from .userspace import ip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .uapi import PeerSet

PYROUTE2 = "a tunnel in the kernel needs pyroute2: pip install 'fieldbeat[host]'"
REMEDY = "the kernel has no WireGuard here: modprobe wireguard, or --tunnel userspace"


class KernelInterface:
    """An interface of kind ``wireguard``."""

    def __init__(self) -> None:
        self._name = ""

    async def up(self, name: str, *, private: bytes, port: int | None, address: str) -> None:
        """Make it.

        Raises:
            OSError: pyroute2 is not installed, the kernel has no module, or one may not.
        """
        try:
            await ip("link", "add", name, "type", "wireguard")
        except OSError as error:
            raise OSError(f"{error}; {REMEDY}") from None
        self._name = name
        words: dict[str, Any] = {"private_key": _text(private)}
        if port:
            words["listen_port"] = port
        await self._ask("set", **words)
        await ip("addr", "add", address, "dev", name)
        await ip("link", "set", name, "up")

    async def _ask(self, method: str, **words: Any) -> Any:
        """A call of pyroute2, whose own event loop wants a thread of its own."""
        return await asyncio.to_thread(_call, method, self._name, words)

    async def set(self, peers: Iterable[PeerSet]) -> None:
        """Add, change or remove peers."""
        for peer in peers:
            with contextlib.suppress(OSError):
                await self._ask("set", peer=_words(peer))

    async def got(self) -> Got:
        """What it knows; nothing, once it is gone."""
        if not self._name:
            return Got()
        try:
            return read(await self._ask("info"))
        except OSError:
            return Got()

    async def down(self) -> None:
        """Remove it."""
        if self._name:
            with contextlib.suppress(OSError):
                await ip("link", "del", self._name)
            self._name = ""


def _call(method: str, name: str, words: dict[str, Any]) -> Any:
    try:
        from pyroute2 import WireGuard
        from pyroute2.netlink.exceptions import NetlinkError
    except ImportError:
        raise OSError(PYROUTE2) from None
    try:
        with WireGuard() as wireguard:
            return getattr(wireguard, method)(name, **words)
    except NetlinkError as error:
        raise OSError(f"{name}: {error}") from None


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _words(peer: PeerSet) -> dict[str, Any]:
    """A peer as pyroute2 wants it."""
    words: dict[str, Any] = {"public_key": _text(peer.public)}
    if peer.remove:
        return {**words, "remove": True}
    if peer.psk is not None:
        words["preshared_key"] = _text(peer.psk)
    if peer.endpoint is not None:
        words["endpoint_addr"], words["endpoint_port"] = peer.endpoint
    if peer.keepalive_s is not None:
        words["persistent_keepalive"] = peer.keepalive_s
    if peer.allowed is not None:
        words["replace_allowed_ips"] = True
        words["allowed_ips"] = [str(ipaddress.ip_network(net)) for net in peer.allowed]
    return words


def read(messages: Iterable[Any]) -> Got:
    """The kernel's answer to ``info``."""
    got = Got()
    for message in messages:
        got.listen_port = message.get_attr("WGDEVICE_A_LISTEN_PORT") or got.listen_port
        for peer in message.get_attr("WGDEVICE_A_PEERS") or ():
            key = peer.get_attr("WGPEER_A_PUBLIC_KEY")
            public = base64.b64decode(key) if len(key) == 44 else bytes(key)
            if public in got.peers:
                continue  # the rest of one that a message had no room for: addresses, no counters
            last = peer.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME") or {}
            seconds = last.get("tv_sec", 0) + last.get("tv_nsec", 0) / 1e9
            got.peers[public] = PeerGot(
                public=public,
                last_handshake_s=seconds or None,
                rx_bytes=peer.get_attr("WGPEER_A_RX_BYTES") or 0,
                tx_bytes=peer.get_attr("WGPEER_A_TX_BYTES") or 0,
                keepalive_s=peer.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
            )
    return got
