"""The cloud of a virtual run: the real core behind a front door that can be made to fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cloud_stub.core import Cloud
from cloud_stub.messages import (
    CallDevice,
    Event,
    FieldChanged,
    KeyStored,
    Request,
    Respond,
    Response,
    TimerFired,
)

from ..history import History, Note
from .agenda import RANK_CLOUD, Agenda

if TYPE_CHECKING:
    from cloud_stub.settings import CloudSettings

    from ..history import Traffic
    from ..streams import Stream

Failure = Literal["refused", "timeout"]
Reply = Callable[[Response | Failure], None]
"""Called once with the answer, or with why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """The state of the API's front door (verb ``api``)."""

    state: Literal["up", "down", "hang", "error"] = "up"
    status: int = 503
    retry_after_s: int | None = None
    latency_ms: int = 0
    share: float = 1.0
    """Of the requests that meet the fault."""

    @property
    def open(self) -> bool:
        """No request meets a fault."""
        return self.state == "up" and not self.latency_ms


OPEN = FrontDoor()


class CloudSide:
    """Drives ``Cloud`` in simulated time and records what people would see."""

    __slots__ = (
        "_agenda",
        "_armed_ms",
        "_call_device",
        "_door",
        "_waiting",
        "cloud",
        "history",
        "names",
        "quick_heartbeats",
        "quiet",
        "running",
        "unseen",
    )

    def __init__(self, settings: CloudSettings, agenda: Agenda, history: History) -> None:
        self.cloud = Cloud(settings)
        self.history = history
        self._door = OPEN
        self.quiet = True
        """A steady poll would meet nothing but the heartbeat tracker: the shortcut may be taken."""
        self.quick_heartbeats = 0
        """Heartbeats that took the shortcut."""
        self.running = True
        """False while the cloud restarts: nothing is answered, timers wait."""
        self.names: dict[str, tuple[str, ...]] = {}
        """uuid → device names in the scenario; several where devices were cloned."""
        self.unseen: set[str] = set()
        """uuids of devices of which nobody has seen a row yet."""
        self._agenda = agenda
        self._armed_ms: int | None = None
        self._waiting: dict[int, Reply] = {}
        self._call_device: Callable[[CallDevice], None] | None = None

    @property
    def door(self) -> FrontDoor:
        """The state of the front door."""
        return self._door

    @door.setter
    def door(self, door: FrontDoor) -> None:
        self._door = door
        self._look()

    def name(self, uuid: str, name: str) -> None:
        """A device of the scenario has this uuid."""
        names = self.names.get(uuid, ())
        if name not in names:
            self.names[uuid] = (*names, name)

    def forget(self, uuid: str, name: str) -> None:
        """It has it no more."""
        self.names[uuid] = tuple(other for other in self.names[uuid] if other != name)

    def _look(self) -> None:
        self.quiet = self.running and self._door.open and not self.cloud.calls_pending

    @property
    def heartbeats(self) -> int:
        """Heartbeats the cloud has counted, whichever way they came."""
        return self.cloud.heartbeats + self.quick_heartbeats

    def connect(self, call_device: Callable[[CallDevice], None]) -> None:
        """Say who carries a call of the cloud to a device's supervisor API."""
        self._call_device = call_device

    def submit(self, request: Request, draws: Stream | None, reply: Reply) -> None:
        """A request reaches the front door; ``draws`` decides whether it is one of a share."""
        door = self.door
        if not self.running:
            reply("refused")
            return
        hit = door.share >= 1.0 or draws is None or draws.random() < door.share
        if hit and door.state == "down":
            reply("refused")
        elif hit and door.state == "hang":
            reply("timeout")
        elif hit and door.state == "error":
            headers = {} if door.retry_after_s is None else {"retry-after": str(door.retry_after_s)}
            reply(Response(status=door.status, body=None, headers=headers))
        elif hit and door.latency_ms:
            self._agenda.after(door.latency_ms, self._take, request, reply)
        else:
            self._take(request, reply)

    def _take(self, request: Request, reply: Reply) -> None:
        if not self.running:
            reply("timeout")
            return
        response = self.tell(request)
        if response is None:
            self._waiting[request.id] = reply
        else:
            reply(response)

    def tell(self, event: Event) -> Response | None:
        """Hand an event to the core; record and carry out what it gives."""
        now_ms = self._agenda.now_ms
        before = self.cloud.heartbeats
        outcome = self.cloud.handle(event, now_ms=now_ms)
        if self.cloud.heartbeats > before and self.history.traffic is not None:
            self._count_heartbeat(event, self.history.traffic)
        introduced = None
        for effect in outcome.effects:
            match effect:
                case FieldChanged():
                    names = self.names.get(effect.uuid, ())
                    if self.unseen and effect.uuid in self.unseen and names:
                        self.introduce(effect.uuid, effect.cause)
                        introduced = effect.uuid
                        names = ()
                    elif effect.uuid == introduced:
                        names = ()
                    for name in names:
                        self.history.changes.add(
                            now_ms, name, effect.field, effect.new, effect.cause
                        )
                case CallDevice():
                    assert self._call_device is not None
                    self._call_device(effect)
                case Respond():
                    waiting = self._waiting.pop(effect.id, None)
                    if waiting is not None:
                        waiting(effect.response)
                case KeyStored():
                    pass  # nothing here outlives the run
        self._arm()
        self._look()
        return outcome.response

    def _count_heartbeat(self, event: Event, traffic: Traffic) -> None:
        """A target-state poll: its path names the device."""
        if isinstance(event, Request):
            uuid = next((part for part in event.path.split("/") if part in self.names), "")
            traffic.add("heartbeats", self._agenda.now_ms, self.names.get(uuid, ("",))[0])

    def introduce(self, uuid: str, cause: str) -> None:
        """A device's row is new: people see every field of it, not only what changes later."""
        self.unseen.discard(uuid)
        for field, value in self.view(uuid).items():
            if value is not None:
                for name in self.names[uuid]:
                    self.history.changes.add(self._agenda.now_ms, name, field, value, cause)

    def restart(self, down_for_ms: int) -> None:
        """Stop the cloud; what its memory and timers held is there when it is back."""
        self.running = False
        self._look()
        self._agenda.after(down_for_ms, self._back)

    def _back(self) -> None:
        self.running = True
        self._armed_ms = None
        self.tell(TimerFired())

    def _arm(self) -> None:
        deadline = self.cloud.next_deadline_ms()
        if deadline is None or not self.running:
            return
        if self._armed_ms is None or deadline < self._armed_ms:
            self._armed_ms = deadline
            at_ms = max(deadline, self._agenda.now_ms)
            self._agenda.at(at_ms, RANK_CLOUD, self._timer, deadline)

    def _timer(self, deadline: int) -> None:
        if deadline != self._armed_ms or not self.running:
            return
        self._armed_ms = None
        self.tell(TimerFired())

    def view(self, uuid: str) -> Mapping[str, Any]:
        """Every visible field of a device now."""
        return self.cloud.view(uuid, now_ms=self._agenda.now_ms)

    def note(self, device: str, text: str, *, of_lab: bool = False) -> None:
        """Record a line of a machine's log, or one about it."""
        self.history.notes.append(Note(self._agenda.now_ms, device, text, of_lab))
