"""A cloud core on a desk: one fleet, one device, and short ways to send requests to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloud_stub.core import Cloud
from cloud_stub.messages import (
    AddKey,
    CreateFleet,
    CreateRelease,
    FieldChanged,
    Preregister,
    Request,
    Response,
    ServiceSpec,
    TimerFired,
)
from cloud_stub.settings import CloudSettings

if TYPE_CHECKING:
    from cloud_stub.messages import Effect, Event
    from cloud_stub.model import Device

FLEET = "wire"
FLEET_UUID = "61495b3426de41a389184ca22147f289"
UUID = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
OTHER_UUID = "b" * 32
UNKNOWN_UUID = "f" * 32
DEVICE, OTHER_DEVICE = "device-key", "other-device-key"
PROVISIONING, USER, VPN = "provisioning-key", "user-token", "vpn-key"


def image(commit: str, service: str) -> str:
    return f"registry.invalid/v2/{commit}-{service}@sha256:{commit}{service}"


def release(commit: str, *services: str, fleet: str = FLEET, track: bool = True) -> CreateRelease:
    return CreateRelease(
        fleet=fleet,
        commit=commit,
        services=tuple(
            ServiceSpec(name=name, image=image(commit, name)) for name in services or ("main",)
        ),
        track=track,
    )


class Desk:
    """The cloud, and what its last handling gave."""

    def __init__(self, *, contacted: bool = True, **settings: Any) -> None:
        self.cloud = Cloud(CloudSettings(**settings))
        self.effects: tuple[Effect, ...] = ()
        self._requests = 0
        self.tell(CreateFleet(name=FLEET, uuid=FLEET_UUID))
        self.tell(release("r1"))
        self.tell(AddKey(key=PROVISIONING, kind="provisioning", owner=FLEET))
        self.tell(AddKey(key=USER, kind="user", owner="admin"))
        self.tell(AddKey(key=VPN, kind="vpn", owner="vpn"))
        self.tell(Preregister(uuid=UUID, name="purple-wood", fleet=FLEET, api_key=DEVICE))
        other = Preregister(uuid=OTHER_UUID, name="other", fleet=FLEET, api_key=OTHER_DEVICE)
        self.tell(other)
        for _ in range(2):
            self.ask("POST", "/v7/service_instance", VPN)
        if contacted:
            # a report is contact, and no heartbeat
            self.report({})

    @property
    def device(self) -> Device:
        return self.cloud.devices[UUID]

    def tell(self, event: Event, now_ms: int = 0) -> Response | None:
        outcome = self.cloud.handle(event, now_ms=now_ms)
        self.effects = outcome.effects
        return outcome.response

    def send(self, event: Event, now_ms: int = 0) -> Response:
        """The same where an answer is certain."""
        response = self.tell(event, now_ms)
        assert response is not None
        return response

    def request(
        self,
        method: str,
        path: str,
        key: str | None = None,
        body: Any = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Request:
        self._requests += 1
        bearer = {} if key is None else {"authorization": f"Bearer {key}"}
        return Request(
            id=self._requests,
            method=method,
            path=path,
            query=query or {},
            headers=bearer | (headers or {}),
            body=body,
        )

    def ask(
        self,
        method: str,
        path: str,
        key: str | None = None,
        body: Any = None,
        *,
        at: int = 0,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        return self.send(self.request(method, path, key, body, query, headers), at)

    def poll(
        self,
        at: int = 0,
        *,
        key: str | None = DEVICE,
        uuid: str = UUID,
        etag: str | None = None,
        method: str = "GET",
        version: str = "v3",
    ) -> Response:
        headers = {} if etag is None else {"if-none-match": etag}
        path = f"/device/{version}/{uuid}/state"
        return self.ask(method, path, key, at=at, headers=headers)

    def report(self, part: Any, at: int = 0, *, key: str | None = DEVICE) -> Response:
        return self.ask("PATCH", "/device/v3/state", key, {UUID: part}, at=at)

    def report_v2(self, local: Any, at: int = 0) -> Response:
        return self.ask("PATCH", f"/device/v2/{UUID}/state", DEVICE, {"local": local}, at=at)

    def report_release(
        self, commit: str = "r1", at: int = 0, *, running: str | None = None, **service: Any
    ) -> Response:
        """Report one release with one service, ``update_status`` beside it."""
        part: dict[str, Any] = {}
        if "update_status" in service:
            part["update_status"] = service.pop("update_status")
        if service:
            part["services"] = {"main": {"image": image(commit, "main"), **service}}
        app: dict[str, Any] = {"releases": {commit: part}}
        if running is not None:
            app["release_uuid"] = running
        return self.report({"apps": {FLEET_UUID: app}}, at)

    def cloudlink(self, word: str, at: int = 0, *, instance: Any = 1, uuid: str = UUID) -> Response:
        body = {"uuids": [uuid], "serviceId": instance}
        return self.ask("POST", f"/services/vpn/client-{word}", VPN, body, at=at)

    def timer(self, at: int) -> None:
        self.tell(TimerFired(), at)

    def run_until(self, at: int) -> None:
        """Fire every timer when it is due."""
        while (due := self.cloud.next_deadline_ms()) is not None and due <= at:
            self.timer(due)

    def see(self, field: str, uuid: str = UUID) -> Any:
        return self.cloud.view(uuid, now_ms=0)[field]

    def changed(self, uuid: str = UUID) -> dict[str, Any]:
        """Field → new value, of the last handling."""
        return {
            effect.field: effect.new
            for effect in self.effects
            if isinstance(effect, FieldChanged) and effect.uuid == uuid
        }

    def causes(self) -> set[str]:
        return {effect.cause for effect in self.effects if isinstance(effect, FieldChanged)}
