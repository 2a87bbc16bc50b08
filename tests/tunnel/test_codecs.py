"""What is written can be read, and nonsense is not: UAPI, IPv4 and UDP, the channel."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.tunnel import channel, ip, uapi
from agent.tunnel.noise import BadKeyError, hmac_of

if TYPE_CHECKING:
    import random
    from pathlib import Path

KEY = st.binary(min_size=32, max_size=32)
HOSTS = st.ip_addresses(v=4).map(str)
PORTS = st.integers(0, 65_535)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@given(KEY, st.binary(max_size=200))
def test_an_hmac_of_ours_is_the_standard_librarys(key: bytes, data: bytes) -> None:
    assert hmac_of(key, data) == hmac.digest(key, data, "blake2s256")


@given(HOSTS, PORTS, HOSTS, PORTS, st.binary(max_size=1_400))
def test_a_datagram_comes_out_as_it_went_in(
    source: str, source_port: int, to: str, to_port: int, payload: bytes
) -> None:
    datagram = ip.Udp(source, source_port, to, to_port, payload)
    assert ip.read(ip.write(datagram)) == datagram
    assert ip.read(ip.write(datagram) + bytes(7)) == datagram


@given(st.binary(max_size=100))
def test_any_bytes_are_a_datagram_or_none(data: bytes) -> None:
    ip.read(data)
    ip.read(b"\x45" + data)


@given(st.integers(0, 1_000), st.integers(1, 255))
def test_a_changed_payload_is_noticed(at: int, by: int) -> None:
    packet = bytearray(ip.write(ip.Udp("10.0.0.1", 1, "10.0.0.2", 2, b"some payload")))
    packet[28 + at % 12] ^= by
    assert ip.read(bytes(packet)) is None


@given(st.integers(1, 4), st.integers(0, 2**32 - 1), JSON, st.randoms(use_true_random=False))
def test_a_message_is_whole_whatever_order_its_parts_come_in(
    kind: int, number: int, body: object, shuffle: random.Random
) -> None:
    parts = channel.write(channel.Message(kind, number, {"": body, "pad": "x" * 3_000}))
    assert len(parts) >= 3
    shuffle.shuffle(parts)
    reader = channel.Reader()
    taken = [reader.take(part) for part in parts]
    assert taken[:-1] == [None] * (len(parts) - 1)
    assert taken[-1] == channel.Message(kind, number, {"": body, "pad": "x" * 3_000})


@given(st.lists(st.binary(max_size=40), max_size=60))
def test_nonsense_on_the_channel_is_dropped_in_bounded_memory(datagrams: list[bytes]) -> None:
    reader = channel.Reader()
    for data in datagrams:
        reader.take(data)
        reader.take(b"\x03\x00\x00\x09" + data)
    assert len(reader._open) <= channel.OPEN_MAX


def test_nothing_is_kept_of_messages_in_parts_that_are_not_wanted() -> None:
    reader = channel.Reader(lambda kind, number: kind == channel.REPLY and number == 7)
    body = {"x": "y" * 2_000}
    for kind, number in ((channel.REPLY, 8), (channel.PING, 7), (channel.CALL, 7)):
        message = channel.Message(kind, number, body)
        assert [reader.take(part) for part in channel.write(message)] == [None, None]
        assert not reader._open
    wanted = channel.Message(channel.REPLY, 7, body)
    assert [reader.take(part) for part in channel.write(wanted)] == [None, wanted]


def test_a_message_that_is_too_long_is_refused() -> None:
    with pytest.raises(channel.TooLongError, match="more than"):
        channel.write(channel.Message(channel.REPLY, 1, "x" * 300_000))


@given(KEY, KEY, HOSTS, PORTS, st.integers(0, 65_535))
def test_a_set_names_everything(
    public: bytes, psk: bytes, host: str, port: int, keepalive_s: int
) -> None:
    peer = uapi.PeerSet(
        public=public,
        psk=psk,
        endpoint=(host, port),
        keepalive_s=keepalive_s,
        allowed=("10.0.0.0/8",),
    )
    text = uapi.set_request(peers=[peer]).decode()
    assert text.endswith("\n\n")
    assert text.splitlines()[1:] == [
        f"public_key={public.hex()}",
        f"preshared_key={psk.hex()}",
        f"endpoint={host}:{port}",
        f"persistent_keepalive_interval={keepalive_s}",
        "replace_allowed_ips=true",
        "allowed_ip=10.0.0.0/8",
        "",
    ]


def test_an_address_of_version_6_is_in_brackets() -> None:
    peer = uapi.PeerSet(public=bytes(32), endpoint=("fd00::1", 5))
    assert b"endpoint=[fd00::1]:5\n" in uapi.set_request(peers=[peer])


@pytest.mark.parametrize(
    "wrong",
    [
        {"public": b"short"},
        {"public": bytes(32), "psk": b"short"},
        {"public": bytes(32), "endpoint": ("no address", 1)},
        {"public": bytes(32), "allowed": ("10.0.0.1/8",)},
    ],
)
def test_what_an_interface_would_refuse_is_refused_before(wrong: dict[str, object]) -> None:
    with pytest.raises((BadKeyError, ValueError)):
        uapi.set_request(peers=[uapi.PeerSet(**wrong)])  # type: ignore[arg-type]


def test_what_an_interface_says_is_read() -> None:
    text = (
        "private_key=00\nlisten_port=51820\nfwmark=1\n"
        f"public_key={'ab' * 32}\npreshared_key={'00' * 32}\nprotocol_version=1\n"
        "endpoint=127.0.0.1:9\nlast_handshake_time_sec=5\nlast_handshake_time_nsec=500000000\n"
        "tx_bytes=7\nrx_bytes=9\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.2/32\n"
        f"public_key={'cd' * 32}\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"
        "errno=0\n\n"
    )
    got = uapi.read_answer(text)
    first, second = got.peers.values()
    assert got.listen_port == 51820
    assert (first.last_handshake_s, first.rx_bytes, first.tx_bytes) == (5.5, 9, 7)
    assert (first.endpoint, first.allowed) == ("127.0.0.1:9", ["10.0.0.2/32"])
    assert (second.last_handshake_s, second.rx_bytes) == (None, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("errno=-22\n\n", "refused"),
        ("listen_port=1\n\n", "too soon"),
        ("listen_port=many\nerrno=0\n\n", "cannot be read"),
        ("public_key=xyz\nerrno=0\n\n", "cannot be read"),
        ("nonsense\n\n", "cannot be read"),
    ],
)
def test_what_is_no_answer_is_told(text: str, words: str) -> None:
    with pytest.raises(uapi.UapiError, match=words):
        uapi.read_answer(text)


def test_an_interface_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(uapi.UapiError, match=r"none\.sock does not answer"):
        asyncio.run(uapi.ask(tmp_path / "none.sock", uapi.GET))
