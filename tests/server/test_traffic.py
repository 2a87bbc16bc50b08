"""``--traffic``: what clients' requests amount to, line by line."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cloud_stub.server.tls import development_authority
from cloud_stub.server.traffic import Traffic
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.stub_cloud import Stub

UUID = "d94a49732bbae3105908d6442b4dcb59"
DEADLINE_S = 120.0
DEVICE = "127.0.0.9"
"""Where what is looked at comes from: the fixtures' own requests are told when they will."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where it is written."""
    return tmp_path / "traffic.jsonl"


@pytest.fixture
def stub(tmp_path: Path, file: Path) -> Iterator[Stub]:
    """A server that counts."""
    settings = replace(SETTINGS, traffic=str(file))
    with running(tmp_path, settings, db=str(tmp_path / "cloud.sqlite")) as stub:
        yield stub


def _sum(file: Path, what: str) -> int:
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    ours = (row for row in rows if row.get("address", DEVICE) == DEVICE)
    return sum(row["amount"] for row in ours if row["what"] == what)


def _until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def _connected(stub: Stub) -> socket.socket:
    host, port = stub.url.removeprefix("http://").split(":")
    made = socket.socket()
    made.settimeout(DEADLINE_S)
    # so that a kernel takes little that nobody has read
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    made.bind((DEVICE, 0))
    made.connect((host, int(port)))
    return made


def _said(stub: Stub, head: str) -> bytes:
    """What the server says to a request, to the end of the connection."""
    with _connected(stub) as connection:
        connection.sendall(head.encode())
        said = b""
        while more := connection.recv(65_536):
            said += more
        return said


def _head(path: str, key: str, connection: str = "close") -> str:
    lines = (f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}")
    return "\r\n".join((*lines, f"Connection: {connection}", "", ""))


def test_every_byte_of_a_message_counts_and_each_heartbeat(stub: Stub, file: Path) -> None:
    device = stub.fleet().device(UUID)
    head = _head(f"/device/v3/{UUID}/state", device.key)
    said = _said(stub, head)
    _until(lambda: _sum(file, "bytes_received") == len(said))
    assert _sum(file, "bytes_sent") == len(head)
    assert (_sum(file, "requests"), _sum(file, "heartbeats")) == (1, 1)
    etag = device.poll().headers["etag"]
    assert device.poll(etag).status == 304  # by the short way
    assert _sum(file, "heartbeats") == 3
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["device"] for row in told if row["what"] == "heartbeats"} == {UUID}


def test_a_request_counts_though_nobody_answers_it(stub: Stub, file: Path) -> None:
    device = stub.fleet().device(UUID)
    stub.ask("PUT", "/fieldbeat/v1/faults", {"api": [{"state": "down"}]})
    with contextlib.suppress(ConnectionError):
        assert _said(stub, _head(f"/device/v3/{UUID}/state", device.key)) == b""
    _until(lambda: _sum(file, "requests") == 1)
    assert _sum(file, "heartbeats") == 0


def test_log_streams_and_image_pulls_are_no_requests_of_the_api(stub: Stub, file: Path) -> None:
    device = stub.fleet().device(UUID)
    lines = json.dumps({"message": "x" * 5_000}) + "\n"
    head = (
        f"POST /device/v2/{UUID}/log-stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {device.key}\r\nContent-Length: {len(lines)}\r\n\r\n"
    )
    assert _said(stub, head + lines).startswith(b"HTTP/1.1 201")
    asked = _head("/v2/", "")
    assert _said(stub, asked).startswith(b"HTTP/1.1 401")
    _until(lambda: _sum(file, "bytes_sent") == len(asked))
    assert _sum(file, "requests") == 0


def test_of_a_download_that_is_cut_only_what_arrived_counts(stub: Stub, file: Path) -> None:
    fleet = stub.fleet()
    device = fleet.device(UUID)
    name = fleet.images["a" * 32].partition("/")[2]
    pair = base64.b64encode(f"d_{UUID}:{device.key}".encode()).decode()
    path = f"/auth/v1/token?service=x&scope=repository:{name}:pull"
    asked = stub.ask("GET", path, key=None, headers={"Authorization": f"Basic {pair}"})
    token = asked.json["token"]
    layer = stub.ask("GET", f"/v2/{name}/manifests/latest", key=token).json["layers"][-1]
    with _connected(stub) as pulling:
        # as a supervisor: it is not the server that closes
        head = _head(f"/v2/{name}/blobs/{layer['digest']}", token, "keep-alive")
        pulling.sendall(head.encode())
        _until(lambda: _sum(file, "bytes_received") > 0)
    known = _sum(file, "bytes_received")
    said = _said(stub, _head("/ping", ""))
    _until(lambda: _sum(file, "bytes_received") >= known + len(said))
    assert _sum(file, "bytes_received") < layer["size"] / 2


def test_the_count_goes_on_after_the_api_has_restarted(tmp_path: Path, file: Path) -> None:
    settings = replace(SETTINGS, traffic=str(file))
    with running(tmp_path, settings) as stub:
        device = stub.fleet().device(UUID)
        device.poll()
    with running(tmp_path, settings) as stub:
        device._replace(stub=stub).poll()
    assert _sum(file, "heartbeats") == 2


class _Closes(asyncio.Protocol):
    """Says something and closes, twice, as whoever ends a server does; then it is looked at."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
        transport.write(b"word")  # type: ignore[attr-defined]
        transport.close()
        transport.close()
        self._traffic._look()


def test_a_connection_with_tls_that_is_closed_twice_is_counted(tmp_path: Path, file: Path) -> None:
    certificate = development_authority(tmp_path / "tls", [DEVICE])
    serving, asking = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    serving.load_cert_chain(*certificate)
    asking.load_verify_locations(tmp_path / "tls" / "ca.pem")

    async def asked() -> bytes:
        traffic = Traffic(str(file), lambda: 0)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: traffic.protocol(_Closes(traffic)), DEVICE, 0, ssl=serving
        )
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=asking, local_addr=(DEVICE, 0)
        )
        said = await reader.read()
        traffic.close()
        writer.close()
        server.close()
        return said

    assert asyncio.run(asked()) == b"word"
    assert _sum(file, "bytes_received") == 4


class _Says(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"word")  # type: ignore[attr-defined]


class _Going(asyncio.Transport):
    """Of TLS, a moment before it tells that its connection is lost: it has no socket any more."""

    def __init__(self, held: socket.socket) -> None:
        super().__init__({"socket": held, "peername": (DEVICE, 1)})

    def write(self, data: bytes | bytearray | memoryview) -> None:
        del self._extra["socket"]  # type: ignore[attr-defined]

    def get_write_buffer_size(self) -> int:
        return 0


def test_a_connection_that_is_being_lost_is_counted(file: Path) -> None:
    async def lost() -> None:
        traffic = Traffic(str(file), lambda: 0)
        here, there = socket.socketpair()
        with here, there:
            traffic.protocol(_Says()).connection_made(_Going(here))
            traffic.close()

    asyncio.run(lost())
    assert _sum(file, "bytes_received") == 4
