"""The VPN client: retries, silence, refusals, stop and start (``SUPERVISOR.md §7``)."""

from __future__ import annotations

from agent.cloudlink import (
    AuthRefused,
    CloseTunnel,
    CloudlinkClient,
    CloudlinkConfig,
    ConnectFailed,
    ConnectionReset,
    Effect,
    Event,
    Note,
    OpenTunnel,
    PeerClosed,
    PeerHeard,
    PeerSilent,
    Start,
    Stop,
    TimerFired,
    TunnelUp,
)


class Driven:
    """A client at a moment."""

    def __init__(self) -> None:
        self.client = CloudlinkClient(CloudlinkConfig())
        self.now_ms = 0
        self.opened: list[int] = []
        self.closed: list[int] = []

    def feed(self, event: Event) -> list[Effect]:
        effects = self.client.handle(event, now_ms=self.now_ms)
        for effect in effects:
            if isinstance(effect, OpenTunnel):
                self.opened.append(effect.attempt)
            elif isinstance(effect, CloseTunnel):
                self.closed.append(effect.attempt)
        return effects

    def wait(self) -> int:
        """Go to the deadline and fire; how long it took (ms)."""
        deadline = self.client.next_deadline_ms()
        assert deadline is not None
        waited, self.now_ms = deadline - self.now_ms, deadline
        self.feed(TimerFired())
        return waited

    @property
    def attempt(self) -> int:
        return self.opened[-1]


def up() -> Driven:
    driven = Driven()
    driven.feed(Start())
    driven.feed(TunnelUp(attempt=driven.attempt))
    return driven


def test_the_first_attempt_is_made_at_once() -> None:
    driven = Driven()
    driven.feed(Start())
    assert driven.opened == [1]
    assert driven.client.next_deadline_ms() is None


def test_failed_attempts_double_from_5_s_to_120_s() -> None:
    driven = Driven()
    driven.feed(Start())
    waits = []
    for _ in range(7):
        driven.feed(ConnectFailed(attempt=driven.attempt, reason="refused"))
        waits.append(driven.wait())
    assert waits == [5_000, 10_000, 20_000, 40_000, 80_000, 120_000, 120_000]


def test_success_resets_the_delay() -> None:
    driven = Driven()
    driven.feed(Start())
    for _ in range(4):
        driven.feed(ConnectFailed(attempt=driven.attempt, reason="timeout"))
        driven.wait()
    driven.feed(TunnelUp(attempt=driven.attempt))
    driven.feed(ConnectionReset())
    assert driven.wait() == 5_000


def test_a_minute_of_silence_ends_the_process_and_the_unit_starts_another() -> None:
    driven = up()
    driven.now_ms = 100_000
    driven.feed(PeerSilent(last_heard_ms=95_000))
    assert driven.client.next_deadline_ms() == 155_000
    driven.wait()
    assert driven.closed == [1]
    assert driven.wait() == 10_000
    assert driven.opened == [1, 2]


def test_a_server_that_is_heard_again_in_time_keeps_the_tunnel() -> None:
    driven = up()
    driven.feed(PeerSilent(last_heard_ms=0))
    driven.feed(PeerHeard())
    assert driven.client.next_deadline_ms() is None
    assert driven.client.up


def test_a_refused_key_ends_the_process() -> None:
    driven = Driven()
    driven.feed(Start())
    driven.feed(AuthRefused(attempt=1))
    assert driven.wait() == 10_000
    assert driven.opened == [1, 2]


def test_a_closed_or_reset_connection_is_opened_again() -> None:
    for event in (PeerClosed(), ConnectionReset()):
        driven = up()
        driven.feed(event)
        assert driven.wait() == 5_000
        assert driven.opened == [1, 2]


def test_stop_closes_and_retries_nothing_until_start() -> None:
    driven = up()
    driven.feed(Stop())
    assert driven.closed == [1]
    assert driven.client.next_deadline_ms() is None
    driven.feed(Start())
    assert driven.opened == [1, 2]


