"""What a bad link does to packets, in a time of the test's own."""

from __future__ import annotations

import struct

import pytest

from scenarios.hostlab.quality import CLEAR, TCP, UDP, Middlebox, Quality, Way, flow_of
from scenarios.streams import Stream

DEVICE, CLOUD = (b"\x0a\xc9\x01\x02", 40_000), (b"\x0a\xca\x00\x01", 443)
SYN, ACK = 0x02, 0x10


def _packet(protocol: int, *, outward: bool, flags: int = ACK) -> bytes:
    (source, port), (to, to_port) = (DEVICE, CLOUD) if outward else (CLOUD, DEVICE)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, protocol, 0) + source + to
    return head + struct.pack("!HHIIBB", port, to_port, 0, 0, 0x50, flags) + bytes(6)


def _way() -> Way:
    return Way(Stream(1, "test"))


def test_a_good_link_takes_no_time() -> None:
    assert _way().wait_s(1_500, CLEAR, 0.0) == 0.0


def test_latency_and_jitter_are_of_each_packet() -> None:
    way, quality = _way(), Quality(latency_ms=100, jitter_ms=50)
    waits = [way.wait_s(100, quality, 0.0) or 0.0 for _ in range(500)]
    assert 0.1 <= min(waits) < 0.105
    assert 0.145 < max(waits) <= 0.15


def test_a_share_of_packets_is_lost_and_the_seed_says_which() -> None:
    def lost() -> list[bool]:
        way = Way(Stream(7, "wire"))
        return [way.wait_s(100, Quality(loss=0.2), 0.0) is None for _ in range(2_000)]

    first = lost()
    assert first == lost()
    assert 330 < sum(first) < 470


def test_packets_leave_one_after_the_other_at_the_rate() -> None:
    way, quality = _way(), Quality(rate_bytes_per_second=10_000)
    assert [way.wait_s(1_000, quality, 0.0) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert way.wait_s(1_000, quality, 10.0) == pytest.approx(0.1)


def test_a_full_queue_drops_and_is_bounded() -> None:
    way, quality = _way(), Quality(rate_bytes_per_second=10_000)
    waits = [way.wait_s(1_000, quality, 0.0) for _ in range(100)]
    assert waits.count(None) > 80
    assert max(wait for wait in waits if wait is not None) <= 1.7


@pytest.mark.parametrize("quality", [Quality(rate_bytes_per_second=0), Quality(loss=1.0)])
def test_nothing_passes_a_dead_link(quality: Quality) -> None:
    assert _way().wait_s(1, quality, 0.0) is None


def test_what_is_larger_than_the_mtu_vanishes() -> None:
    way, quality = _way(), Quality(mtu=1_000)
    assert way.wait_s(1_000, quality, 0.0) == 0.0
    assert way.wait_s(1_001, quality, 0.0) is None


@pytest.mark.parametrize("outward", [True, False])
def test_an_idle_connection_is_forgotten_both_ways(outward: bool) -> None:
    box = Middlebox()
    syn, data = _packet(TCP, outward=True, flags=SYN), _packet(TCP, outward=outward)
    assert box.passes(syn, 0.0, outward=True, limit_s=5)
    assert box.passes(data, 5.0, outward=outward, limit_s=5)
    assert not box.passes(data, 10.1, outward=outward, limit_s=5)
    assert not box.passes(data, 10.2, outward=outward, limit_s=5)
    assert box.passes(syn, 11.0, outward=True, limit_s=5)
    assert box.passes(data, 11.1, outward=outward, limit_s=5)


def test_a_datagram_from_inside_begins_anew_and_one_from_outside_does_not() -> None:
    box = Middlebox()
    out, back = _packet(UDP, outward=True), _packet(UDP, outward=False)
    assert not box.passes(back, 0.0, outward=False, limit_s=5)
    assert box.passes(out, 0.0, outward=True, limit_s=5)
    assert box.passes(back, 1.0, outward=False, limit_s=5)
    assert not box.passes(back, 9.0, outward=False, limit_s=5)
    assert box.passes(out, 10.0, outward=True, limit_s=5)


def test_a_connection_made_before_the_box_grew_forgetful_is_known() -> None:
    box = Middlebox()
    assert box.passes(_packet(TCP, outward=True), 0.0, outward=True, limit_s=None)
    assert box.passes(_packet(TCP, outward=False), 4.0, outward=False, limit_s=5)


def test_connections_remembered_are_bounded() -> None:
    box = Middlebox()
    for number in range(5_000):
        source = (b"\x0a\xc9" + number.to_bytes(2, "big"), 1)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, UDP, 0) + source[0] + CLOUD[0]
        box.passes(head + bytes(20), 0.0, outward=True, limit_s=None)
    assert len(box._seen_s) == 4_096


@pytest.mark.parametrize("packet", [b"", b"\x45", bytes(40), b"\x60" + bytes(50), b"\x4f" * 24])
def test_what_is_no_packet_of_a_connection_is_of_none(packet: bytes) -> None:
    assert flow_of(packet, outward=True) == (None, False)
    assert Middlebox().passes(packet, 0.0, outward=False, limit_s=5)
