"""The stub's registry, as container engines ask it."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

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
