"""A real stub cloud in a thread of the test's process, on a free port of loopback."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from cloud_stub.server.app import Server
from cloud_stub.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

EMAIL = "qa@example.com"
PASSWORD = "a password of the test"  # noqa: S105  # of a server that lives as long as a test
VPN_KEY = "the-key-of-the-vpn-service"
SETTINGS = ServerSettings(
    port=0, admin_email=EMAIL, admin_password=PASSWORD, vpn_service_key=VPN_KEY, lag_s=0.05
)
TIMEOUT_S = 60


class Answered(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.raw)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What an OData query gave."""
        assert self.status == 200, self
        found: list[dict[str, Any]] = self.json["d"]
        return found


class Stub:
    """One running server, and requests to it."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.url = server.address
        self._token: str | None = None
        self._vpn_service: int | None = None

    @property
    def vpn_service(self) -> int:
        """A registered VPN service instance."""
        if self._vpn_service is None:
            self._vpn_service = self.post("service_instance", {}, key=VPN_KEY)["id"]
        return self._vpn_service

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(TIMEOUT_S)

    @property
    def token(self) -> str:
        """The administrator's session."""
        if self._token is None:
            body = {"username": EMAIL, "password": PASSWORD}
            self._token = self.ask("POST", "/login_", body, key=None).raw.decode()
        return self._token

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answered:
        """One request.

        Args:
            method: of HTTP.
            path: with query; what a URL does not take is quoted.
            body: sent as JSON.
            key: of the caller; the empty one: the administrator; ``None``: none.
            headers: besides.
            raw: sent as it is.
        """
        sent = {} if body is None else {"Content-Type": "application/json"}
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.token}"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  # an http URL of our own
            self.url + quote(path, safe="/?&=$(),;:%@'"),
            data,
            sent | (headers or {}),
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  # the same
                return Answered(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return Answered(answer.code, _lower(answer.headers), answer.read())

    # --- what tests need again and again ---------------------------------------------------------

    def post(self, resource: str, body: dict[str, Any], *, key: str = "") -> dict[str, Any]:
        """A new row."""
        answer = self.ask("POST", f"/v7/{resource}", body, key=key)
        assert answer.status == 201, answer
        made: dict[str, Any] = answer.json
        return made

    def fleet(self, name: str = "Plant-7", *, key: str = "", organization: int = 1) -> Fleet:
        """A fleet with a release of one service, and a provisioning key."""
        kinds = self.ask("GET", "/v7/device_type?$filter=slug eq 'raspberrypi4-64'&$select=id")
        body = {
            "app_name": name,
            "organization": organization,
            "is_for__device_type": kinds.rows[0]["id"],
        }
        made = self.post("application", body, key=key)
        fleet = Fleet(self, made["id"], made["uuid"], key)
        fleet.release("a" * 32)
        answer = self.ask("POST", f"/api-key/application/{fleet.id}/provisioning", {}, key=key)
        fleet.provisioning_key = answer.json
        return fleet


class Fleet:
    """A fleet of a stub."""

    def __init__(self, stub: Stub, number: int, uuid: str, key: str) -> None:
        self.stub = stub
        self.id = number
        self.uuid = uuid
        self.key = key
        self.provisioning_key = ""
        self.releases: dict[str, int] = {}
        self.images: dict[str, str] = {}
        self.service = 0

    def release(self, commit: str, **more: Any) -> int:
        """A finished release as a builder makes one."""
        stub, key = self.stub, self.key
        if not self.service:
            body = {"application": self.id, "service_name": "main"}
            self.service = stub.post("service", body, key=key)["id"]
        body = {"belongs_to__application": self.id, "commit": commit, "status": "success", **more}
        release = stub.post("release", body, key=key)
        image = stub.post(
            "image", {"is_a_build_of__service": self.service, "status": "success"}, key=key
        )
        part = {"image": image["id"], "is_part_of__release": release["id"]}
        stub.post("image__is_part_of__release", part, key=key)
        self.releases[commit] = release["id"]
        self.images[commit] = image["is_stored_at__image_location"]
        number: int = release["id"]
        return number

    def device(self, uuid: str) -> Device:
        """Register a device."""
        body = {"application": self.id, "uuid": uuid, "device_type": "raspberrypi4-64"}
        answer = self.stub.ask("POST", "/device/register", body, key=self.provisioning_key)
        assert answer.status == 201, answer
        return Device(self.stub, self, answer.json["id"], uuid, answer.json["api_key"])


class Device(NamedTuple):
    """A device registered at a stub."""

    stub: Stub
    fleet: Fleet
    id: int
    uuid: str
    key: str

    def poll(self, etag: str | None = None) -> Answered:
        """Ask for the target state: a heartbeat."""
        headers = {} if etag is None else {"If-None-Match": etag}
        path = f"/device/v3/{self.uuid}/state"
        return self.stub.ask("GET", path, key=self.key, headers=headers)

    def report(self, state: Any) -> Answered:
        """Send a state report."""
        return self.stub.ask("PATCH", "/device/v3/state", {self.uuid: state}, key=self.key)

    def cloudlink(self, *, up: bool) -> None:
        """Say, as the VPN service does, that its tunnel came up or went down."""
        word = "connect" if up else "disconnect"
        body = {"uuids": [self.uuid], "serviceId": self.stub.vpn_service}
        answer = self.stub.ask("POST", f"/services/vpn/client-{word}", body, key=VPN_KEY)
        assert answer.status == 200, answer

    def row(self, *fields: str) -> dict[str, Any]:
        """What the resource API says of it."""
        path = f"/v7/device(uuid='{self.uuid}')"
        return self.stub.ask("GET", path + (f"?$select={','.join(fields)}" if fields else "")).rows[
            0
        ]


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@contextmanager
def running(
    folder: Path,
    settings: ServerSettings = SETTINGS,
    *,
    db: str = "",
    clock: Callable[[], float] = time.time,
) -> Iterator[Stub]:
    """A server with its database in ``folder``, until the block ends.

    Args:
        folder: of the database.
        settings: of the server.
        db: instead of a file in the folder.
        clock: the server's wall clock, seconds since 1970.
    """
    url = db or str(folder / "cloud.sqlite")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(TIMEOUT_S)

    try:
        server = wait(Server.start(replace(settings, db=url), clock))
        try:
            yield Stub(server, loop)
        finally:
            wait(server.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)
        loop.close()
