"""Releases of a scenario: what the cloud is told, and what the registry then serves."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cloud_stub.messages import CreateRelease, ServiceSpec

from ..streams import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .. import verbs
    from ..virtual import World

REGISTRY = "registry.invalid"
"""Where images are said to be; nothing is ever fetched from it."""
STRATEGY_LABEL = "io.balena.update.strategy"
HANDOVER_LABEL = "io.balena.update.handover-timeout"


@lru_cache(maxsize=4096)
def image_name(fleet: str, commit: str, service: str) -> str:
    """Location and digest of a service's image."""
    where = digest("location", fleet, commit, service)
    return f"{REGISTRY}/v2/{where}@sha256:{digest('content', fleet, commit, service, size=32)}"


def publish(world: World, release: verbs.Release, *, fleet: str) -> None:
    """Put a release's images into the registry and have the fleet track it."""
    specs = []
    for name, service in sorted(release.services.items()):
        image = image_name(fleet, release.commit, name)
        world.catalog.add(
            image,
            size_bytes=service.size_bytes,
            delta_bytes=service.delta_bytes,
            start_time_ms=service.start_time_ms,
            stop_time_ms=service.stop_time_ms,
        )
        labels = dict(service.labels)
        if service.strategy != "download-then-kill":
            labels.setdefault(STRATEGY_LABEL, service.strategy)
        if service.handover_timeout_ms is not None:
            labels.setdefault(HANDOVER_LABEL, str(service.handover_timeout_ms))
        requires = [requirement.model_dump(exclude_none=True) for requirement in service.requires]
        contract = {"type": "sw.container", "slug": name, "requires": requires}
        specs.append(
            ServiceSpec(
                name=name, image=image, labels=labels, contract=contract if requires else None
            )
        )
    world.command(CreateRelease(fleet=fleet, commit=release.commit, services=tuple(specs)))


def images_of(fleet: str, release: verbs.Release) -> Iterator[str]:
    """Every image of a release."""
    return (image_name(fleet, release.commit, name) for name in sorted(release.services))
