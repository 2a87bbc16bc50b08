"""Records what wireguard-go says to us, as root: ``python -m tests.tunnel.record_vectors``.

Our end draws its random bytes from a seed, so that the recording can be replayed without a network.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

from agent.tunnel import uapi
from agent.tunnel.noise import Identity
from agent.tunnel.udp import UdpEndpoint, bound
from tests.tunnel.go import echo, wireguard_go
from tests.tunnel.wire import draws_of, key

NOW_MS = 1_790_000_000_000
OUT = Path(__file__).parents[1] / "data" / "wireguard" / "wireguard-go.json"


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


async def _record(seed: str, *, we_begin: bool) -> dict[str, object]:
    theirs = key(f"go of {seed}")
    ours = _Recorder(seed)
    await ours.open(bound("127.0.0.1"))
    peer = ours.endpoint.add_peer(Identity(theirs).public)
    with wireguard_go("fbrec0", "10.98.0.1/24") as socket:
        known = uapi.PeerSet(
            public=ours.endpoint.identity.public,
            allowed=("10.98.0.2/32",),
            endpoint=None if we_begin else ("127.0.0.1", ours.port),
        )
        await uapi.ask(socket, uapi.set_request(private=theirs, listen_port=0, peers=[known]))
        port = (await uapi.ask(socket, uapi.GET)).listen_port
        if we_begin:
            peer.address = ("127.0.0.1", port)
            ours.connect(peer)
            await asyncio.sleep(0.3)
            ours.send(peer, echo("10.98.0.2", "10.98.0.1"))
        else:
            ping = ["ping", "-c1", "-W1", "10.98.0.2"]
            await asyncio.to_thread(subprocess.run, ping, check=False, capture_output=True)
        await asyncio.sleep(0.3)
    ours.close()
    found = {"peer": Identity(theirs).public.hex(), "now_ms": NOW_MS}
    return {**ours.record, **found, "sent": ours.said, "got": ours.got}


async def _main() -> None:
    record = {
        "from": "wireguard-go 0.0.20220316",
        "initiator": await _record("initiator", we_begin=True),
        "responder": await _record("responder", we_begin=False),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(_main())
