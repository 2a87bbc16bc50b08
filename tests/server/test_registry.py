"""The stub's registry, as container engines ask it."""

from __future__ import annotations

import base64
import hashlib
import socket
from typing import TYPE_CHECKING, Any

from cloud_stub.server.registry_api import LAYERS, Content, _made
from scenarios import pulls

if TYPE_CHECKING:
    from tests.stub_cloud import Answered, Stub


def _name(stub: Stub) -> tuple[str, str]:
    """An image, and the key of a device of its fleet."""
    fleet = stub.fleet()
    device = fleet.device("d94a49732bbae3105908d6442b4dcb59")
    return fleet.images["a" * 32].partition("/")[2], device.key


def _token(stub: Stub, name: str, key: str) -> Answered:
    pair = base64.b64encode(f"d_device:{key}".encode()).decode()
    return stub.ask(
        "GET",
        f"/auth/v1/token?service=x&scope=repository:{name}:pull",
        key=None,
        headers={"Authorization": f"Basic {pair}"},
    )


def _get(stub: Stub, path: str, token: str, **headers: str) -> Answered:
    return stub.ask("GET", path, key=token, headers=headers)


def test_a_device_pulls_its_fleets_image_whole_and_from_a_byte_on(stub: Stub) -> None:
    name, key = _name(stub)
    asked = stub.ask("GET", f"/v2/{name}/manifests/latest", key=None)
    assert asked.status == 401
    assert asked.headers["www-authenticate"].startswith(f'Bearer realm="{stub.url}/auth/v1/token"')
    token = _token(stub, name, key).json["token"]
    answer = _get(stub, f"/v2/{name}/manifests/latest", token)
    manifest: dict[str, Any] = answer.json
    assert answer.headers["docker-content-digest"] == _digest(answer.raw)
    assert _get(stub, f"/v2/{name}/manifests/{_digest(answer.raw)}", token).raw == answer.raw
    for part in (manifest["config"], *manifest["layers"]):
        blob = _get(stub, f"/v2/{name}/blobs/{part['digest']}", token)
        assert (len(blob.raw), _digest(blob.raw)) == (part["size"], part["digest"])
    for begin in (1, 65_535, 65_536, part["size"] - 1):
        rest = _get(stub, f"/v2/{name}/blobs/{part['digest']}", token, Range=f"bytes={begin}-")
        assert (rest.status, rest.raw) == (206, blob.raw[begin:])
    over = _get(stub, f"/v2/{name}/blobs/{part['digest']}", token, Range=f"bytes={part['size']}-")
    assert over.status == 416


def test_an_image_has_as_many_layers_as_in_the_virtual_lab_and_its_size() -> None:
    image = _made("v2/x", Content(3_000_001))
    assert len(image.layers) == LAYERS == pulls.LAYERS
    assert sum(size for _, size in image.layers.values()) == 3_000_001
    assert len(_made("v2/x", Content(7)).layers) == 1


def test_a_registry_that_goes_down_cuts_downloads_under_way(stub: Stub) -> None:
    name, key = _name(stub)
    # many blocks, of a second each: the fault comes between two of them
    assert stub.ask("PATCH", "/v7/image?$filter=id gt 0", {"image_size": "40000000"}).status == 200
    token = _token(stub, name, key).json["token"]
    layer = _get(stub, f"/v2/{name}/manifests/latest", token).json["layers"][-1]
    stub.ask("PUT", "/fieldbeat/v1/faults", {"registry_rate": 60_000})
    host, port = stub.url.removeprefix("http://").split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=30) as pulling:
            pulling.sendall(
                f"GET /v2/{name}/blobs/{layer['digest']} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {token}\r\n\r\n".encode()
            )
            came = pulling.recv(10)
            assert came.startswith(b"HTTP/1.1 2")
            stub.ask("PUT", "/fieldbeat/v1/faults", {"registry": [{"state": "down"}]})
            try:
                while more := pulling.recv(65_536):
                    came += more
            except ConnectionResetError:
                pass
            assert len(came) < layer["size"]
    finally:
        stub.ask("DELETE", "/fieldbeat/v1/faults")


def test_nobody_else_pulls_it(stub: Stub) -> None:
    name, _ = _name(stub)
    other = stub.fleet("another").device("e" * 32)
    assert _token(stub, name, "wrong").status == 401
    token = _token(stub, name, other.key).json["token"]
    assert _get(stub, f"/v2/{name}/manifests/latest", token).status == 401
    # a session is no token of the registry, nor the other way round
    assert stub.ask("GET", f"/v2/{name}/manifests/latest").status == 401
    assert stub.ask("GET", "/v7/device", key=token).status == 401


def test_what_is_not_there_is_not_found(stub: Stub) -> None:
    name, key = _name(stub)
    token = _token(stub, name, key).json["token"]
    for path in (
        f"/v2/{name}/manifests/sha256:{'0' * 64}",
        f"/v2/{name}/blobs/sha256:{'0' * 64}",
        "/v2/..%2f..%2fetc/manifests/latest",
        "/v2/v2/%0d%0aX/manifests/latest",
    ):
        assert _get(stub, path, token).status == 404, path


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
