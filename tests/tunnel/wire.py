"""Two or more endpoints on a wire of memory, in virtual time."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from agent.tunnel.effects import Deliver, Send
from agent.tunnel.endpoint import Endpoint
from agent.tunnel.ip import _sum

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tunnel.effects import Effect
    from agent.tunnel.load import Load
    from agent.tunnel.peer import Address, Peer


def draws_of(seed: str) -> Callable[[int], bytes]:
    """Random bytes that are the same in every run."""
    count = 0

    def draws(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_128(f"{seed}/{count}".encode()).digest(size)

    return draws


def packet(source: str, to: str, text: bytes = b"hello") -> bytes:
    """An IPv4 packet."""
    ends = [bytes(map(int, host.split("."))) for host in (source, to)]
    return struct.pack("!BBHIBBH", 0x45, 0, 20 + len(text), 0, 64, 17, 0) + b"".join(ends) + text


class Wire:
    """Carries datagrams at once; ``lost`` decides which do not arrive."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000
        self.ends: dict[Address, Endpoint] = {}
        self.sent: list[tuple[int, Address, Address, bytes]] = []
        self.got: list[tuple[Address, bytes]] = []
        self.lost: Callable[[Address, bytes], bool] = lambda _to, _data: False

    def end(self, name: str, address: Address, load: Load | None = None) -> Endpoint:
        """A new endpoint; its key is of its name."""
        made = Endpoint(key(name), draws=draws_of(name), load=load)
        self.ends[address] = made
        return made

    def do(self, source: Address, effects: list[Effect]) -> None:
        """Carry out what an endpoint wants."""
        for effect in effects:
            if isinstance(effect, Deliver):
                self.got.append((source, effect.packet))
            elif isinstance(effect, Send):
                self.sent.append((self.now_ms, source, effect.to, effect.datagram))
                target = self.ends.get(effect.to)
                if target is not None and not self.lost(effect.to, effect.datagram):
                    answer = target.datagram(effect.datagram, source, now_ms=self.now_ms)
                    self.do(effect.to, answer)

    def wait(self, ms: int) -> None:
        """Let time pass, timer by timer."""
        end_ms = self.now_ms + ms
        while True:
            due = [(d, a) for a, e in self.ends.items() if (d := e.next_deadline_ms()) is not None]
            if not due or min(due)[0] > end_ms:
                break
            at_ms, address = min(due)
            self.now_ms = max(self.now_ms, at_ms)
            self.do(address, self.ends[address].due(now_ms=self.now_ms))
        self.now_ms = end_ms

    def kinds(self, source: Address) -> list[tuple[int, int]]:
        """Time and type of what an end sent."""
        return [(at, data[0]) for at, frm, _, data in self.sent if frm == source]


DEVICE, SERVER = ("127.0.0.2", 2), ("127.0.0.1", 1)


def key(name: str) -> bytes:
    """A private key of a name."""
    return hashlib.blake2s(name.encode()).digest()


def pair(
    wire: Wire, *, keepalive_ms: int | None = None, load: Load | None = None
) -> tuple[Endpoint, Peer, Endpoint, Peer]:
    """A device and a server that know each other; nothing is sent yet."""
    device, server = wire.end("device", DEVICE), wire.end("server", SERVER, load)
    there = device.add_peer(server.identity.public, address=SERVER, keepalive_ms=keepalive_ms)
    here = server.add_peer(device.identity.public, allowed=["10.0.0.2"])
    return device, there, server, here


def echo(source: str, to: str, number: int = 1) -> bytes:
    """An ICMP echo request."""
    message = struct.pack("!BBHHH", 8, 0, 0, 7, number) + b"fieldbeat" * 3
    message = message[:2] + struct.pack("!H", _sum(message)) + message[4:]
    ends = [bytes(map(int, host.split("."))) for host in (source, to)]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0, *ends)
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + message
