"""IPv4 and UDP as far as a tunnel without an interface needs them (RFC 791, RFC 768)."""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
UDP = 17
HOPS = 64


class Udp(NamedTuple):
    """A UDP datagram and its way; addresses as texts."""

    source: str
    source_port: int
    to: str
    to_port: int
    payload: bytes


def _sum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _udp_sum(source: bytes, to: bytes, segment: bytes) -> int:
    return _sum(source + to + struct.pack("!BBH", 0, UDP, len(segment)) + segment)


def write(datagram: Udp) -> bytes:
    """The packet that carries a datagram."""
    source = ipaddress.IPv4Address(datagram.source).packed
    to = ipaddress.IPv4Address(datagram.to).packed
    size = _UDP.size + len(datagram.payload)
    head = _UDP.pack(datagram.source_port, datagram.to_port, size, 0)
    check = _udp_sum(source, to, head + datagram.payload) or 0xFFFF
    segment = _UDP.pack(datagram.source_port, datagram.to_port, size, check) + datagram.payload
    fields = (0x45, 0, _IP.size + size, 0, 0, HOPS, UDP)
    plain = _IP.pack(*fields, 0, source, to)
    return _IP.pack(*fields, _sum(plain), source, to) + segment


def read(packet: bytes) -> Udp | None:
    """The datagram of a packet; ``None``: it carries none, or not whole."""
    if len(packet) < _IP.size or packet[0] >> 4 != 4:
        return None
    first, _, size, _, fragment, _, protocol, _, source, to = _IP.unpack_from(packet)
    begin = (first & 15) * 4
    if protocol != UDP or fragment & 0x3FFF or begin < _IP.size or size > len(packet):
        return None
    segment = packet[begin:size]
    if len(segment) < _UDP.size:
        return None
    source_port, to_port, length, check = _UDP.unpack_from(segment)
    if not _UDP.size <= length <= len(segment):
        return None
    segment = segment[:length]
    if check and _udp_sum(source, to, segment):
        return None
    return Udp(
        str(ipaddress.IPv4Address(source)),
        source_port,
        str(ipaddress.IPv4Address(to)),
        to_port,
        segment[_UDP.size :],
    )
