"""Images from a Docker registry (API v2), stored by digest, with progress and resume.

``<folder>/blobs/<hex>`` are whole and checked, ``<hex>.part`` are not; ``index.json`` says which
images are whole.  A download that was cut goes on at the byte it had reached.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import ipaddress
import json
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from yarl import URL

from .deltas import (
    MISSING,
    NAME_MAX,
    PROCESSING,
    DeltaError,
    check_layer,
    made_config,
)
from .files import point, settle, write_json, write_whole
from .http import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_INDEXES = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_CHUNK = 64 * 1024
_MANIFEST_MAX = 4 * 1024 * 1024
_IDLE_S = 59.0
"""``deltaRequestTimeout`` and the like: bytes must come at least this often."""
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_ARCHITECTURES = {"aarch64": "arm64", "armv7hf": "arm", "rpi": "arm", "i386": "386"}


class PullError(Exception):
    """An image cannot be had; the text says why."""


class _AnsweredError(PullError):
    """A request has another answer than a good one."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the registry answered {status}")
        self.status = status


class ImageName(NamedTuple):
    """Where an image is."""

    host: str
    name: str
    reference: str
    """A tag or a digest."""


def parse_image(image: str) -> ImageName:
    """``host[:port]/name[:tag][@sha256:…]`` in its parts; the digest wins over the tag.

    Raises:
        PullError: it is no image name.
    """
    place, _, digest = image.partition("@")
    host, slash, rest = place.partition("/")
    if not slash or not rest or ("." not in host and ":" not in host and host != "localhost"):
        host, rest = "registry-1.docker.io", place
        rest = rest if "/" in rest else f"library/{rest}"
    name, colon, tag = rest.rpartition(":")
    if not colon:
        name, tag = rest, "latest"
    if digest and not _DIGEST.fullmatch(digest):
        raise PullError(f"{digest[:80]!r} is no digest")
    if not _NAME.fullmatch(name):
        raise PullError(f"{image[:120]!r} is no image name")
    return ImageName(host, name, digest or tag)


def _on_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(URL(f"//{host}").host or "").is_loopback
    except ValueError:
        return False


