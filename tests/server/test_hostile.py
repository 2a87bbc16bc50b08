"""Requests that mean harm are refused, and change nothing.

Each row of ``HOSTILE`` is one request; after it the whole database is compared with before.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.stub_cloud import PASSWORD, VPN_KEY, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stub_cloud import Device, Stub

MINE = "a" * 32
THEIRS = "b" * 32
JSON = {"Content-Type": "application/json"}


class Site(NamedTuple):
    """Two people's fleets at one stub."""

    stub: Stub
    mine: Device
    theirs: Device
    guest: str
    """Session of a person who owns neither."""
    file: Path

    def key(self, who: str) -> str | None:
        """A credential by the word a row of the table uses."""
        return {
            "none": None,
            "admin": "",
            "guest": self.guest,
            "mine": self.mine.key,
            "theirs": self.theirs.key,
            "provisioning": self.mine.fleet.provisioning_key,
            "vpn": VPN_KEY,
            "wrong": "x" * 32,
        }[who]


class Hostile(NamedTuple):
    """One request and what must come of it."""

    name: str
    method: str
    path: str
    who: str
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] | None = None
    status: tuple[int, ...] = (401,)


def _deep(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


D, F = f"/v7/device(uuid='{THEIRS}')", "/v7/device?$filter="
HOSTILE = [
    # another's device
    Hostile("poll for another device", "GET", f"/device/v3/{THEIRS}/state", "mine"),
    Hostile("report for another", "PATCH", "/device/v3/state", "mine", {THEIRS: {"status": "x"}}),
    Hostile(
        "report for oneself and another",
        "PATCH",
        "/device/v3/state",
        "mine",
        {MINE: {"status": "x"}, THEIRS: {"status": "x"}},
    ),
    Hostile(
        "report in v2 for another",
        "PATCH",
        f"/device/v2/{THEIRS}/state",
        "mine",
        {"local": {"status": "x"}},
    ),
    Hostile("logs of another", "POST", f"/device/v2/{THEIRS}/logs", "mine", [{"message": "x"}]),
    Hostile("read logs of another", "GET", f"/device/v2/{THEIRS}/logs", "mine"),
    Hostile("tunnel of another", "GET", f"/services/vpn/auth/{THEIRS}", "mine"),
    Hostile("another's row", "PATCH", D, "mine", {"note": "x"}, status=(200,)),
    Hostile("delete another", "DELETE", D, "mine"),
    Hostile("delete oneself", "DELETE", f"/v7/device(uuid='{MINE}')", "mine"),
    Hostile("thaw oneself", "PATCH", f"/v7/device(uuid='{MINE}')", "mine", {"is_frozen": False}),
    Hostile(
        "a variable of another",
        "POST",
        "/v7/device_config_variable",
        "mine",
        {"device": 2, "name": "BALENA_X", "value": "1"},
    ),
    Hostile(
        "another's tag through a filter",
        "DELETE",
        "/v7/device_tag?$filter=tag_key eq 'keep'",
        "mine",
        status=(200,),
    ),
    Hostile("more keys for another", "POST", "/api-key/device/2/device-key", "mine", {}),
    Hostile("a fleet of one's own", "POST", "/v7/application", "mine", {"app_name": "evil"}),
    Hostile(
        "a provisioning key by a device",
        "POST",
        "/api-key/application/1/provisioning",
        "mine",
        {},
    ),
    # roles
    Hostile("reports by provisioning key", "PATCH", "/device/v3/state", "provisioning", {MINE: {}}),
    Hostile("poll by provisioning key", "GET", f"/device/v3/{MINE}/state", "provisioning"),
    Hostile(
        "register into another fleet",
        "POST",
        "/device/register",
        "provisioning",
        {"application": 2, "uuid": "c" * 32, "device_type": "raspberrypi4-64"},
    ),
    Hostile(
        "a registration once more",
        "POST",
        "/device/register",
        "provisioning",
        {"application": 1, "uuid": MINE, "device_type": "raspberrypi4-64"},
        status=(409,),
    ),
    Hostile(
        "register with another's key",
        "POST",
        "/device/register",
        "provisioning",
        {"application": 1, "uuid": "c" * 32, "device_type": "raspberrypi4-64", "api_key": VPN_KEY},
        status=(409,),
    ),
    Hostile(
        "register with a device key",
        "POST",
        "/device/register",
        "mine",
        {"application": 1, "uuid": "c" * 32, "device_type": "raspberrypi4-64"},
    ),
    Hostile("read as VPN service", "GET", "/v7/device", "vpn"),
    Hostile(
        "write as provisioning key",
        "PATCH",
        f"/v7/device(uuid='{MINE}')",
        "provisioning",
        {"note": "x"},
        status=(200, 401),
    ),
    Hostile(
        "tunnels told by a device",
        "POST",
        "/services/vpn/client-connect",
        "mine",
        {"uuids": [THEIRS], "serviceId": 1},
    ),
    Hostile("a VPN instance by a device", "POST", "/v7/service_instance", "mine"),
    # other people
    Hostile("another's device as a person", "PATCH", D, "guest", {"note": "x"}, status=(200,)),
    Hostile("delete as a stranger", "DELETE", D, "guest", status=(200,)),
    Hostile("another's fleet", "DELETE", "/v7/application(1)", "guest", status=(200,)),
    Hostile(
        "a release in another's fleet",
        "POST",
        "/v7/release",
        "guest",
        {"belongs_to__application": 1, "commit": "e" * 32, "status": "success"},
    ),
    Hostile("a key of another's fleet", "POST", "/api-key/application/1/provisioning", "guest", {}),
    Hostile(
        "a key of another person",
        "POST",
        "/api-key/v1/",
        "guest",
        {"actorType": "user", "actorTypeId": 1, "roles": ["named-user-api-key"]},
    ),
    Hostile("faults as a stranger", "PUT", "/fieldbeat/v1/faults", "guest", {}, status=(403,)),
    Hostile("people as a stranger", "POST", "/fieldbeat/v1/users", "guest", {}, status=(403,)),
    Hostile(
        "a reboot of another's",
        "POST",
        "/supervisor/v1/reboot",
        "guest",
        {"uuid": THEIRS},
        status=(404,),
    ),
    Hostile(
        "a membership for oneself",
        "POST",
        "/v7/organization_membership",
        "guest",
        {"user": 2, "is_member_of__organization": 1},
    ),
    Hostile("rights by writing the user", "PATCH", "/v7/user(2)", "guest", {"username": "admin"}),
    # keys and sessions
    Hostile("no key", "GET", "/v7/device", "none"),
    Hostile("an unknown key", "GET", "/v7/device", "wrong"),
    Hostile(
        "a token nobody signed",
        "GET",
        "/v7/device",
        "none",
        headers={"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJpZCI6MSwiZXhwIjo5OTk5OTk5OTk5fQ."},
    ),
    Hostile("a key in the query that is unknown", "GET", "/v7/device?apikey=nosuch", "none"),
    Hostile("log in without a password", "POST", "/login_", "none", {"username": "admin"}),
    Hostile(
        "log in with a list", "POST", "/login_", "none", {"username": ["admin"], "password": [""]}
    ),
    Hostile(
        "log in with SQL",
        "POST",
        "/login_",
        "none",
        {"username": "admin' OR 1=1 --", "password": PASSWORD},
    ),
    # filters
    Hostile(
        "SQL in a filter", "GET", F + "uuid eq ''; DROP TABLE device; --'", "admin", status=(400,)
    ),
    Hostile("SQL in a key", "GET", "/v7/device(uuid='' OR 1=1)", "admin", status=(400,)),
    Hostile(
        "SQL in an order",
        "GET",
        "/v7/device?$orderby=id;DELETE FROM device",
        "admin",
        status=(400,),
    ),
    Hostile(
        "SQL in a select",
        "GET",
        "/v7/device?$select=id,(SELECT password FROM user)",
        "admin",
        status=(400,),
    ),
    Hostile("a hidden column", "GET", "/v7/user?$select=password", "admin", status=(400,)),
    Hostile(
        "a hidden column in a filter",
        "GET",
        "/v7/user?$filter=startswith(password,'a')",
        "admin",
        status=(400,),
    ),
    Hostile(
        "a hidden key in a filter",
        "GET",
        "/v7/api_key?$filter=contains(key,'a')",
        "admin",
        status=(400,),
    ),
    Hostile(
        "a filter nested a thousand times",
        "GET",
        F + "(" * 1_000 + "1 eq 1" + ")" * 1_000,
        "admin",
        status=(400,),
    ),
    Hostile(
        "an expand nested too deep",
        "GET",
        "/v7/device?$expand="
        + "belongs_to__application($expand=owns__device($expand=" * 6
        + "device_tag"
        + "))" * 6,
        "admin",
        status=(400,),
    ),
    Hostile("a number without end", "GET", F + "id eq " + "9" * 400, "admin", status=(400,)),
    Hostile("division by zero", "GET", F + "id mod 0 eq 1", "admin", status=(400,)),
    Hostile("delete everything", "DELETE", "/v7/device", "admin", status=(400,)),
    Hostile(
        "rename everything",
        "PATCH",
        "/v7/application",
        "admin",
        {"app_name": "gone"},
        status=(400,),
    ),
    Hostile("a resource that is none", "GET", "/v7/fieldbeat_setting", "admin", status=(404,)),
    Hostile("a table of SQLite", "GET", "/v7/sqlite_master", "admin", status=(404,)),
    # paths and bodies
    Hostile(
        "a path upwards",
        "GET",
        "/device/v3/../../etc/passwd/state",
        "admin",
        status=(304, 401, 404),
    ),
    Hostile(
        "a path upwards, quoted",
        "GET",
        "/v7/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "admin",
        status=(400, 404),
    ),
    Hostile("a NUL in a path", "GET", "/v7/device(uuid='%00')", "admin", status=(200, 400)),
    Hostile(
        "a huge body",
        "PATCH",
        "/device/v3/state",
        "mine",
        raw=b"[" + b" " * 700_000 + b"]",
        headers=JSON,
        status=(413,),
    ),
    Hostile(
        "a body nested deep",
        "PATCH",
        "/device/v3/state",
        "mine",
        raw=_deep(5_000),
        headers=JSON,
        status=(400,),
    ),
    Hostile(
        "a body that is not UTF-8",
        "PATCH",
        "/device/v3/state",
        "mine",
        raw=b'{"\xff":1}',
        headers=JSON,
        status=(400,),
    ),
    Hostile(
        "half a character",
        "PATCH",
        "/device/v3/state",
        "mine",
        raw=json.dumps({MINE: {"status": "\ud800"}}).encode(),
        headers=JSON,
        status=(400,),
    ),
    Hostile(
        "a NUL in a report",
        "PATCH",
        "/device/v3/state",
        "mine",
        {MINE: {"status": "a\0b"}},
        status=(400,),
    ),
    Hostile(
        "a number no column takes",
        "PATCH",
        "/device/v3/state",
        "mine",
        raw=b'{"%s":{"provisioning_progress":%s}}' % (MINE.encode(), b"9" * 30),
        headers=JSON,
        status=(400,),
    ),
    Hostile(
        "not a number",
        "PATCH",
        "/device/v3/state",
        "mine",
        raw=b'{"%s":{"cpu_temp":NaN}}' % MINE.encode(),
        headers=JSON,
        status=(400,),
    ),
    Hostile(
        "a bomb in gzip",
        "PATCH",
        "/device/v3/state",
        "mine",
        raw=gzip.compress(b" " * 50_000_000),
        headers={**JSON, "Content-Encoding": "gzip"},
        status=(413,),
    ),
    Hostile(
        "gzip that is none",
        "PATCH",
        "/device/v3/state",
        "mine",
        raw=b"not gzip",
        headers={**JSON, "Content-Encoding": "gzip"},
        status=(400,),
    ),
    Hostile("an unknown method", "BREW", "/device/v3/state", "mine", status=(400, 404, 405)),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("hostile")
    with running(folder) as stub:
        mine = stub.fleet("Plant-7").device(MINE)
        theirs = stub.fleet("Plant-8").device(THEIRS)
        for device in (mine, theirs):
            device.poll()
            device.report({"status": "Idle"})
        stub.post("device_tag", {"device": theirs.id, "tag_key": "keep", "value": "1"})
        body = {"username": "guest", "email": "guest@example.com", "password": "another password"}
        stub.ask("POST", "/fieldbeat/v1/users", body)
        login = {"username": "guest", "password": "another password"}
        guest = stub.ask("POST", "/login_", login, key=None).raw.decode()
        yield Site(stub, mine, theirs, guest, folder / "cloud.sqlite")


def _everything(site: Site) -> dict[str, list[Any]]:
    """Every row there is, but for what a served request moves by itself."""
    moving = ("fieldbeat_heartbeat", "sqlite_sequence", "service_install")
    with sqlite3.connect(site.file) as connection:
        names = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        found = {
            name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
            for name in names
            if name not in moving
        }
    connection.close()
    return found


@pytest.mark.parametrize("row", HOSTILE, ids=lambda row: row.name)
def test_a_hostile_request_is_refused_and_changes_nothing(site: Site, row: Hostile) -> None:
    before = _everything(site)
    answer = site.stub.ask(
        row.method, row.path, row.body, key=site.key(row.who), headers=row.headers, raw=row.raw
    )
    assert answer.status in row.status, answer.raw[:200]
    assert _everything(site) == before
    assert site.stub.ask("GET", "/healthz", key=None).status == 200


SMUGGLED = [
    b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    b"Content-Length: 4\r\nContent-Length: 60\r\n\r\nabcd",
    b"Transfer-Encoding: xchunked\r\n\r\n",
    b"Content-Length: -1\r\n\r\n",
    b"X: a\r\n b\r\nContent-Length: 0x4\r\n\r\nabcd",
    b"A: " + b"b" * 100_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("rest", SMUGGLED, ids=range(len(SMUGGLED)))
def test_a_request_with_two_meanings_is_refused(site: Site, rest: bytes) -> None:
    host, port = site.stub.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"PATCH /device/v3/state HTTP/1.1\r\nHost: x\r\n" + rest)
        answer = connection.recv(4_096)
    assert answer.split(b" ", 2)[1] in (b"400", b"431")


def test_a_client_that_sends_its_head_drop_by_drop_holds_up_nobody(site: Site) -> None:
    host, port = site.stub.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            for _ in range(50)
        ]
        for connection in slow:
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost:")
        assert site.stub.ask("GET", "/ping", key=None).raw == b"OK"
        # it was not their end that it waited for
        for connection in slow:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)


def test_more_than_forty_requests_are_in_the_table() -> None:
    assert len(HOSTILE) + len(SMUGGLED) > 40
