"""Random bytes at every parser of the tunnel; ``FIELDBEAT_FUZZ`` says how many (default 20 000)."""

from __future__ import annotations

import os
import random

from agent.tunnel import channel, ip, uapi
from agent.tunnel.handshake import INITIATION, RESPONSE, TRANSPORT
from agent.tunnel.noise import mac_of
from tests.tunnel.wire import DEVICE, SERVER, Wire, packet, pair

COUNT = int(os.environ.get("FIELDBEAT_FUZZ", "20000"))
SIZES = {INITIATION: 148, RESPONSE: 92, 3: 64, TRANSPORT: 32}


def _inputs(seed: int, genuine: list[bytes]) -> list[bytes]:
    """A kind of message with random contents, or a genuine one with bytes changed."""
    draws = random.Random(seed)
    found = []
    for _ in range(COUNT):
        way = draws.randrange(4)
        if way == 0:
            data = draws.randbytes(draws.randrange(200))
        elif way == 1:
            kind = draws.choice(list(SIZES))
            data = bytes([kind, 0, 0, 0]) + draws.randbytes(SIZES[kind] - 4)
        else:
            changed = bytearray(draws.choice(genuine))
            for _ in range(draws.randrange(1, 4)):
                changed[draws.randrange(len(changed))] ^= draws.randrange(1, 256)
            data = bytes(changed[: draws.randrange(1, len(changed) + 1)] if way == 2 else changed)
        found.append(data)
    return found


def test_an_endpoint_stands_whatever_comes() -> None:
    wire = Wire()
    device, there, server, here = pair(wire)
    wire.do(DEVICE, device.send(there, packet("10.0.0.2", "10.0.0.1"), now_ms=wire.now_ms))
    genuine = [data for _, _, _, data in wire.sent]
    sessions = (here.current, there.current)
    read = 0
    for number, data in enumerate(_inputs(1, genuine)):
        at_ms = wire.now_ms + number  # slow enough for no load
        server.datagram(data, ("127.0.0.66", 1 + number % 60_000), now_ms=at_ms)
        device.datagram(data, SERVER, now_ms=at_ms)
        if data[0:1] == b"\1" and len(data) == 148 and number % 4 == 0:
            # as somebody who knows our public key: what is behind mac1 is read, too
            read += 1
            body = data[:116]
            signed = body + mac_of(server.identity.mac1_key, body) + bytes(16)
            server.datagram(signed, ("127.0.0.66", 6), now_ms=at_ms)
    assert read > COUNT / 100
    assert (here.current, there.current) == sessions
    assert (here.address, there.address) == (DEVICE, SERVER)
    assert len(server._table) + len(device._table) == 2
    wire.do(DEVICE, device.send(there, packet("10.0.0.2", "10.0.0.1"), now_ms=wire.now_ms))
    assert len(wire.got) == 2


def test_the_other_parsers_stand_whatever_comes() -> None:
    words = channel.write(channel.Message(channel.CALL, 7, {"x": "y" * 2_000}))
    udp = ip.write(ip.Udp("10.0.0.1", 1, "10.0.0.2", 2, b"payload"))
    answer = b"listen_port=1\npublic_key=" + b"ab" * 32 + b"\nrx_bytes=5\nerrno=0\n\n"
    reader = channel.Reader()
    for data in _inputs(2, [*words, udp, answer]):
        reader.take(data)
        ip.read(data)
        try:
            uapi.read_answer(data.decode("utf-8", "replace"))
        except uapi.UapiError:
            continue
