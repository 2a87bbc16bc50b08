"""Fleets of a host lab's cloud and their releases, made through the public API."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from agent.daemon.boxes import COMMAND_LABEL, START_LABEL
from agent.daemon.processes import python
from agent.daemon.workload import STOP
from cloud_stub.server.delta_api import SIZE_LABEL

from ..errors import LabError
from ..pulls import DEFAULT_START_MS
from ..streams import digest
from .disk import fetch

if TYPE_CHECKING:
    from pathlib import Path

    from ..verbs import Release
    from ..verbs.updates import ReleaseService
    from .cloud import CloudProcess

STRATEGY_LABEL = "io.balena.update.strategy"
HANDOVER_LABEL = "io.balena.update.handover-timeout"
_APP_NAME = re.compile(r"[a-z0-9_-]{4,100}")
"""As balena's API has it; it does not tell names apart by their capitals."""


def app_name(name: str) -> str:
    """What the cloud calls a fleet: it does not take every name that a scenario may give one."""
    return name if _APP_NAME.fullmatch(name) else f"fleet-{digest('app', name)}"


class Fleet:
    """A fleet of the cloud."""

    def __init__(
        self, cloud: CloudProcess, number: int, uuid: str, key: str, mortal: frozenset[str]
    ) -> None:
        self.id, self.uuid, self.provisioning_key = number, uuid, key
        self.mortal = mortal
        """Services that may exit for good: of restart policy ``on-failure``."""
        self.releases: dict[str, int] = {}
        self.images: dict[str, dict[str, str]] = {}
        """Commit → service → image."""
        self._cloud = cloud
        self.services: dict[str, int] = {}
        """Name → number of each service a release of it has had."""

    @classmethod
    async def make(
        cls, cloud: CloudProcess, name: str, device_type: str, *, mortal: frozenset[str]
    ) -> Fleet:
        """A new fleet with a provisioning key; services that are ``mortal`` may exit for good."""
        kinds = await cloud.rows(f"device_type?$filter=slug eq '{device_type}'&$select=id")
        if not kinds:
            raise LabError(f"the cloud knows no device type {device_type}")
        made = await cloud.post(
            "application",
            app_name=app_name(name),
            organization=1,
            is_for__device_type=kinds[0]["id"],
        )
        key = await cloud.must("POST", f"/api-key/application/{made['id']}/provisioning", {})
        return cls(cloud, made["id"], made["uuid"], key, mortal)

    async def fetched(self, commit: str) -> Path:
        """A folder with the images of a release, to be copied to disks."""
        folder = self._cloud.folder / "preload" / digest(str(self.id), commit)
        if not folder.is_dir():
            await fetch(folder, self._cloud, self.images.get(commit, {}).values())
        return folder

    def _composition(self, release: Release) -> dict[str, object]:
        """Of a release with services that may exit for good."""
        services = {
            name: {"restart": "on-failure"} for name in release.services if name in self.mortal
        }
        return {"composition": {"services": services}} if services else {}

    async def release(self, release: Release) -> None:
        """A finished release, as a builder makes one; the fleet tracks it."""
        cloud, images = self._cloud, dict[str, str]()
        made = await cloud.post(
            "release",
            belongs_to__application=self.id,
            commit=release.commit,
            status="running",
            **self._composition(release),
        )
        for name, service in sorted(release.services.items()):
            if name not in self.services:
                row = await cloud.post("service", application=self.id, service_name=name)
                self.services[name] = row["id"]
            image = await cloud.post(
                "image",
                is_a_build_of__service=self.services[name],
                status="success",
                image_size=str(service.size_bytes),
                **_contract(name, service),
            )
            part = await cloud.post(
                "image__is_part_of__release", image=image["id"], is_part_of__release=made["id"]
            )
            labels = {**ways_of(service, cloud.clock.speed), **service.labels}
            if service.strategy != "download-then-kill":
                labels.setdefault(STRATEGY_LABEL, service.strategy)
            if service.handover_timeout_ms is not None:
                labels.setdefault(HANDOVER_LABEL, str(service.handover_timeout_ms))
            for label, value in labels.items():
                await cloud.post(
                    "image_label", release_image=part["id"], label_name=label, value=value
                )
            images[name] = image["is_stored_at__image_location"]
        await cloud.must("PATCH", f"/v7/release({made['id']})", {"status": "success"})
        self.releases[release.commit], self.images[release.commit] = made["id"], images


def ways_of(service: ReleaseService, speed: float) -> dict[str, str]:
    """What a delta to it weighs, how long it takes to start and to stop, as labels of ours."""
    # a process is there at once; a container takes as long as the model's
    labels = {START_LABEL: f"{(service.start_time_ms or DEFAULT_START_MS) / 1_000:g}"}
    if service.delta_bytes is not None:
        labels[SIZE_LABEL] = str(service.delta_bytes)
    if service.stop_time_ms:
        # its own seconds are real ones
        stop_s = service.stop_time_ms / 1_000 / speed
        words = (*python(), "-m", "agent.daemon.workload", STOP, f"{stop_s:.3f}")
        labels[COMMAND_LABEL] = shlex.join(words)
    return labels


def _contract(name: str, service: ReleaseService) -> dict[str, object]:
    """What a builder writes beside an image whose service requires something."""
    if not service.requires:
        return {}
    requires = [requirement.model_dump(exclude_none=True) for requirement in service.requires]
    return {"contract": {"type": "sw.container", "slug": name, "requires": requires}}
