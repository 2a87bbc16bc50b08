"""WireGuard between our own ends where things meet: both begin, keys end, the other is flooded."""

from __future__ import annotations

import pytest

from agent.tunnel.handshake import (
    COOKIE,
    INITIATION,
    RESPONSE,
    TRANSPORT,
    CookieReplies,
    RefusedError,
    cookie_from,
    mac1_of,
)
from agent.tunnel.load import Load
from agent.tunnel.noise import Identity, Remote
from agent.tunnel.peer import REKEY_AFTER_MESSAGES
from agent.tunnel.session import REJECT_AFTER_MESSAGES
from tests.tunnel.wire import DEVICE, SERVER, Wire, draws_of, key, packet, pair

PACKET, BACK = packet("10.0.0.2", "10.0.0.1"), packet("10.0.0.1", "10.0.0.2")


def test_a_packet_that_is_not_let_through_is_a_sign_of_life_all_the_same() -> None:
    wire = Wire()
    device, there, _, here = pair(wire)
    wire.do(DEVICE, device.send(there, packet("10.0.0.3", "10.0.0.1"), now_ms=wire.now_ms))
    assert here.current is not None
    wire.wait(30_000)
    # one keepalive back, and so no new handshake
    assert [kind for _, kind in wire.kinds(SERVER)] == [RESPONSE, TRANSPORT]
    assert [kind for _, kind in wire.kinds(DEVICE)] == [INITIATION, TRANSPORT]


def test_a_handshake_of_the_other_ends_an_attempt_of_ours() -> None:
    wire = Wire()
    device, there, server, here = pair(wire)
    here.address = DEVICE
    wire.lost = lambda to, _: to == DEVICE
    wire.do(SERVER, server.send(here, BACK, now_ms=wire.now_ms))
    wire.wait(1_000)
    wire.lost = lambda _to, _data: False
    wire.do(DEVICE, device.connect(there, now_ms=wire.now_ms))
    assert [end for end, _ in wire.got] == [DEVICE]
    wire.wait(60_000)
    assert [kind for _, kind in wire.kinds(SERVER)].count(INITIATION) == 1
    assert len(server._table) == 1


def test_both_may_begin_in_one_moment() -> None:
    wire = Wire()
    device, there, server, here = pair(wire)
    here.address = DEVICE
    both = [
        (DEVICE, device.send(there, PACKET, now_ms=wire.now_ms)),
        (SERVER, server.send(here, BACK, now_ms=wire.now_ms)),
    ]
    for source, effects in both:
        wire.do(source, effects)
    assert sorted(end for end, _ in wire.got) == [SERVER, DEVICE]
    for _ in range(30):
        wire.wait(10_000)
        wire.do(DEVICE, device.send(there, PACKET, now_ms=wire.now_ms))
        wire.do(SERVER, server.send(here, BACK, now_ms=wire.now_ms))
    assert len(wire.got) == 62
    assert len(device._table) <= 3


def test_keys_that_sealed_all_they_may_are_not_used_again() -> None:
    wire = Wire()
    device, there, _, _ = pair(wire)
    wire.do(DEVICE, device.connect(there, now_ms=wire.now_ms))
    old = there.current
    assert old is not None
    wire.wait(6_000)
    old.counter = REJECT_AFTER_MESSAGES
    wire.do(DEVICE, device.send(there, PACKET, now_ms=wire.now_ms))
    assert old.counter == REJECT_AFTER_MESSAGES
    assert there.current is not old
    assert wire.got == [(SERVER, PACKET)]


def test_new_keys_begin_after_many_messages() -> None:
    wire = Wire()
    device, there, _, _ = pair(wire)
    wire.do(DEVICE, device.connect(there, now_ms=wire.now_ms))
    wire.wait(6_000)
    old = there.current
    assert old is not None
    old.counter = REKEY_AFTER_MESSAGES - 1
    wire.do(DEVICE, device.send(there, PACKET, now_ms=wire.now_ms))
    assert there.current is not old


