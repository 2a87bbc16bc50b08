"""Speed of the tunnel: handshakes beside the bare operations they are made of, and a crowd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

import psutil
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from agent.tunnel import uapi
from agent.tunnel.effects import Send
from agent.tunnel.endpoint import Endpoint
from agent.tunnel.load import Load
from agent.tunnel.noise import Identity, Remote
from agent.tunnel.udp import UdpEndpoint, bound, wall_ms
from agent.tunnel.userspace import UserspaceInterface

from .bench_block import SPEED, bench_block
from .bench_cloud import rss_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUND = 2_000
"""Handshakes of a measurement in memory."""
WARM_UP = 20
KEEPALIVE_MS = 25_000
IDLE_S = 2 * KEEPALIVE_MS / 1_000
"""Two whole periods, so that each device has its say as often as any other."""
PORT_OF_GO = 51_999
WAIT_S = 120.0
AT_ONCE = 64
"""Devices that shake hands at one time; a crowd that begins in one instant meets full buffers."""


def _bare() -> Callable[[], None]:
    """A key pair, three exchanges and three seals: what either end cannot do without."""
    theirs = X25519PrivateKey.generate().public_key()
    key, nonce, text = bytes(32), bytes(12), bytes(32)

    def work() -> None:
        pair = X25519PrivateKey.generate()
        pair.public_key().public_bytes_raw()
        for _ in range(3):
            pair.exchange(theirs)
        for _ in range(3):
            ChaCha20Poly1305(key).encrypt(nonce, text, b"")

    return work


class _Rates(NamedTuple):
    """Handshakes a second, on one core."""

    bare: float
    initiator: float
    responder: float


def _rates() -> _Rates:
    """Bare operations, an initiator and a responder, in turns: a core is not always as fast."""
    calm = Load(os.urandom, per_second=10**9)
    device = Endpoint(os.urandom(32), draws=os.urandom)
    server = Endpoint(os.urandom(32), draws=os.urandom, load=calm)
    there = device.add_peer(server.identity.public, address=("server", 1))
    server.add_peer(device.identity.public)
    bare = _bare()
    now_ms = wall_ms()
    spent = [0.0, 0.0, 0.0]
    for number in range(WARM_UP + ROUND):
        if number == WARM_UP:
            spent = [0.0, 0.0, 0.0]
        now_ms += 6_000
        began = time.process_time()
        bare()
        done = time.process_time()
        (first, *_) = device.connect(there, now_ms=now_ms)
        between = time.process_time()
        assert isinstance(first, Send)
        (answer, *_) = server.datagram(first.datagram, ("device", 1), now_ms=now_ms)
        after = time.process_time()
        assert isinstance(answer, Send)
        device.datagram(answer.datagram, ("server", 1), now_ms=now_ms)
        end = time.process_time()
        spent[0] += done - began
        spent[1] += (between - done) + (end - after)
        spent[2] += after - between
    return _Rates(*(ROUND / seconds for seconds in spent))


class _Idle(NamedTuple):
    """Shares of a core while nothing but keepalives flows."""

    ours: float
    others: float | None
    """Of the server, where that is another process."""


async def _crowd(
    devices: int, server_key: bytes, port: int, server: int | None = None
) -> tuple[float, _Idle, list[str]]:
    """Connect devices, each from its own address: seconds to all up, idle shares of a core.

    ``server``: pid of the other end.
    """
    remote = Remote(Identity(server_key).public)
    ends = []
    for number in range(devices):
        end = UdpEndpoint(_private(number))
        await end.open(bound(f"127.{_host(number)}"))
        ends.append(end)
    began = time.monotonic()
    known = []
    room = asyncio.Semaphore(AT_ONCE)
    for end in ends:
        peer = end.endpoint.add_peer(
            remote.public,
            address=("127.0.0.1", port),
            keepalive_ms=KEEPALIVE_MS,
            remote=remote,
        )
        known.append(peer)
        end.on_up = lambda _: room.release()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await room.acquire()
        end.connect(peer)
    while any(peer.last_handshake_ms is None for peer in known):
        if time.monotonic() - began > WAIT_S:
            break
        await asyncio.sleep(0.02)
    up_s = time.monotonic() - began
    down = sum(peer.last_handshake_ms is None for peer in known)
    used, since = time.process_time(), time.monotonic()
    theirs = _cpu_s(server)
    await asyncio.sleep(IDLE_S)
    passed_s = time.monotonic() - since
    others = None if server is None else (_cpu_s(server) - theirs) / passed_s
    idle = _Idle((time.process_time() - used) / passed_s, others)
    cookies = sum(peer.cookie is not None for peer in known)
    for end in ends:
        end.close()
    words = [f"{cookies} had to prove their address"] if cookies else []
    return up_s, idle, [*words, *([f"{down} never came up"] if down else [])]


def _host(number: int) -> str:
    """The last three bytes of an address of its own."""
    return f"{64 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def _private(number: int) -> bytes:
    return number.to_bytes(32, "little")[::-1]


async def _own(devices: int) -> str:
    """Against a responder of ours in this process."""
    key = os.urandom(32)
    server = UdpEndpoint(key)
    await server.open(bound("127.0.0.1"))
    for number in range(devices):
        server.endpoint.add_peer(Identity(_private(number)).public)
    up_s, idle, words = await _crowd(devices, key, server.port)
    server.close()
    return _line("our own responder, in the same process", devices, up_s, idle, words)


def _cpu_s(pid: int | None) -> float:
    if pid is None:
        return 0.0
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _line(what: str, devices: int, up_s: float, idle: _Idle, words: list[str]) -> str:
    told = "".join(f", {word}" for word in words)
    theirs = "" if idle.others is None else f" and {idle.others:.1%} for it"
    return (
        f"  {what}: all up in {up_s:.1f} s ({devices / up_s:.0f}/s){told};"
        f" idle for {IDLE_S:.0f} s {idle.ours:.1%} of a core{theirs},"
        f" {rss_mb(os.getpid()):.0f} MB resident"
    )


async def _go(devices: int) -> str:
    """Against one wireguard-go."""
    if shutil.which("wireguard-go") is None or os.geteuid() != 0:
        return "  wireguard-go: left out, it needs root and apt install wireguard-go"
    key, interface = os.urandom(32), UserspaceInterface()
    await interface.up("fbbench0", private=key, port=PORT_OF_GO, address="10.255.0.1/32")
    try:
        peers = [
            uapi.PeerSet(
                public=Identity(_private(number)).public,
                allowed=(f"10.{_host(number)}/32",),
            )
            for number in range(devices)
        ]
        await interface.set(peers)
        server = interface.pid
        up_s, idle, words = await _crowd(devices, key, PORT_OF_GO, server)
    finally:
        with contextlib.suppress(OSError):
            await interface.down()
    return _line("one wireguard-go", devices, up_s, idle, words)


def bench_tunnel(devices: int = 1_000, speed: float = SPEED) -> Iterator[str]:
    """Lines of the report for ``fieldbeat bench tunnel``, each when it is known.

    Args:
        devices: of the crowd.
        speed: of the host lab that a block is measured in.
    """
    floor, initiator, responder = _rates()
    yield f"bare operations (X25519, ChaCha20-Poly1305) {floor:,.0f} handshakes/s, one core"
    yield f"  as initiator {initiator:,.0f}/s ({initiator / floor:.2f} of that)"
    yield f"  as responder {responder:,.0f}/s ({responder / floor:.2f} of that)"
    yield f"{devices} devices in one process, keepalive {KEEPALIVE_MS // 1_000} s:"
    yield asyncio.run(_own(devices))
    yield asyncio.run(_go(devices))
    yield from bench_block(speed)
