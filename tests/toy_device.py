"""A supervisor on a toy device: a tiny engine and a scripted cloud around a real ``Agent``.

Time is a number.  ``Toy.run_until`` lets everything due happen; every effect is kept with its time.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent import effects as do
from agent.config import AgentConfig, Persisted
from agent.events import (
    ApiCalled,
    Container,
    ContainerChanged,
    EngineSnapshot,
    Event,
    ImageRemoved,
    LocksRefused,
    LocksTaken,
    PullFailed,
    PullFinished,
    PullProgressed,
    RequestFailed,
    ResponseReceived,
    Started,
    TimerFired,
)
from agent.machine import Agent

UUID = "a" * 32
KEY = "b" * 32
APP = "c" * 32
APP_ID = 7
TRIP_MS = 40
PULL_MS = 10_000

Answer = ResponseReceived | RequestFailed
Cloud = Callable[[do.SendRequest, int], Answer]


def service(name: str, commit: str, **labels: str) -> dict[str, Any]:
    """A service of a target state; its image follows from name and commit."""
    return {"id": 1, "image_id": 1, "image": image_of(name, commit), "labels": dict(labels)}


def image_of(name: str, commit: str) -> str:
    return f"registry.invalid/v2/{name}-{commit}"


def target(
    commit: str | None = "r1",
    services: Mapping[str, Mapping[str, Any]] | None = None,
    config: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The device's part of a target state: one app, one release."""
    releases: dict[str, Any] = {}
    if commit is not None:
        found = services if services is not None else {"main": service("main", commit)}
        releases[commit] = {"id": 1, "services": dict(found)}
    app = {"id": APP_ID, "name": "fleet", "is_host": False, "class": "fleet", "releases": releases}
    return {"name": "toy", "config": dict(config or {}), "apps": {APP: app}}


SETTLED = Persisted(
    uuid=UUID,
    device_api_key=KEY,
    registered_at_ms=0,
    device_id=1,
    application_id=APP_ID,
    initial_env_reported=True,
    api_secret="s" * 32,
)
"""A disk of a device that was provisioned long ago."""


@dataclass
class ToyCloud:
    """Serves one target state; ``answers`` override it, one request each, by method."""

    part: dict[str, Any]
    uuid: str = UUID
    answers: dict[str, list[tuple[int, dict[str, str], Any] | str]] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return f'W/"{abs(hash(repr(self.part)))}"'

    def __call__(self, request: do.SendRequest, _now_ms: int) -> Answer:
        kind = "PATCH" if request.method == "PATCH" else f"{request.method} {_short(request.path)}"
        waiting = self.answers.get(kind)
        if waiting:
            answer = waiting.pop(0)
            if isinstance(answer, str):
                return RequestFailed(id=request.id, reason=answer)  # type: ignore[arg-type]  # as told
            status, headers, body = answer
            return ResponseReceived(id=request.id, status=status, headers=headers, body=body)
        if kind == "GET state":
            if request.headers.get("if-none-match") == self.etag:
                return ResponseReceived(id=request.id, status=304, headers={}, body=None)
            body = {self.uuid: self.part}
            return ResponseReceived(
                id=request.id, status=200, headers={"etag": self.etag}, body=body
            )
        if kind == "POST register":
            body = {"id": 1, "uuid": request.body["uuid"], "api_key": request.body["api_key"]}
            self.uuid = request.body["uuid"]
            return ResponseReceived(id=request.id, status=201, headers={}, body=body)
        if kind == "GET device":
            return ResponseReceived(id=request.id, status=200, headers={}, body={"d": [{"id": 1}]})
        status = 201 if kind == "POST device_config_variable" else 200
        return ResponseReceived(id=request.id, status=status, headers={}, body=None)


def _short(path: str) -> str:
    return path.partition("?")[0].rsplit("/", 1)[-1]


