"""A proxy that closes idle connections: when, and what it says to both ends."""

from __future__ import annotations

import struct

from scenarios.hostlab.idle import Proxy, reset

DEVICE, CLOUD = bytes([10, 201, 1, 2, 0x9C, 0x40]), bytes([10, 202, 0, 2, 0x20, 0xFB])
SYN, ACK, RST = 0x02, 0x10, 0x04


def _packet(source: bytes, to: bytes, sequence: int, flags: int, data: bytes = b"") -> bytes:
    segment = source[4:] + to[4:] + struct.pack("!IIBBHHH", sequence, 0, 5 << 4, flags, 0, 0, 0)
    size = 20 + len(segment) + len(data)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 6, 0, source[:4], to[:4])
    return head + segment + data


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _talked(proxy: Proxy) -> None:
    """A connection is made, 3 bytes go out and 5 come back, the last at 2 s."""
    proxy.saw(_packet(DEVICE, CLOUD, 2**32 - 1, SYN), 0.0, outward=True)
    proxy.saw(_packet(CLOUD, DEVICE, 500, SYN | ACK), 0.1, outward=False)
    proxy.saw(_packet(DEVICE, CLOUD, 0, ACK, b"abc"), 1.0, outward=True)
    proxy.saw(_packet(CLOUD, DEVICE, 501, ACK, b"hello"), 2.0, outward=False)


def test_a_silent_connection_is_reset_at_both_ends_once() -> None:
    proxy = Proxy()
    _talked(proxy)
    assert proxy.closes(6.9, 5.0) == []
    # after SYN and 3 bytes, and after SYN and 5 bytes
    closed = proxy.closes(7.0, 5.0)
    assert closed == [(reset(CLOUD, DEVICE, 506, 3), reset(DEVICE, CLOUD, 3, 506))]
    assert proxy.closes(100.0, 5.0) == []


def test_a_word_from_either_end_keeps_it() -> None:
    proxy = Proxy()
    _talked(proxy)
    proxy.saw(_packet(DEVICE, CLOUD, 3, ACK), 6.0, outward=True)
    assert proxy.closes(10.9, 5.0) == []
    assert len(proxy.closes(11.0, 5.0)) == 1


def test_a_connection_that_was_reset_or_never_made_is_not_closed_again() -> None:
    proxy = Proxy()
    _talked(proxy)
    proxy.saw(_packet(CLOUD, DEVICE, 506, RST), 3.0, outward=False)
    other = DEVICE[:4] + b"\x9c\x41"
    proxy.saw(_packet(other, CLOUD, 7, SYN), 3.0, outward=True)
    assert proxy.closes(100.0, 5.0) == []


def test_a_reset_has_both_checksums() -> None:
    packet = reset(CLOUD, DEVICE, 506, 3)
    assert (len(packet), _sum(packet[:20])) == (40, 0xFFFF)
    pseudo = packet[12:20] + struct.pack("!BBH", 0, 6, 20)
    assert _sum(pseudo + packet[20:]) == 0xFFFF
    assert packet[33] == RST | ACK
