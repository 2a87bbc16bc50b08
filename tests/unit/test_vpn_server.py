"""A VPN service instance: who is let in, who is given up, what the API is told (``§8``)."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_stub.settings import VpnSettings
from cloud_stub.vpn_events import (
    AcceptSession,
    CloseSession,
    Effect,
    Event,
    PeerHeard,
    PeerSilent,
    RefuseSession,
    RequestFailed,
    ResponseReceived,
    SendRequest,
    SessionClosed,
    SessionRequested,
    Started,
    StopGracefully,
    TimerFired,
)
from cloud_stub.vpn_server import VpnServer

SETTINGS = VpnSettings()


class Driven:
    """An instance, and an API that answers as told."""

    def __init__(self, *, register: bool = True) -> None:
        self.server = VpnServer("vpn1", "service-key", SETTINGS)
        self.now_ms = 0
        self.done: list[tuple[int, Effect]] = []
        self.status: dict[str, int | None] = {}
        self.sessions = 0
        self.feed(Started())
        if not register:
            self.status["/v7/service_instance"] = None

    def feed(self, event: Event) -> None:
        for effect in self.server.handle(event, now_ms=self.now_ms):
            self.done.append((self.now_ms, effect))
            if isinstance(effect, SendRequest):
                self.answer(effect)

    def answer(self, request: SendRequest) -> None:
        usual = 201 if request.path == "/v7/service_instance" else 200
        told = [status for word, status in self.status.items() if word in request.path]
        status = told[0] if told else usual
        if status is None:
            self.feed(RequestFailed(id=request.id))
        else:
            body = {"id": 5} if status == 201 else None
            self.feed(ResponseReceived(id=request.id, status=status, body=body))

    def run_until(self, at_ms: int) -> None:
        while True:
            deadline = self.server.next_deadline_ms()
            if deadline is None or deadline > at_ms:
                break
            self.now_ms = max(self.now_ms, deadline)
            self.feed(TimerFired())
        self.now_ms = at_ms

    def connect(self, uuid: str = "u", key: str = "k") -> int:
        self.sessions += 1
        self.feed(SessionRequested(session=self.sessions, uuid=uuid, key=key))
        return self.sessions

    def of(self, kind: type[Any]) -> list[tuple[int, Any]]:
        return [(at_ms, effect) for at_ms, effect in self.done if isinstance(effect, kind)]

    def told(self) -> list[tuple[int, str, list[str]]]:
        """Reports to the API: when, the word, the uuids."""
        return [
            (at_ms, effect.path.rsplit("-", 1)[-1], effect.body["uuids"])
            for at_ms, effect in self.of(SendRequest)
            if "client-" in effect.path
        ]


def test_it_registers_before_it_reports_and_retries_every_ten_seconds() -> None:
    driven = Driven.__new__(Driven)
    driven.status = {"/v7/service_instance": None}
    driven.server, driven.now_ms, driven.done = VpnServer("v", "key", SETTINGS), 0, []
    driven.sessions = 0
    driven.feed(Started())
    driven.connect()
    driven.run_until(25_000)
    tries = [at for at, e in driven.of(SendRequest) if e.path == "/v7/service_instance"]
    assert tries == [0, 10_000, 20_000]
    assert driven.told() == []
    driven.status = {}
    driven.run_until(40_000)
    assert [row[1] for row in driven.told()] == ["connect"]
    _, report = next((at, e) for at, e in driven.of(SendRequest) if "client-" in e.path)
    assert report.body["serviceId"] == 5
    assert report.headers["authorization"] == "Bearer key"


def test_a_client_is_let_in_by_the_api_with_its_own_key() -> None:
    driven = Driven()
    session = driven.connect("abc", "device-key")
    (_, auth) = next((at, e) for at, e in driven.of(SendRequest) if "/auth/" in e.path)
    assert auth.path == "/services/vpn/auth/abc"
    assert auth.headers["authorization"] == "Bearer device-key"
    assert [e.session for _, e in driven.of(AcceptSession)] == [session]


def test_a_refused_client_waits_ten_seconds_for_its_answer() -> None:
    driven = Driven()
    driven.status["/auth/"] = 401
    driven.connect()
    driven.run_until(60_000)
    assert [at for at, _ in driven.of(RefuseSession)] == [10_000]
    assert driven.told() == []


def test_the_word_of_the_api_about_a_key_is_believed_for_a_minute() -> None:
    driven = Driven()
    driven.connect()
    driven.run_until(30_000)
    driven.connect()
    driven.run_until(61_000)
    driven.connect()
    asked = [at for at, e in driven.of(SendRequest) if "/auth/" in e.path]
    assert asked == [0, 61_000]


def test_an_api_that_does_not_answer_is_not_believed() -> None:
    driven = Driven()
    driven.status["/auth/"] = None
    driven.connect()
    driven.status.clear()
    driven.connect()
    assert len([e for _, e in driven.of(SendRequest) if "/auth/" in e.path]) == 2
    assert len(driven.of(AcceptSession)) == 1


def test_batches_leave_at_whole_seconds() -> None:
    driven = Driven()
    driven.now_ms = 2_345
    driven.connect("a")
    driven.connect("b")
    driven.run_until(10_000)
    assert driven.told() == [(3_000, "connect", ["a", "b"])]


def test_a_flap_inside_one_batch_is_not_told() -> None:
    driven = Driven()
    driven.now_ms = 100
    session = driven.connect()
    driven.feed(SessionClosed(session=session))
    driven.run_until(10_000)
    assert driven.told() == []


def test_a_failed_batch_is_repeated_each_second_with_the_newest_state() -> None:
    driven = Driven()
    driven.now_ms = 100
    session = driven.connect()
    driven.status["client-"] = 500
    driven.run_until(3_500)
    assert [row[:2] for row in driven.told()] == [(n, "connect") for n in (1_000, 2_000, 3_000)]
    driven.feed(SessionClosed(session=session))
    driven.status.clear()
    driven.run_until(10_000)
    assert [row[1] for row in driven.told()] == ["connect"] * 3, "the API never knew of it"


def test_silence_is_given_up_after_two_minutes() -> None:
    driven = Driven()
    session = driven.connect()
    driven.run_until(50_000)
    driven.feed(PeerSilent(session=session, last_heard_ms=45_000))
    driven.run_until(200_000)
    assert [at for at, _ in driven.of(CloseSession)] == [165_000]
    assert driven.told()[-1] == (165_000, "disconnect", ["u"])


def test_a_client_heard_again_is_kept() -> None:
    driven = Driven()
    session = driven.connect()
    driven.feed(PeerSilent(session=session, last_heard_ms=0))
    driven.run_until(100_000)
    driven.feed(PeerHeard(session=session))
    driven.run_until(300_000)
    assert driven.of(CloseSession) == []


def test_only_the_last_session_of_a_device_is_a_disconnect() -> None:
    driven = Driven()
    old = driven.connect()
    driven.run_until(5_000)
    new = driven.connect()
    driven.feed(SessionClosed(session=old))
    driven.run_until(10_000)
    assert [row[1] for row in driven.told()] == ["connect"]
    driven.feed(SessionClosed(session=new))
    driven.run_until(20_000)
    assert [row[1] for row in driven.told()] == ["connect", "disconnect"]


def test_an_orderly_stop_closes_one_client_after_the_other() -> None:
    driven = Driven()
    for name in "abc":
        driven.connect(name)
    driven.run_until(5_000)
    driven.feed(StopGracefully())
    driven.run_until(10_000)
    assert [at for at, _ in driven.of(CloseSession)] == [5_000, 5_120, 5_240]
    gone = [uuid for _, word, uuids in driven.told() if word == "disconnect" for uuid in uuids]
    assert gone == ["a", "b", "c"]


def test_an_api_that_forgot_the_instance_makes_it_register_again() -> None:
    driven = Driven()
    driven.status["client-"] = 409
    driven.connect()
    driven.run_until(1_500)
    driven.status.clear()
    driven.run_until(5_000)
    registered = [e for _, e in driven.of(SendRequest) if e.path == "/v7/service_instance"]
    assert len(registered) >= 2
    assert driven.told()[-1][1] == "connect"


def test_large_batches_are_cut() -> None:
    driven = Driven()
    driven.now_ms = 1
    for number in range(8_001):
        driven.connect(f"{number:05}")
    driven.run_until(2_000)
    assert [len(uuids) for _, _, uuids in driven.told()] == [8_000, 1]


def test_who_logs_in_again_ends_the_older_session_and_the_api_hears_nothing() -> None:
    driven = Driven()
    first = driven.connect()
    driven.run_until(60_000)
    told = len(driven.of(SendRequest))
    driven.connect()
    driven.run_until(120_000)
    assert [effect.session for _, effect in driven.of(CloseSession)] == [first]
    words = [request.path for _, request in driven.of(SendRequest)[told:]]
    assert not [path for path in words if path.endswith("disconnect")]


@pytest.mark.parametrize(
    ("uuid", "key"), [("../x", "k"), ("u?v", "k"), ("", "k"), ("u", "k\r\nx: y"), ("u", "k\udc80")]
)
def test_who_cannot_be_asked_for_is_refused_as_anybody_unknown(uuid: str, key: str) -> None:
    driven = Driven()
    driven.connect(uuid, key)
    driven.run_until(60_000)
    assert [at for at, _ in driven.of(RefuseSession)] == [10_000]
    assert [e.path for _, e in driven.of(SendRequest)] == ["/v7/service_instance"]


def test_an_orderly_stop_can_be_told_to_hurry() -> None:
    driven = Driven()
    for number in range(100):
        driven.connect(f"{number:03}")
    driven.run_until(5_000)
    driven.feed(StopGracefully(within_ms=2_000))
    driven.run_until(20_000)
    assert [at for at, _ in driven.of(CloseSession)] == list(range(5_000, 7_000, 20))
    gone = [uuid for _, word, uuids in driven.told() if word == "disconnect" for uuid in uuids]
    assert len(gone) == 100


def test_an_instance_that_gets_a_new_number_says_again_who_is_connected() -> None:
    """A disconnect counts only from the instance that manages the device (``STATUS.md §3``)."""
    driven = Driven()
    first = driven.connect("a")
    driven.run_until(5_000)
    driven.status["client-connect"] = 409
    driven.connect("b")
    driven.run_until(6_000)
    driven.status.clear()
    driven.run_until(10_000)
    assert driven.told()[-1][1:] == ("connect", ["a", "b"])
    driven.feed(SessionClosed(session=first))
    driven.run_until(20_000)
    assert driven.told()[-1][1:] == ("disconnect", ["a"])


class Looked(dict[Any, Any]):
    """Counts how often all that is in it is looked at."""

    times = 0

    def __iter__(self) -> Any:
        self.times += 1
        return super().__iter__()

    def items(self) -> Any:
        self.times += 1
        return super().items()


def test_a_log_in_costs_the_same_in_a_crowd() -> None:
    driven = Driven()
    driven.now_ms = 1
    peers, pending = Looked(), Looked()
    driven.server._peers, driven.server._pending = peers, pending
    for number in range(1_000):
        driven.connect(f"{number % 500}")
    assert len(driven.of(AcceptSession)) == 1_000
    assert len(driven.of(CloseSession)) == 500
    assert (peers.times, pending.times) == (0, 1)


def test_who_falls_silent_again_is_given_up_for_the_newer_silence() -> None:
    driven = Driven()
    session = driven.connect()
    driven.run_until(15_000)
    driven.feed(PeerSilent(session=session, last_heard_ms=0))
    driven.run_until(60_000)
    driven.feed(PeerHeard(session=session))
    driven.run_until(105_000)
    driven.feed(PeerSilent(session=session, last_heard_ms=90_000))
    driven.run_until(300_000)
    assert [at for at, _ in driven.of(CloseSession)] == [90_000 + 120_000]


def test_what_the_api_said_of_keys_is_forgotten_when_it_is_believed_no_more() -> None:
    driven = Driven()
    driven.connect("one")
    driven.run_until(100_000)
    driven.connect("other")
    driven.run_until(120_000)
    assert [uuid for uuid, _ in driven.server._allowed] == ["other"]
    driven.run_until(180_000)
    assert not driven.server._allowed
    assert driven.server.next_deadline_ms() is None
    driven.connect("third")  # it is remembered anew
    driven.run_until(400_000)
    assert not driven.server._allowed


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_believed_as_well(status: int) -> None:
    driven = Driven()
    driven.status = {"/auth/": status}
    driven.connect()
    driven.connect()
    asked = [e for _, e in driven.of(SendRequest) if "/auth/" in e.path]
    assert len(asked) == 1
    driven.run_until(11_000)
    assert len(driven.of(RefuseSession)) == 2


def test_it_is_idle_once_everybody_is_gone_and_the_api_knows() -> None:
    def requests(effects: list[Effect]) -> list[SendRequest]:
        return [effect for effect in effects if isinstance(effect, SendRequest)]

    server = VpnServer("vpn1", "service-key", SETTINGS)
    (asked,) = requests(server.handle(Started(), now_ms=0))
    assert server.handle(Started(), now_ms=1) == []  # it asks once
    server.handle(ResponseReceived(id=asked.id, status=201, body={"id": 5}), now_ms=2)
    seen = [server.idle]
    (auth,) = requests(server.handle(SessionRequested(session=1, uuid="u", key="k"), now_ms=3))
    seen.append(server.idle)  # a client waits
    server.handle(ResponseReceived(id=auth.id, status=200, body=None), now_ms=4)
    (report,) = requests(server.handle(TimerFired(), now_ms=1_000))
    server.handle(ResponseReceived(id=report.id, status=200, body=None), now_ms=1_001)
    server.handle(TimerFired(), now_ms=2_000)
    seen.append(server.idle)  # it is connected
    server.handle(SessionClosed(session=1), now_ms=2_500)
    seen.append(server.idle)  # its disconnect is to be told
    (report,) = requests(server.handle(TimerFired(), now_ms=3_000))
    seen.append(server.idle)  # it is being told
    server.handle(ResponseReceived(id=report.id, status=200, body=None), now_ms=3_001)
    server.handle(TimerFired(), now_ms=4_000)
    seen.append(server.idle)
    assert seen == [True, False, False, False, False, True]