def test_keys_go_nine_minutes_after_the_newest_of_them_were_made() -> None:
    wire = Wire()
    device, there, server, here = pair(wire)
    wire.do(DEVICE, device.connect(there, now_ms=wire.now_ms))
    wire.wait(300_000)
    wire.lost = lambda to, _: to == DEVICE  # it never hears the answer
    wire.do(DEVICE, device.send(there, PACKET, now_ms=wire.now_ms))
    wire.wait(240_000)
    newest = here.next  # the first ones are nine minutes old
    assert newest is not None
    wire.wait(newest.began_ms + 539_999 - wire.now_ms)
    assert here.next is newest
    wire.wait(1)
    assert here.sessions() == []
    assert len(server._table) == 0


def test_a_handshake_is_not_given_up_because_old_keys_go() -> None:
    wire = Wire()
    device, there, _, _ = pair(wire)
    wire.do(DEVICE, device.connect(there, now_ms=wire.now_ms))
    wire.wait(539_000)
    wire.lost = lambda _to, _data: True
    wire.do(DEVICE, device.send(there, PACKET, now_ms=wire.now_ms))
    wire.wait(2_000)
    assert there.current is None
    wire.lost = lambda _to, _data: False
    wire.wait(5_000)
    assert wire.got == [(SERVER, PACKET)]


def test_under_load_one_address_gets_20_handshakes_a_second_however_long_it_asks() -> None:
    load = Load(draws_of("load"), per_second=0)
    source, taken = ("127.0.0.2", 2), 0
    for now_ms in range(0, 10_000, 10):
        assert load.judge(source, now_ms) is not None
        taken += load.within_limit(source, now_ms)
    assert taken == 5 + 20 * 10 - 1


def test_a_load_ends_though_a_few_go_on_shaking_hands() -> None:
    """Five thousand devices that keep a tunnel each are 42 handshakes a second."""
    load = Load(draws_of("load"), per_second=100)
    source = ("127.0.0.2", 2)
    for _ in range(101):
        burst = load.judge(source, 0)
    assert burst is not None
    loaded = [at_ms for at_ms in range(20, 10_000, 20) if load.judge(source, at_ms) is not None]
    assert loaded[0] == 20
    assert 1_000 <= loaded[-1] < 2_000  # one more second, and no more


def test_senders_that_went_quiet_are_not_remembered() -> None:
    load = Load(draws_of("load"), per_second=0)
    for number in range(5_000):
        source = (f"10.0.{number // 250}.{number % 250}", 2)
        load.judge(source, number * 10)
        load.within_limit(source, number * 10)
    assert len(load._sources) <= 200


def test_an_answer_of_ours_proves_its_address_too_when_its_reader_is_under_load() -> None:
    """The one that began is flooded: it asks for a cookie instead of taking the response."""
    wire = Wire()
    device, there, server, here = pair(wire)
    device._load = Load(draws_of("load"), per_second=0)
    wire.do(DEVICE, device.connect(there, now_ms=wire.now_ms))
    assert [kind for _, kind in wire.kinds(DEVICE)] == [INITIATION, COOKIE]
    assert (here.cookie is not None, there.current) == (True, None)
    asked = wire.sent[-1][3]
    assert server.datagram(asked, DEVICE, now_ms=wire.now_ms) == []
    assert server.refused == 1  # one cookie for one message
    wire.wait(6_000)
    assert there.current is not None


def test_no_two_cookies_have_one_nonce_and_each_is_for_its_message() -> None:
    device, server = Identity(key("device")), Identity(key("server"))
    replies = CookieReplies(server, b"h" * 16)
    messages = [bytes([1, 0, 0, 0]) + bytes([n + 1]) * 144 for n in range(3)]
    made = [replies.to(message, bytes([n]) * 16) for n, message in enumerate(messages)]
    assert len({reply[8:32] for reply in made}) == 3
    remote = Remote(server.public)
    for n, (message, reply) in enumerate(zip(messages, made, strict=True)):
        assert cookie_from(reply, remote, mac1_of(message)) == bytes([n]) * 16
        with pytest.raises(RefusedError, match="something else"):
            cookie_from(reply, Remote(device.public), mac1_of(message))
        with pytest.raises(RefusedError, match="something else"):
            cookie_from(reply, remote, bytes(16))
