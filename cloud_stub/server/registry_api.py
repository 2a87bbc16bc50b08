"""A Docker registry (API v2, pull only) that has every image of the store.

The stub is given no image contents: layers of the size that the image's row says (``image_size``)
are made from the image's name, the same bytes each time.  Who may see an image may pull it, with a
token as balena's registry asks for (``WWW-Authenticate: Bearer``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from aiohttp import web

from ..store.query import place
from .wire import Answer, json_response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .app import Server
    from .people import Caller

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
SIZE = 256 * 1024
"""Of an image that says no size, bytes."""
SIZE_MAX = 1024**3
LAYERS, LAYER_MIN = 5, 128 * 1024
"""An image has so many layers of one size, and fewer where they would be smaller than that."""
TOKEN_S = 300
_CHUNK, _OWN = 64 * 1024, 64
_KEPT = 1_000
_NAME = re.compile(r"v2/[0-9a-f]{32}")
_RANGE = re.compile(r"bytes=(\d{1,12})-")


class Content(NamedTuple):
    """What an image is to be made of."""

    size: int
    """Of its layers together, bytes."""
    head: bytes = b""
    """Every layer begins so."""
    labels: tuple[tuple[str, str], ...] = ()
    """Of its configuration."""


class Image(NamedTuple):
    """What the registry serves of one image."""

    manifest: bytes
    config: bytes
    layers: dict[str, tuple[str, int]]
    """Digest, which begins with ``sha256:`` → what the layer is made from, and its size."""
    head: bytes
    """Of every layer."""

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return digest_of(self.manifest)


class RegistryApi:
    """Answers requests of container engines."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._images: dict[tuple[str, Content], Image] = {}
        self.deltas: dict[str, tuple[str, Content]] = {}
        """Name → image that it makes, and what it is."""

    # --- who may ---------------------------------------------------------------------------------

    async def token(self, request: web.Request) -> web.Response:
        """``GET /auth/v1/token?scope=repository:NAME:pull``: for whoever may see the image.

        Raises:
            Answer: 401: a wrong key.
        """
        caller = self._caller(request)
        if caller.kind == "nobody":
            raise Answer(error(401, "UNAUTHORIZED", "authentication required"))
        allowed = []
        for scope in " ".join(request.query.getall("scope", [])).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            seen = kind == "repository" and await self._content(name, caller) is not None
            if seen and "pull" in actions.split(","):
                allowed.append(name)
        now_s = self._server.desk.now_ms() // 1_000
        token = self._server.sessions.pull_token(allowed, until_s=now_s + TOKEN_S)
        return json_response({"token": token, "expires_in": TOKEN_S})

    def _caller(self, request: web.Request) -> Caller:
        """By ``Basic``: the password is a key or a session."""
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        key = ""
        if kind.lower() == "basic":
            try:
                key = base64.b64decode(text, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError, ValueError):
                key = ""
        return self._server.people.caller(f"Bearer {key}" if key else "", None)

    def _may(self, request: web.Request, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise Answer(error(404, "NAME_UNKNOWN", "repository name not known to registry"))
        if name not in (self.pulls_of(request) or ()):
            raise Answer(challenge(request, f',scope="repository:{name}:pull"'))

    def pulls_of(self, request: web.Request) -> frozenset[str] | None:
        """The images that a request's token lets one pull; ``None``: it has none."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        now_s = self._server.desk.now_ms() // 1_000
        return self._server.sessions.pulls(token, now_s=now_s)

    async def _content(self, name: str, caller: Caller | None) -> Content | None:
        """What an image is made of; ``None``: there is none, or not for this caller."""
        made, delta = self.deltas.get(name, (name, None))
        size = await self._size(made, caller)
        return None if size is None else delta or Content(size)

    async def _size(self, name: str, caller: Caller | None) -> int | None:
        if not _NAME.fullmatch(name):
            return None
        here = place("image")
        location = here.table.c.is_stored_at__image_location
        query = sa.select(here.table.c.image_size).where(location.endswith(f"/{name}"))
        if caller is not None:
            access = caller.access(writing=False)
            if access is None:
                return None
            guard = access(here)
            query = query if guard is None else query.where(guard)
        async with self._server.store.reading() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        return min(SIZE_MAX, max(1, int(row[0] or SIZE)))

    # --- the registry ----------------------------------------------------------------------------

    async def base(self, request: web.Request) -> web.Response:
        """``GET /v2/``: where engines learn how to get a token.

        Raises:
            Answer: 401: with the place of tokens.
        """
        if self.pulls_of(request) is None:
            raise Answer(challenge(request, ""))
        return json_response({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})

    async def manifest(self, request: web.Request) -> web.Response:
        """``GET|HEAD /v2/NAME/manifests/REFERENCE``: any tag is the one image.

        Raises:
            Answer: 401, or 404: no such image.
        """
        image = await self._asked(request)
        reference = request.match_info["reference"]
        if reference.startswith("sha256:") and reference != image.digest:
            raise Answer(error(404, "MANIFEST_UNKNOWN", "manifest unknown"))
        return web.Response(
            body=image.manifest,
            headers={"Content-Type": MANIFEST, "Docker-Content-Digest": image.digest},
        )

    async def blob(self, request: web.Request) -> web.StreamResponse:
        """``GET|HEAD /v2/NAME/blobs/DIGEST``, from a byte on where a range says so.

        Raises:
            Answer: 401, 404: no such blob, 416: it is not so long.
        """
        image = await self._asked(request)
        digest = request.match_info["digest"]
        if digest == digest_of(image.config):
            return web.Response(
                body=image.config, headers={"Content-Type": CONFIG, "Docker-Content-Digest": digest}
            )
        if digest not in image.layers:
            raise Answer(error(404, "BLOB_UNKNOWN", "blob unknown to registry"))
        begin, (seed, size) = 0, image.layers[digest]
        found = _RANGE.fullmatch(request.headers.get("Range", ""))
        headers = {"Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        if found is not None:
            begin = int(found.group(1))
            if begin >= size:
                raise Answer(error(416, "RANGE_INVALID", "the blob is not so long"))
            headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        response = web.StreamResponse(status=206 if found else 200, headers=headers)
        response.content_type = "application/octet-stream"
        response.content_length = size - begin
        await response.prepare(request)
        if request.method != "HEAD":
            injector = self._server.injector
            for block in _layer(seed, size, begin, image.head):
                await injector.suffer_under_way(request)
                rate = injector.faults.registry_rate
                if rate is not None:
                    await injector.pace.keep(request.remote or "", len(block), rate)
                await response.write(block)
        await response.write_eof()
        return response

    async def _asked(self, request: web.Request) -> Image:
        name = request.match_info["name"]
        self._may(request, name)
        return await self.image(name)

    async def image(self, name: str) -> Image:
        """An image.

        Raises:
            Answer: 404: there is none of that name.
        """
        content = await self._content(name, None)
        if content is None:
            raise Answer(error(404, "NAME_UNKNOWN", "repository name not known to registry"))
        key = (name, content)
        if key not in self._images:
            made = await self._server.in_thread(_made, name, content)
            while len(self._images) >= _KEPT:
                del self._images[next(iter(self._images))]
            self._images[key] = made
        return self._images[key]


def _made(name: str, content: Content) -> Image:
    size, head, labels = content
    count = max(1, min(LAYERS, size // LAYER_MIN))
    layers = {}
    for number in range(count):
        part = size // count + (size % count if number == 0 else 0)
        check = hashlib.sha256()
        for block in _layer(f"{name}/{number}", part, 0, head):
            check.update(block)
        layers[f"sha256:{check.hexdigest()}"] = f"{name}/{number}", part
    rootfs = {"type": "layers", "diff_ids": list(layers)}
    inner = {"Labels": dict(labels)} if labels else {}
    config = _json({"architecture": "amd64", "os": "linux", "config": inner, "rootfs": rootfs})
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(config), "digest": digest_of(config)},
        "layers": [
            {"mediaType": LAYER, "size": part, "digest": layer}
            for layer, (_, part) in layers.items()
        ],
    }
    return Image(_json(manifest), config, layers, head)


def _layer(seed: str, size: int, begin: int, head: bytes = b"") -> Iterator[bytes]:
    """The bytes of a layer from a place on."""
    # a block's beginning is its own: drawing all of a large image takes too long for who waits
    rest = hashlib.shake_128(seed.encode()).digest(_CHUNK)[_OWN:]
    for number in range(begin // _CHUNK, -(-size // _CHUNK)):
        block = hashlib.shake_128(f"{seed}/{number}".encode()).digest(_OWN) + rest
        if head and number == 0:
            block = head + block[len(head) :]
        start = max(0, begin - number * _CHUNK)
        yield block[start : size - number * _CHUNK]


def digest_of(data: bytes) -> str:
    """As a registry writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def challenge(request: web.Request, scope: str) -> web.Response:
    """Where to get a token, and for what (``scope`` begins with a comma)."""
    realm = f"{request.scheme}://{request.host}/auth/v1/token"
    answer = error(401, "UNAUTHORIZED", "authentication required")
    answer.headers["WWW-Authenticate"] = f'Bearer realm="{realm}",service="{request.host}"{scope}'
    answer.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    return answer


def error(status: int, code: str, message: str) -> web.Response:
    """An answer as a registry's."""
    return json_response({"errors": [{"code": code, "message": message, "detail": None}]}, status)
