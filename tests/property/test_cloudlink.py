"""Both ends of cloudlink under random orders of events."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent import cloudlink as client
from cloud_stub import vpn_events as server
from cloud_stub.settings import VpnSettings
from cloud_stub.vpn_server import VpnServer

ATTEMPTS = st.integers(0, 6)
TIMES = st.integers(0, 300_000)
CLIENT_EVENTS: st.SearchStrategy[client.Event] = st.one_of(
    st.sampled_from([client.Start(), client.Stop(), client.TimerFired(), client.PeerHeard()]),
    st.sampled_from([client.ConnectionReset(), client.PeerClosed()]),
    st.builds(client.TunnelUp, attempt=ATTEMPTS),
    st.builds(client.ConnectFailed, attempt=ATTEMPTS, reason=st.just("refused")),
    st.builds(client.AuthRefused, attempt=ATTEMPTS),
    st.builds(client.PeerSilent, last_heard_ms=TIMES),
)


@settings(max_examples=200)
@given(st.lists(st.tuples(CLIENT_EVENTS, st.integers(0, 60_000)), max_size=40))
def test_a_client_has_at_most_one_tunnel_and_never_waits_for_ever(
    events: list[tuple[client.Event, int]],
) -> None:
    machine = client.CloudlinkClient(client.CloudlinkConfig())
    now_ms, open_attempts, started = 0, set[int](), False
    for event, wait_ms in events:
        now_ms += wait_ms
        if isinstance(event, client.Start | client.Stop):
            started = isinstance(event, client.Start)
        for effect in machine.handle(event, now_ms=now_ms):
            if isinstance(effect, client.OpenTunnel):
                open_attempts = {effect.attempt}
            elif isinstance(effect, client.CloseTunnel):
                open_attempts.discard(effect.attempt)
        if started and not open_attempts and not machine.up:
            assert machine.next_deadline_ms() is not None, "it will try again"
        if not started:
            assert machine.next_deadline_ms() is None


UUIDS = ("a", "b", "c")


class Api:
    """What the API was told, and an answer for each request by a list of fates."""

    def __init__(self, fates: list[bool]) -> None:
        self.fates = fates
        self.known: dict[str, bool] = {}
        self.machine = VpnServer("vpn1", "key", VpnSettings())
        self.now_ms = 0
        self.up: dict[int, str] = {}

    def feed(self, event: server.Event) -> None:
        if isinstance(event, server.SessionClosed):
            self.up.pop(event.session, None)
        waiting: list[server.Event] = [event]
        while waiting:
            for effect in self.machine.handle(waiting.pop(0), now_ms=self.now_ms):
                if isinstance(effect, server.SendRequest):
                    waiting.append(self.answer(effect))
                elif isinstance(effect, server.AcceptSession):
                    self.up[effect.session] = self.asked[effect.session]
                elif isinstance(effect, server.CloseSession):
                    self.up.pop(effect.session, None)

    asked: dict[int, str]

    def answer(self, request: server.SendRequest) -> server.Event:
        if self.fates and not self.fates.pop():
            return server.RequestFailed(id=request.id)
        if request.path == "/v7/service_instance":
            return server.ResponseReceived(id=request.id, status=201, body={"id": 1})
        if "client-" in request.path:
            for uuid in request.body["uuids"]:
                assert (uuid in self.up.values()) is request.body["connected"], "only the truth"
                self.known[uuid] = request.body["connected"]
        return server.ResponseReceived(id=request.id, status=200, body=None)

    def run_until(self, at_ms: int) -> None:
        while (deadline := self.machine.next_deadline_ms()) is not None and deadline <= at_ms:
            self.now_ms = max(self.now_ms, deadline)
            self.feed(server.TimerFired())
        self.now_ms = at_ms


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["connect", "close", "silent", "heard"]),
        st.sampled_from(UUIDS),
        st.integers(0, 5_000),
    ),
    max_size=25,
)


@settings(max_examples=200)
@given(STEPS, st.lists(st.booleans(), max_size=30))
def test_the_api_is_told_only_the_truth_and_in_the_end_all_of_it(
    steps: list[tuple[str, str, int]], fates: list[bool]
) -> None:
    api = Api(list(fates))
    api.asked = {}
    api.feed(server.Started())
    for number, (what, uuid, wait_ms) in enumerate(steps):
        api.run_until(api.now_ms + wait_ms)
        session = next((s for s, owner in api.up.items() if owner == uuid), None)
        if what == "connect":
            api.asked[number] = uuid
            api.feed(server.SessionRequested(session=number, uuid=uuid, key="k"))
        elif session is None:
            continue
        elif what == "close":
            api.feed(server.SessionClosed(session=session))
        elif what == "silent":
            api.feed(server.PeerSilent(session=session, last_heard_ms=api.now_ms))
        else:
            api.feed(server.PeerHeard(session=session))
    api.fates.clear()
    api.run_until(api.now_ms + 400_000)
    for uuid in UUIDS:
        assert api.known.get(uuid, False) is (uuid in api.up.values())