class Toy:
    """Time, an engine and a cloud around one supervisor."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        config: AgentConfig | None = None,
        persisted: Persisted = SETTLED,
        images: tuple[str, ...] = (),
        containers: tuple[Container, ...] = (),
        seed: int = 1,
        cold_boot: bool = True,
    ) -> None:
        self.cloud = cloud
        self.now_ms = 0
        self.disk = persisted
        self.config = config or AgentConfig(initial_config={})
        self.draws = random.Random(seed)
        self.images = set(images)
        self.containers = {container.name: container for container in containers}
        self.user_locks: set[str] = set()
        self.missing: set[str] = set()
        self.pull_ms = PULL_MS
        self.log: list[tuple[int, do.Effect]] = []
        self._heap: list[tuple[int, int, Event, int]] = []
        self._sequence = 0
        self._pulls: dict[str, int] = {}
        self.process = 0
        self.cache: Sequence[Any] | None = None
        self.reboot_needed = False
        self.restart(cold_boot=cold_boot)

    # --- time ------------------------------------------------------------------------------------

    def restart(self, *, cold_boot: bool = False) -> None:
        """A new process with what the disk holds; what was under way is gone."""
        self.process += 1
        self._pulls.clear()
        if cold_boot:
            self.cache, self.reboot_needed = None, False
            self.user_locks.clear()
        self.agent = Agent(self.config, self.disk, self.draws)
        snapshot = EngineSnapshot(
            images=frozenset(self.images), containers=tuple(self.containers.values())
        )
        self.feed(
            Started(
                engine=snapshot,
                cold_boot=cold_boot,
                report_cache=self.cache,
                reboot_needed=self.reboot_needed,
            )
        )

    def feed(self, event: Event) -> list[do.Effect]:
        """Hand one event over; carry out what comes back."""
        effects = self.agent.handle(event, now_ms=self.now_ms)
        for effect in effects:
            self.log.append((self.now_ms, effect))
            self._carry_out(effect)
        deadline = self.agent.next_deadline_ms()
        if isinstance(event, TimerFired):
            assert deadline is None or deadline > self.now_ms - 1
        return effects

    def _later(self, delay_ms: int, event: Event) -> None:
        self._sequence += 1
        entry = (self.now_ms + delay_ms, self._sequence, event, self.process)
        heapq.heappush(self._heap, entry)

    def run_until(self, until_ms: int) -> None:
        """Let everything up to ``until_ms`` happen."""
        while True:
            deadline = self.agent.next_deadline_ms()
            at_ms = self._heap[0][0] if self._heap else None
            if at_ms is not None and at_ms <= until_ms and (deadline is None or at_ms <= deadline):
                self.now_ms, _, event, process = heapq.heappop(self._heap)
                if process == self.process:
                    self.feed(event)
            elif deadline is not None and deadline <= until_ms:
                self.now_ms = max(self.now_ms, deadline)
                self.feed(TimerFired())
            else:
                break
        self.now_ms = until_ms

    # --- the device ------------------------------------------------------------------------------

    def _carry_out(self, effect: do.Effect) -> None:  # noqa: C901  # one arm for each effect
        match effect:
            case do.SendRequest():
                answer = self.cloud(effect, self.now_ms)
                hung = isinstance(answer, RequestFailed) and answer.reason == "timeout"
                self._later(effect.timeout_ms if hung else TRIP_MS, answer)
            case do.Persist():
                self.disk = effect.state
            case do.CacheReport():
                self.cache = effect.report
            case do.MarkRebootNeeded():
                self.reboot_needed = True
            case do.PullImage():
                if effect.image in self.missing:
                    self._later(100, PullFailed(image=effect.image, reason="HTTP 404"))
                    return
                for percent in range(10, 100, 10):
                    event = PullProgressed(image=effect.image, percent=percent)
                    self._later(self.pull_ms * percent // 100, event)
                self._sequence += 1
                self._pulls[effect.image] = self._sequence
                self._later(self.pull_ms, PullFinished(image=effect.image))
                self.images.add(effect.image)
            case do.CancelPull():
                self._pulls.pop(effect.image, None)
                self.images.discard(effect.image)
                self._heap = [
                    entry
                    for entry in self._heap
                    if getattr(entry[2], "image", None) != effect.image
                ]
                heapq.heapify(self._heap)
            case do.RemoveImage():
                self.images.discard(effect.image)
                self._later(300, ImageRemoved(image=effect.image))
            case do.CreateContainer():
                self.containers[effect.name] = Container.made_by(effect)
                self._later(100, ContainerChanged(name=effect.name, state="created"))
            case do.StartContainer():
                self._state(effect.name, "running", 300)
            case do.StopContainer():
                self._state(effect.name, "exited", 500)
            case do.RemoveContainer():
                self.containers.pop(effect.name, None)
                self._later(50, ContainerChanged(name=effect.name, state="removed"))
            case do.RelabelContainer():
                old = self.containers.pop(effect.name)
                self.containers[effect.new_name] = replace(
                    old, name=effect.new_name, commit=effect.commit
                )
            case do.TakeLocks():
                held = sorted(self.user_locks & set(effect.services))
                if held and not effect.force:
                    refused = LocksRefused(attempt=effect.attempt, app=effect.app, service=held[0])
                    self._later(0, refused)
                else:
                    self.user_locks -= set(effect.services)
                    self._later(0, LocksTaken(attempt=effect.attempt))
            case _:
                pass

    def _state(self, name: str, state: Any, delay_ms: int) -> None:
        if name in self.containers:
            self.containers[name] = replace(self.containers[name], state=state)
        self._later(delay_ms, ContainerChanged(name=name, state=state))

    def call(self, method: str, path: str, **body: Any) -> int:
        """Call the supervisor API; the number of the call."""
        self._sequence += 1
        call = self._sequence
        self.feed(ApiCalled(call=call, method=method, path=path, body=body))
        return call

    # --- what happened ---------------------------------------------------------------------------

    def of(self, kind: type[Any]) -> list[tuple[int, Any]]:
        """Every effect of a kind, with its time."""
        return [(at_ms, effect) for at_ms, effect in self.log if isinstance(effect, kind)]

    def requests(self, method: str, word: str = "") -> list[tuple[int, do.SendRequest]]:
        """Requests by method and a word of the path."""
        return [
            (at_ms, effect)
            for at_ms, effect in self.of(do.SendRequest)
            if effect.method == method and word in effect.path
        ]

    def polls(self) -> list[int]:
        """Times of every GET of the target state."""
        return [at_ms for at_ms, _ in self.requests("GET", "/state")]

    def reports(self) -> list[tuple[int, dict[str, Any]]]:
        """Every state report: its time and the device's part."""
        return [
            (at_ms, next(iter(effect.body.values())))
            for at_ms, effect in self.requests("PATCH", "/device/v3/state")
        ]

    def apps(self) -> list[tuple[int, dict[str, Any]]]:
        """The app of every report that has one."""
        return [(at_ms, body["apps"][APP]) for at_ms, body in self.reports() if "apps" in body]

    def replies(self) -> dict[int, tuple[int, Any]]:
        """Answers of the supervisor API by call."""
        return {reply.call: (reply.status, reply.body) for _, reply in self.of(do.ReplyToApi)}

    def running(self) -> dict[str, str]:
        """Service → commit of what runs."""
        return {
            container.service: container.commit
            for container in self.containers.values()
            if container.state == "running"
        }
