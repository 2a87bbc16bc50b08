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