class Images:
    """Images of one device, and the way to get more."""

    def __init__(
        self,
        folder: Path,
        session: aiohttp.ClientSession,
        *,
        plain: Iterable[str],
        credentials: Callable[[], tuple[str, str] | None],
        arch: str,
        deltas: str | None = None,
    ) -> None:
        """Open the folder; parts of downloads that were cut stay, to go on with.

        Args:
            folder: of blobs and index; made if it is not there.
            session: of aiohttp.
            plain: hosts (with port) that speak HTTP instead of HTTPS.
            credentials: user and password for a registry that asks; asked for each time.
            arch: of the board, for images of several.
            deltas: URL of a delta server; without one images are pulled whole.
        """
        self._folder = folder
        self._blobs = folder / "blobs"
        self._index = folder / "index.json"
        self._session = session
        self._plain = set(plain)
        self._credentials = credentials
        self._arch = _ARCHITECTURES.get(arch, arch)
        self._deltas = deltas
        self._tokens: dict[str, str] = {}
        self._blobs.mkdir(parents=True, exist_ok=True)
        try:
            # the configuration first
            self._known: dict[str, list[str]] = json.loads(self._index.read_text())
        except (OSError, ValueError):
            self._known = {}
        self._pulling = 0

    @property
    def names(self) -> frozenset[str]:
        """The images that are whole."""
        return frozenset(self._known)

    def remove(self, image: str) -> None:
        """Delete an image, and blobs no other image needs."""
        if self._known.pop(image, None) is not None:
            write_json(self._index, self._known)
        self._sweep()

    def _sweep(self) -> None:
        if self._pulling:
            return  # what has arrived of another image is not in the index yet
        wanted = {name for blobs in self._known.values() for name in blobs}
        for path in self._blobs.iterdir():
            if path.suffix != ".part" and path.name not in wanted:
                point("sweep")
                path.unlink(missing_ok=True)

    # --- pulling ---------------------------------------------------------------------------------

    async def pull(self, image: str, progress: Callable[[int], None], *, base: str = "") -> None:
        """Fetch an image.

        Args:
            image: its name.
            progress: told percents from 0 to 100, each once.
            base: one that is here, to start a delta from; empty: pull it whole.

        Raises:
            PullError: the registry does not have it, or what it sends is something else.
            DeltaError: it cannot be made from ``base``.
            OSError: the network or the disk gave up.
            aiohttp.ClientError, TimeoutError: the network did.
        """
        self._pulling += 1
        try:
            if base and self._deltas is not None:
                made = await self._made(image, base, progress)
            else:
                made = await self._pull(parse_image(image), progress)
            self._known[image] = list(dict.fromkeys(made))
            write_json(self._index, self._known)
        finally:
            self._pulling -= 1

    async def _made(self, image: str, base: str, progress: Callable[[int], None]) -> list[str]:
        """What an image is made of, by a delta."""
        if base not in self._known:
            raise DeltaError("none", "there is no image to start from")
        config, *layers = self._known[base]
        delta = await self._pull(parse_image(await self._delta(base, image)), progress)
        try:
            text = made_config((self._blobs / delta[0]).read_bytes(), f"sha256:{config}")
            for name in delta[1:]:
                check_layer(self._blobs / name)
        except DeltaError:
            kept = {name for blobs in self._known.values() for name in blobs}
            for name in set(delta) - kept:
                (self._blobs / name).unlink(missing_ok=True)
            raise
        name = hashlib.sha256(text).hexdigest()
        write_whole(self._blobs / name, text)
        (self._blobs / delta[0]).unlink(missing_ok=True)
        return [name, *layers, *delta[1:]]

    async def _delta(self, base: str, image: str) -> str:
        """The name of the image that is the difference."""
        url = URL(f"{self._deltas}/api/v3/delta").with_query(src=base, dest=image)
        try:
            async with await self._ask(url, f"{base} {image}", {}) as answer:
                raw = await whole(answer, NAME_MAX)
        except _AnsweredError as error:
            if error.status in MISSING:
                raise DeltaError("none", "the delta server has no such delta") from None
            if error.status in PROCESSING:
                raise PullError("the delta is still being made") from None
            raise
        try:
            name = json.loads(raw)["name"]
        except (ValueError, KeyError, TypeError):
            name = None
        if not isinstance(name, str):
            raise PullError("the delta server's answer cannot be read")
        return name

    async def _pull(self, where: ImageName, progress: Callable[[int], None]) -> list[str]:
        """Fetch what an image is made of, its configuration first."""
        manifest = await self._manifest(where, where.reference)
        parts = [manifest["config"], *manifest["layers"]]
        total = sum(part["size"] for part in parts) or 1
        done, told = 0, -1

        def more(count: int) -> None:
            nonlocal done, told
            done += count
            percent = min(100, 100 * done // total)
            if percent != told:
                told = percent
                progress(percent)

        return [await self._blob(where, part["digest"], more) for part in parts]

    async def _manifest(self, where: ImageName, reference: str) -> dict[str, Any]:
        headers = {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))}
        async with await self._get(where, f"manifests/{reference}", headers) as answer:
            raw = await whole(answer, _MANIFEST_MAX)
            kind = answer.content_type
        found = _DIGEST.fullmatch(reference)
        if found and hashlib.sha256(raw).hexdigest() != found.group(1):
            raise PullError(f"the manifest is not {reference}")
        try:
            value = json.loads(raw)
            if kind in _INDEXES or "manifests" in value:
                return await self._manifest(where, self._choose(value["manifests"]))
            for part in (value["config"], *value["layers"]):
                if not isinstance(part["digest"], str) or not isinstance(part["size"], int):
                    raise PullError("the manifest has a part without digest or size")
        except (ValueError, KeyError, TypeError) as error:
            raise PullError(f"the manifest cannot be read: {error}") from None
        manifest: dict[str, Any] = value
        return manifest

    def _choose(self, manifests: list[dict[str, Any]]) -> str:
        for item in manifests:
            platform = item.get("platform", {})
            if platform.get("architecture") == self._arch and platform.get("os") == "linux":
                return str(item["digest"])
        raise PullError(f"there is no image for linux/{self._arch}")

    async def _blob(self, where: ImageName, digest: str, more: Callable[[int], None]) -> str:
        """One blob on the disk, whole; its file's name."""
        found = _DIGEST.fullmatch(digest)
        if found is None:
            raise PullError(f"{digest[:80]!r} is no digest")
        name = found.group(1)
        path, part = self._blobs / name, self._blobs / f"{name}.part"
        if path.exists():
            more(path.stat().st_size)
            return name
        check = hashlib.sha256()
        at = part.stat().st_size if part.exists() else 0
        if at:
            with part.open("rb") as have:
                while block := have.read(1024 * 1024):
                    check.update(block)
        headers = {"Range": f"bytes={at}-"} if at else {}
        async with await self._get(where, f"blobs/{digest}", headers, have=at) as answer:
            if answer.status != 206:  # Partial Content
                at, check = 0, hashlib.sha256()
            more(at)
            point("part")
            try:
                with part.open("r+b" if at else "wb") as out:
                    out.seek(at)
                    out.truncate()
                    async for block in answer.content.iter_chunked(_CHUNK):
                        out.write(block)
                        check.update(block)
                        more(len(block))
                    point("part written")
                    out.flush()
                    os.fsync(out.fileno())
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    # the supervisor's own few bytes must still find room, as beside an engine
                    # that deletes what it could not unpack
                    part.unlink(missing_ok=True)
                raise
        if check.hexdigest() != name:
            part.unlink(missing_ok=True)
            raise PullError(f"what came for {digest} is something else")
        settle(part, path)
        return name

    # --- HTTP ------------------------------------------------------------------------------------

    async def _get(
        self, where: ImageName, path: str, headers: dict[str, str], *, have: int = 0
    ) -> aiohttp.ClientResponse:
        """A good answer of an image's registry."""
        scheme = "http" if where.host in self._plain else "https"
        url = URL(f"{scheme}://{where.host}/v2/{where.name}/{path}")
        try:
            return await self._ask(url, where.name, headers, have=have)
        except aiohttp.ClientSSLError:
            if url.scheme == "http" or not _on_loopback(where.host):
                raise
            # engines take a registry on 127.0.0.0/8 without TLS where it has none
            self._plain.add(where.host)
            return await self._get(where, path, headers, have=have)

    async def _ask(
        self, url: URL, scope: str, headers: dict[str, str], *, have: int = 0
    ) -> aiohttp.ClientResponse:
        """A good answer, after the token a registry asks for.

        Args:
            url: to ask.
            scope: what its token is for.
            headers: of the request.
            have: bytes we have; a registry that has no more says 416, and then all is fetched.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_IDLE_S, sock_read=_IDLE_S)
        for attempt in range(3):
            token = self._tokens.get(scope)
            sent = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
            answer = await self._session.get(url, headers=sent, timeout=timeout)
            if answer.status in (200, 206):
                return answer
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.release()
            if answer.status == 401 and attempt < 2 and challenge.startswith("Bearer "):
                self._tokens[scope] = await self._token(challenge)
            elif answer.status == 416 and have:
                headers = {}
            else:
                raise _AnsweredError(answer.status)
        raise PullError("the registry does not accept the device's key")

    async def _token(self, challenge: str) -> str:
        given = dict(_CHALLENGE.findall(challenge))
        realm = URL(given.pop("realm", ""))
        if realm.scheme not in ("http", "https"):
            raise PullError("the registry names no place for tokens")
        headers = {}
        known = self._credentials()
        if known is not None:
            pair = base64.b64encode(":".join(known).encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        async with self._session.get(realm.update_query(given), headers=headers) as answer:
            if answer.status != 200:
                raise PullError(f"no token for the registry: {answer.status}")
            found = await answer.json(content_type=None)
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str):
            raise PullError("the registry's token cannot be read")
        return token
