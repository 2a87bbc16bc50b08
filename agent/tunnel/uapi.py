"""WireGuard's cross-platform configuration protocol (``wireguard.com/xplatform``): text, both ways.

Pure but for ``ask``.  A set is refused whole by the server's parser or taken line by line, so that
what could be refused is refused here first.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .noise import KEY, BadKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .peer import Address

ANSWER_S = 5.0
ANSWER_MAX = 64 * 1024 * 1024
"""Ten thousand peers are 4 MB."""


class UapiError(Exception):
    """The interface does not answer, or refuses; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSet:
    """What to set of a peer; what is ``None`` stays as it is."""

    public: bytes
    psk: bytes | None = None
    endpoint: Address | None = None
    keepalive_s: int | None = None
    """0 turns it off."""
    allowed: tuple[str, ...] | None = None
    """Networks such as ``10.0.0.2/32``; they replace those of before."""
    remove: bool = False


@dataclass(slots=True, kw_only=True)
class PeerGot:
    """What an interface knows of a peer."""

    public: bytes
    endpoint: str | None = None
    last_handshake_s: float | None = None
    """Since 1970; ``None``: never."""
    rx_bytes: int = 0
    tx_bytes: int = 0
    keepalive_s: int = 0
    allowed: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Got:
    """What an interface knows."""

    listen_port: int = 0
    peers: dict[bytes, PeerGot] = field(default_factory=dict)


def set_request(
    *,
    private: bytes | None = None,
    listen_port: int | None = None,
    peers: Iterable[PeerSet] = (),
    replace_peers: bool = False,
) -> bytes:
    """The text that sets these.

    Raises:
        BadKeyError: a key has not 32 bytes.
        ValueError: an address or network is none.
    """
    lines = ["set=1"]
    if private is not None:
        lines.append(f"private_key={_hex(private)}")
    if listen_port is not None:
        lines.append(f"listen_port={listen_port}")
    if replace_peers:
        lines.append("replace_peers=true")
    for peer in peers:
        lines += _peer_lines(peer)
    return ("\n".join(lines) + "\n\n").encode()


def _hex(key: bytes) -> str:
    if len(key) != KEY:
        raise BadKeyError(f"a key has {KEY} bytes, this one {len(key)}")
    return key.hex()


def _peer_lines(peer: PeerSet) -> list[str]:
    lines = [f"public_key={_hex(peer.public)}"]
    if peer.remove:
        return [*lines, "remove=true"]
    if peer.psk is not None:
        lines.append(f"preshared_key={_hex(peer.psk)}")
    if peer.endpoint is not None:
        host = ipaddress.ip_address(peer.endpoint[0])
        shown = f"[{host}]" if host.version == 6 else f"{host}"
        lines.append(f"endpoint={shown}:{peer.endpoint[1]}")
    if peer.keepalive_s is not None:
        lines.append(f"persistent_keepalive_interval={peer.keepalive_s}")
    if peer.allowed is not None:
        lines.append("replace_allowed_ips=true")
        lines += [f"allowed_ip={ipaddress.ip_network(net)}" for net in peer.allowed]
    return lines


def read_answer(text: str) -> Got:
    """What an interface answered to a ``get`` or ``set``.

    Raises:
        UapiError: it refused, or this is no answer.
    """
    got = Got()
    errors: list[int] = []
    peer: PeerGot | None = None
    try:
        for line in filter(None, text.splitlines()):
            name, value = line.split("=", 1)
            if name == "public_key":
                peer = PeerGot(public=bytes.fromhex(value))
                got.peers[peer.public] = peer
            elif name == "errno":
                errors.append(int(value))
            elif name == "listen_port":
                got.listen_port = int(value)
            elif peer is not None:
                _read_of_peer(peer, name, value)
    except ValueError:
        raise UapiError(f"the interface's answer cannot be read: {text[:80]!r}") from None
    if not errors:
        raise UapiError("the interface's answer ends too soon")
    if errors != [0]:
        raise UapiError(f"the interface refused (errno {errors[0]})")
    return got


def _read_of_peer(peer: PeerGot, name: str, value: str) -> None:
    """One line below a public key; newer programs say more than is known here."""
    match name:
        case "endpoint":
            peer.endpoint = value
        case "rx_bytes":
            peer.rx_bytes = int(value)
        case "tx_bytes":
            peer.tx_bytes = int(value)
        case "persistent_keepalive_interval":
            peer.keepalive_s = int(value)
        case "allowed_ip":
            peer.allowed.append(value)
        case "last_handshake_time_sec" if int(value):
            peer.last_handshake_s = float(value)
        case "last_handshake_time_nsec" if peer.last_handshake_s is not None:
            peer.last_handshake_s += int(value) / 1e9


async def ask(socket: Path, request: bytes) -> Got:
    """Send a request to an interface's socket; what it answered.

    Raises:
        UapiError: it does not answer, or refuses.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=ANSWER_MAX)
            try:
                writer.write(request)
                await writer.drain()
                raw = await reader.readuntil(b"\n\n")
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise UapiError(f"{socket} does not answer: {str(error) or type(error).__name__}") from None
    return read_answer(raw.decode("utf-8", "replace"))


GET = b"get=1\n\n"
