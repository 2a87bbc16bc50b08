"""What is written to a device's disk from outside: an OS image, keys, a preloaded release."""

from __future__ import annotations

import json
import platform
import shutil
from typing import TYPE_CHECKING, Any

from agent.config import Persisted
from agent.daemon.config_json import DeviceConfig
from agent.daemon.disk import FileDisk
from agent.daemon.registry import Images
from agent.device_config import POLL_INTERVAL, without_prefix

from .places import NAMES, PLACES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .cloud import CloudProcess
    from .fleets import Fleet

CONFIG, STATE = "config.json", "state"
API = f"{NAMES['api']}:{PLACES['api'].port}"
REGISTRY = f"{NAMES['registry']}:{PLACES['registry'].port}"


def wipe(folder: Path) -> None:
    """Everything on it is gone."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


async def write(
    folder: Path,
    cloud: CloudProcess,
    fleet: Fleet,
    *,
    device_type: str,
    identity: Mapping[str, Any],
    name: str,
    preload: str | None,
    configured: bool,
) -> None:
    """The image of a fleet, with keys.

    Args:
        folder: of the disk.
        cloud: where it belongs to.
        fleet: of the image.
        device_type: of the image.
        identity: keys and what else of config.json is the device's own.
        name: of the device, for its preloaded target.
        preload: commit of a release on it; ``None``: none.
        configured: the image was downloaded from the cloud and has its poll interval.
    """
    values = {
        "apiEndpoint": f"{cloud.scheme}://{API}",
        # it stands beside the registry, and what is wrong with that is wrong with both
        "deltaEndpoint": f"{cloud.scheme}://{REGISTRY}",
        "vpnEndpoint": NAMES["vpn"],
        "vpnPort": PLACES["vpn"].port,
        "applicationId": fleet.id,
        "deviceType": device_type,
        **identity,
    }
    if cloud.root_ca is not None:
        values["balenaRootCA"] = cloud.root_ca
    (folder / CONFIG).write_text(json.dumps(values))
    config, state, target = DeviceConfig(folder / CONFIG), folder / STATE, None
    state.mkdir()
    if preload is not None:
        found = await cloud.must("GET", f"/device/v3/fleet/{fleet.uuid}/state")
        apps = found[fleet.uuid]["apps"]
        # with a provisioning key alone its images are there, and a target comes with the first poll
        if "deviceApiKey" in values:
            target = {"name": name, "apps": apps, "config": {}}
        shutil.copytree(await fleet.fetched(preload), state / "images")
    interval_ms = cloud.poll_interval_ms
    downloaded = without_prefix({f"BALENA_{POLL_INTERVAL}": str(interval_ms)}) if configured else {}
    persisted = Persisted(**{**config.identity(), "target": target, "config": downloaded})
    FileDisk(config, state).save(persisted)


async def fetch(folder: Path, cloud: CloudProcess, images: Iterable[str]) -> None:
    """Fill a folder as an engine's, with the key of a person, as ``balena preload`` does."""
    store = Images(
        folder,
        cloud.session,
        plain=[] if cloud.scheme == "https" else [REGISTRY],
        credentials=lambda: cloud.credentials,
        arch=platform.machine(),
    )
    for image in images:
        await store.pull(image, lambda _: None)


def listen_port(folder: Path) -> int:
    """Of the supervisor API."""
    return DeviceConfig(folder / CONFIG).values.listenPort


def identity_of(folder: Path) -> tuple[str | None, str | None]:
    """The uuid and the key on a disk."""
    try:
        values = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError):
        return None, None
    return values.get("uuid"), values.get("deviceApiKey")
