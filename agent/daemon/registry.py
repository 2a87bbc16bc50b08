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

from .files import point, settle, write_json
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
    ) -> None:
        """Open the folder; parts of downloads that were cut stay, to go on with.

        Args:
            folder: of blobs and index; made if it is not there.
            session: of aiohttp.
            plain: hosts (with port) that speak HTTP instead of HTTPS.
            credentials: user and password for a registry that asks; asked for each time.
            arch: of the board, for images of several.
        """
        self._folder = folder
        self._blobs = folder / "blobs"
        self._index = folder / "index.json"
        self._session = session
        self._plain = set(plain)
        self._credentials = credentials
        self._arch = _ARCHITECTURES.get(arch, arch)
        self._tokens: dict[str, str] = {}
        self._blobs.mkdir(parents=True, exist_ok=True)
        try:
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

    async def pull(self, image: str, progress: Callable[[int], None]) -> None:
        """Fetch an image.

        Args:
            image: its name.
            progress: told percents from 0 to 100, each once.

        Raises:
            PullError: the registry does not have it, or what it sends is something else.
            OSError: the network or the disk gave up.
            aiohttp.ClientError, TimeoutError: the network did.
        """
        self._pulling += 1
        try:
            await self._pull(image, progress)
        finally:
            self._pulling -= 1

    async def _pull(self, image: str, progress: Callable[[int], None]) -> None:
        where = parse_image(image)
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

        names = [await self._blob(where, part["digest"], more) for part in parts]
        self._known[image] = sorted(set(names))
        write_json(self._index, self._known)

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
        """A good answer, after the token a registry asks for.

        ``have``: bytes we have; a registry that has no more says 416, and then all is fetched.
        """
        scheme = "http" if where.host in self._plain else "https"
        url = URL(f"{scheme}://{where.host}/v2/{where.name}/{path}")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_IDLE_S, sock_read=_IDLE_S)
        for attempt in range(3):
            token = self._tokens.get(where.name)
            sent = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
            try:
                answer = await self._session.get(url, headers=sent, timeout=timeout)
            except aiohttp.ClientSSLError:
                if url.scheme == "http" or not _on_loopback(where.host):
                    raise
                # engines take a registry on 127.0.0.0/8 without TLS where it has none
                self._plain.add(where.host)
                return await self._get(where, path, headers, have=have)
            if answer.status in (200, 206):
                return answer
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.release()
            if answer.status == 401 and attempt < 2 and challenge.startswith("Bearer "):
                self._tokens[where.name] = await self._token(challenge)
            elif answer.status == 416 and have:
                headers = {}
            else:
                raise PullError(f"the registry answered {answer.status}")
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
