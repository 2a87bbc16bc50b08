"""A delta server: the way from an image on a device's disk to another one, as an image of its own.

The stub is given no image contents, so nothing can be left out of them: a release says by a label
of a service how many bytes a delta to its image weighs.  A delta is pulled as any image; its
configuration names the image that it starts from and has that of the one it makes, as balena's
engine has it, and its layers begin as librsync's deltas do.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ..store.query import place
from ..store.resources import TABLES
from .registry_api import SIZE_MAX, Content, challenge, digest_of, error
from .wire import Answer, empty, json_response

if TYPE_CHECKING:
    from aiohttp import web

    from .app import Server

BASE_LABEL, CONFIG_LABEL = "io.resin.delta.base", "io.resin.delta.config"
"""Of a delta: the configuration's digest of the image that it starts from, and the configuration of
the one that it makes."""
DELTAS_MAX, DIGITS = 1_000, 12
"""Deltas that are known at once, the latest; digits of a size that are read."""
MAGIC = b"rs\x026"
"""A delta of librsync begins so (``RS_DELTA_MAGIC``)."""
SIZE_LABEL = "io.fieldbeat.delta-size"
"""Of a service: bytes of a delta to its image; without it there is none."""
BROKEN = b"\0" * len(MAGIC)
_IMAGE = re.compile(r"(?:.*/)?(v2/[0-9a-f]{32})(?:[:@].*)?")
PROCESSING = 504


class DeltaApi:
    """Answers requests for deltas."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def delta(self, request: web.Request) -> web.Response:
        """``GET /api/v3/delta?src=IMAGE&dest=IMAGE``: the name of the image that is the delta.

        For whoever has a token of the registry to pull both.

        Raises:
            Answer: 401; 404: there is none; 504: it is not made yet.
        """
        images = self._server.images
        found = [_IMAGE.fullmatch(request.query.get(name, "")) for name in ("src", "dest")]
        names = [match.group(1) for match in found if match is not None]
        if len(names) < len(found):
            raise Answer(error(404, "NAME_UNKNOWN", "src and dest must be images"))
        if not set(names) <= (images.pulls_of(request) or frozenset()):
            scopes = " ".join(f"repository:{name}:pull" for name in names)
            raise Answer(challenge(request, f',scope="{scopes}"'))
        state = self._server.injector.faults.delta
        source, destination = names
        size = None if state == "none" else await self._size(destination)
        if size is None:
            raise Answer(error(404, "NAME_UNKNOWN", "there is no such delta"))
        old, new = [await images.image(name) for name in names]
        if state == "processing":
            raise Answer(empty(PROCESSING))
        made = (BASE_LABEL, digest_of(old.config)), (CONFIG_LABEL, new.config.decode())
        head = BROKEN if state == "broken" else MAGIC
        content = Content(max(len(head), size), head=head, labels=made)
        words = "\n".join((source, destination, str(content)))
        name = f"v2/{hashlib.sha256(words.encode()).hexdigest()[:32]}"
        while len(images.deltas) >= DELTAS_MAX:
            del images.deltas[next(iter(images.deltas))]
        images.deltas[name] = destination, content
        return json_response({"name": f"{self._server.registry}/{name}"})

    async def _size(self, name: str) -> int | None:
        """What the newest release with an image says of a delta to it."""
        parts, labels = TABLES["image__is_part_of__release"], TABLES["image_label"]
        images = place("image").table
        query = (
            sa.select(labels.c.value)
            .where(images.c.is_stored_at__image_location.endswith(f"/{name}"))
            .where(parts.c.image == images.c.id)
            .where(labels.c.release_image == parts.c.id)
            .where(labels.c.label_name == SIZE_LABEL)
            .order_by(labels.c.id.desc())
        )
        async with self._server.store.reading() as connection:
            found = await connection.scalar(query)
        text = str(found or "")
        return min(SIZE_MAX, int(text[:DIGITS])) if text.isascii() and text.isdigit() else None
