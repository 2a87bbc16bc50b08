"""Records what other WireGuards say to us: ``python -m tests.tunnel.record_vectors KIND [FILE]``.

``wireguard-go`` (as root), ``boringtun`` (of mitmproxy_rs; it never begins), ``kernel`` (as root,
where there is the module: ``.ci/kernel FOLDER vectors``). Our end draws its random bytes from a
seed, so that the recording can be replayed without a network.
"""

from __future__ import annotations

import asyncio
import base64
import json
import platform
import subprocess
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.tunnel import ip, uapi
from agent.tunnel.kernel import KernelInterface
from agent.tunnel.noise import Identity
from agent.tunnel.udp import UdpEndpoint, bound
from tests.tunnel.wire import draws_of, echo, key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Known = tuple[bytes, bytes, int | None]
    """Their private key, our public one, and our port where they begin."""

NOW_MS = 1_790_000_000_000
FOLDER = Path(__file__).parents[1] / "data" / "wireguard"
HERE, THERE = "10.98.0.2", "10.98.0.1"
NAME = "fbrec0"


class _Recorder(UdpEndpoint):
    def __init__(self, seed: str) -> None:
        super().__init__(key(seed), draws=draws_of(seed), clock_ms=lambda: NOW_MS)
        self.record: dict[str, object] = {"private": key(seed).hex(), "seed": seed}
        self.got: list[str] = []
        self.said: list[str] = []

    def sent(self, datagram: bytes, to: tuple[str, int]) -> None:
        self.said.append(datagram.hex())
        super().sent(datagram, to)

    def received(self, data: bytes, source: tuple[str, int]) -> None:
        self.got.append(data.hex())
        super().received(data, source)


def _peer(ours: bytes, our_port: int | None) -> uapi.PeerSet:
    endpoint = None if our_port is None else ("127.0.0.1", our_port)
    return uapi.PeerSet(public=ours, allowed=(f"{HERE}/32",), endpoint=endpoint)


@asynccontextmanager
async def _go(known: Known) -> AsyncIterator[int]:
    from tests.tunnel.go import wireguard_go

    private, ours, our_port = known
    with wireguard_go(NAME, f"{THERE}/24") as socket:
        peers = [_peer(ours, our_port)]
        await uapi.ask(socket, uapi.set_request(private=private, listen_port=0, peers=peers))
        yield (await uapi.ask(socket, uapi.GET)).listen_port or 0


@asynccontextmanager
async def _kernel(known: Known) -> AsyncIterator[int]:
    private, ours, our_port = known
    interface = KernelInterface()
    await interface.up(NAME, private=private, port=None, address=f"{THERE}/24")
    try:
        await interface.set([_peer(ours, our_port)])
        yield (await interface.got()).listen_port or 0
    finally:
        await interface.down()


@asynccontextmanager
async def _boringtun(known: Known) -> AsyncIterator[int]:
    from mitmproxy_rs.wireguard import start_wireguard_server

    async def capitals(stream: Any) -> None:
        stream.write((await stream.read(100)).upper())
        await stream.drain()

    private, ours, _ = known
    names = [base64.b64encode(ours).decode()]
    secret = base64.b64encode(private).decode()
    server = await start_wireguard_server("127.0.0.1", 0, secret, names, capitals, capitals)
    try:
        yield server.getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def _record(other: Callable[[Known], Any], seed: str, word: bytes) -> dict[str, object]:
    """A meeting; ``word``: what we say in the tunnel, where we begin."""
    we_begin = bool(word)
    theirs = key(f"{other.__name__} of {seed}")
    ours = _Recorder(seed)
    await ours.open(bound("127.0.0.1"))
    public = ours.endpoint.identity.public
    peer = ours.endpoint.add_peer(Identity(theirs).public)
    async with other((theirs, public, None if we_begin else ours.port)) as port:
        if we_begin:
            peer.address = ("127.0.0.1", port)
            ours.connect(peer)
            await asyncio.sleep(1)
            ours.send(peer, word)
        else:
            ping = ["ping", "-c1", "-W1", HERE]
            await asyncio.to_thread(subprocess.run, ping, check=False, capture_output=True)
        await asyncio.sleep(1)
    ours.close()
    found = {"peer": Identity(theirs).public.hex(), "now_ms": NOW_MS}
    return {**ours.record, **found, "sent": ours.said, "got": ours.got}


async def _recorded(kind: str) -> dict[str, object]:
    ping = echo(HERE, THERE)
    match kind:
        case "wireguard-go":
            others: Any = (_go, "wireguard-go 0.0.20220316", ping, True)
        case "kernel":
            others = (_kernel, f"Linux {platform.release()}", ping, True)
        case "boringtun":
            word = ip.write(ip.Udp(HERE, 4_001, THERE, 7, b"hello"))
            named = f"boringtun in mitmproxy_rs {version('mitmproxy_rs')}"
            others = (_boringtun, named, word, False)
        case _:
            raise SystemExit(f"no WireGuard is called {kind!r}")
    other, name, word, begins = others
    made: dict[str, object] = {"from": name, "initiator": await _record(other, "initiator", word)}
    if begins:
        made["responder"] = await _record(other, "responder", b"")
    return made


def main(kind: str, file: Path) -> None:
    """Record, and write."""
    text = json.dumps(asyncio.run(_recorded(kind)), indent=1) + "\n"
    file.write_text(text)


if __name__ == "__main__":
    KIND, *REST = sys.argv[1:]
    main(KIND, Path(REST[0]) if REST else FOLDER / f"{KIND}.json")