def test_what_belongs_to_an_old_attempt_is_ignored() -> None:
    driven = up()
    for event in (
        TunnelUp(attempt=9),
        ConnectFailed(attempt=1, reason="dns"),
        AuthRefused(attempt=1),
    ):
        assert driven.feed(event) == []
    assert driven.client.up


def test_start_while_running_and_stop_while_stopped_do_nothing() -> None:
    driven = up()
    assert driven.feed(Start()) == []
    driven.feed(Stop())
    assert driven.feed(Stop()) == []
    assert driven.feed(TimerFired()) == []


def said(effects: list[Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Note)]


def test_only_a_tunnel_that_was_let_in_and_not_lost_is_up() -> None:
    driven = Driven()
    seen = [driven.client.up]
    for event in (Start(), TunnelUp(attempt=1), PeerClosed(), Stop()):
        driven.feed(event)
        seen.append(driven.client.up)
    assert seen == [False, False, True, False, False]


def test_the_first_failure_in_a_row_is_noted_and_the_recovery_says_how_many() -> None:
    driven = Driven()
    driven.feed(Start())
    notes = []
    for _ in range(2):
        notes += said(driven.feed(ConnectFailed(attempt=driven.attempt, reason="dns")))
        driven.wait()
    notes += said(driven.feed(TunnelUp(attempt=driven.attempt)))
    notes += said(driven.feed(PeerClosed()))
    driven.wait()
    notes += said(driven.feed(TunnelUp(attempt=driven.attempt)))
    assert notes == [
        "cloudlink down: dns, next try in 5000 ms",
        "cloudlink up after 2 failures",
        "cloudlink down: closed by the server, next try in 5000 ms",
        "cloudlink up after 1 failures",
    ]


def test_a_tunnel_that_comes_up_at_once_is_not_noted_and_a_reset_is_called_one() -> None:
    driven = Driven()
    driven.feed(Start())
    assert said(driven.feed(TunnelUp(attempt=1))) == []
    assert said(driven.feed(ConnectionReset())) == [
        "cloudlink down: connection reset, next try in 5000 ms"
    ]


def test_failures_are_counted_anew_after_a_stop() -> None:
    driven = Driven()
    for _ in range(2):
        driven.feed(Start())
        failed = ConnectFailed(attempt=driven.attempt, reason="refused")
        assert said(driven.feed(failed)) == ["cloudlink down: refused, next try in 5000 ms"]
        driven.feed(Stop())


def test_a_timer_acts_when_it_is_late_and_not_when_it_is_early() -> None:
    driven = up()
    driven.feed(PeerClosed())
    driven.now_ms = 4_999
    assert driven.feed(TimerFired()) == []
    driven.now_ms = 5_001
    driven.feed(TimerFired())
    assert driven.opened == [1, 2]


def test_silence_or_sound_of_a_tunnel_that_is_gone_moves_no_timer() -> None:
    driven = up()
    driven.feed(PeerClosed())
    for event in (PeerSilent(last_heard_ms=0), PeerHeard(), Start()):
        driven.feed(event)
        assert driven.client.next_deadline_ms() == 5_000


def test_answers_to_other_attempts_are_ignored_while_one_is_under_way() -> None:
    driven = up()
    driven.feed(PeerClosed())
    driven.wait()
    for attempt in (1, 3):
        driven.feed(TunnelUp(attempt=attempt))
        assert not driven.client.up
    assert driven.feed(Start()) == []
    driven.feed(TunnelUp(attempt=2))
    assert driven.client.up


def test_the_three_hundredth_attempt_is_known_by_its_number() -> None:
    driven = Driven()
    driven.feed(Start())
    while driven.attempt < 300:
        driven.feed(ConnectFailed(attempt=driven.attempt, reason="dns"))
        driven.wait()
    driven.feed(TunnelUp(attempt=int("300")))
    assert driven.client.up
