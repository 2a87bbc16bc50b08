"""The agent's pulls against Debian's docker-registry, and the stub's registry under skopeo."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import urllib.request
from typing import TYPE_CHECKING

import aiohttp
import pytest

from agent.daemon.registry import Images, PullError, parse_image
from tests.daemon.running import DEADLINE_S, until
from tests.ports import free_port
from tests.stub_cloud import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A real registry: host and port."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{tmp_path}/registry'}}}}\n"
    )
    process = subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _answers(port))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _layout(folder: Path) -> tuple[Path, int]:
    """An OCI image on the disk, of one layer with a file; the layer's size."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        data = bytes(range(256)) * 2_000
        entry = tarfile.TarInfo("hello")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    layer = gzip.compress(content.getvalue(), mtime=0)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(value: bytes) -> dict[str, object]:
        digest = hashlib.sha256(value).hexdigest()
        (blobs / digest).write_bytes(value)
        return {"digest": f"sha256:{digest}", "size": len(value)}

    diff = f"sha256:{hashlib.sha256(content.getvalue()).hexdigest()}"
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}, "config": {}}
    config["rootfs"]["diff_ids"] = [diff]  # type: ignore[index]
    kind = "application/vnd.oci.image."
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": {"mediaType": f"{kind}config.v1+json", **put(json.dumps(config).encode())},
        "layers": [{"mediaType": f"{kind}layer.v1.tar+gzip", **put(layer)}],
    }
    entry = {"mediaType": manifest["mediaType"], **put(json.dumps(manifest).encode())}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder, len(layer)


async def _pulled(folder: Path, host: str, image: str) -> list[int]:
    percents: list[int] = []
    async with aiohttp.ClientSession() as session:
        images = Images(folder, session, plain=[host], credentials=lambda: None, arch="x86_64")
        await images.pull(image, percents.append)
        assert images.names == {image}
    return percents


def test_an_image_pushed_by_skopeo_is_pulled_whole(registry: str, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed")
    layout, size = _layout(tmp_path / "layout")
    push = [skopeo, "copy", "--dest-tls-verify=false", f"oci:{layout}"]
    subprocess.run([*push, f"docker://{registry}/v2/cafe:one"], check=True, capture_output=True)
    percents = asyncio.run(_pulled(tmp_path / "images", registry, f"{registry}/v2/cafe:one"))
    assert percents == sorted(set(percents))
    assert percents[-1] == 100
    stored = [path.stat().st_size for path in (tmp_path / "images" / "blobs").iterdir()]
    assert size in stored
    for path in (tmp_path / "images" / "blobs").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_an_image_that_is_not_there_is_a_refusal(registry: str, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="404"):
        asyncio.run(_pulled(tmp_path / "images", registry, f"{registry}/v2/nosuch"))


def test_skopeo_copies_an_image_of_the_stub(tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed")
    with running(tmp_path) as stub:
        fleet = stub.fleet()
        device = fleet.device("d94a49732bbae3105908d6442b4dcb59")
        command = [skopeo, "copy", "--src-tls-verify=false"]
        command += ["--src-creds", f"d_{device.uuid}:{device.key}"]
        source = f"docker://{fleet.images['a' * 32]}:latest"
        done = subprocess.run(
            [*command, source, f"dir:{tmp_path}/copied"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copied" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("registry2.balena-cloud.com/v2/abc", ("registry2.balena-cloud.com", "v2/abc", "latest")),
        ("localhost/a:1", ("localhost", "a", "1")),
        ("10.0.0.1:5000/a/b:1", ("10.0.0.1:5000", "a/b", "1")),
        ("alpine:3", ("registry-1.docker.io", "library/alpine", "3")),
        ("r.io/a:1@sha256:" + "0" * 64, ("r.io", "a", "sha256:" + "0" * 64)),
    ],
)
def test_image_names_are_read_as_engines_read_them(image: str, parts: tuple[str, ...]) -> None:
    assert parse_image(image) == parts


@pytest.mark.parametrize("image", ["", "r.io/../../etc", "r.io/A", "r.io/a@sha256:1", "r.io/a b"])
def test_what_is_no_image_name_is_refused(image: str) -> None:
    with pytest.raises(PullError):
        parse_image(image)
