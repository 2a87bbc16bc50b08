"""Releases as the core is told of them, and the installs of services they lead to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import messages as core
from .resources import TABLES

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Row = dict[str, Any]


async def release_command(
    connection: AsyncConnection, release: Row, fleet: Row
) -> core.CreateRelease:
    """What the core is told of a release: its services, images, labels and environment."""
    parts, images, services = (
        TABLES[name] for name in ("image__is_part_of__release", "image", "service")
    )
    query = (
        sa.select(
            parts.c.id.label("part"),
            images.c.id,
            images.c.is_stored_at__image_location,
            images.c.content_hash,
            images.c.contract,
            services.c.service_name,
            services.c.id.label("service_id"),
        )
        .where(parts.c.is_part_of__release == release["id"])
        .where(images.c.id == parts.c.image)
        .where(services.c.id == images.c.is_a_build_of__service)
        .order_by(images.c.id)
    )
    composition = _composition(release["composition"])
    specs = []
    for image in (await connection.execute(query)).mappings().all():
        location, digest = image["is_stored_at__image_location"], image["content_hash"]
        given = composition.get(image["service_name"])
        own = dict(given) if isinstance(given, dict) else {}
        own.pop("build", None)
        specs.append(
            core.ServiceSpec(
                name=image["service_name"],
                image=f"{location}@{digest}" if digest else location,
                labels=await _pairs(connection, "image_label", "label_name", image["part"]),
                environment=await _pairs(
                    connection, "image_environment_variable", "name", image["part"]
                ),
                composition=own,
                contract=image["contract"],
                service_id=image["service_id"],
                image_id=image["id"],
            )
        )
    return core.CreateRelease(
        fleet=fleet["uuid"],
        commit=release["commit"],
        services=tuple(specs),
        track=False,
        number=release["id"],
    )


def _composition(stored: Any) -> dict[str, Any]:
    value = json.loads(stored) if isinstance(stored, str) else stored
    services = value.get("services") if isinstance(value, dict) else None
    return services if isinstance(services, dict) else {}


async def _pairs(connection: AsyncConnection, name: str, key: str, part: int) -> dict[str, str]:
    table = TABLES[name]
    query = sa.select(table.c[key], table.c.value).where(table.c.release_image == part)
    return {row[0]: row[1] for row in (await connection.execute(query)).all()}


async def service_installs(connection: AsyncConnection, *, now_ms: int) -> None:
    """Every device has an install of each service of the release it should run."""
    devices, parts, images, installs = (
        TABLES[name]
        for name in ("device", "image__is_part_of__release", "image", "service_install")
    )
    there = sa.exists().where(
        installs.c.device == devices.c.id,
        installs.c.installs__service == images.c.is_a_build_of__service,
    )
    wanted = (
        sa.select(
            sa.literal(now_ms, sa.BigInteger),
            sa.literal(now_ms, sa.BigInteger),
            devices.c.id,
            images.c.is_a_build_of__service,
        )
        .where(parts.c.is_part_of__release == devices.c.should_be_running__release)
        .where(images.c.id == parts.c.image, ~there)
        .distinct()
    )
    names = ["created_at", "modified_at", "device", "installs__service"]
    await connection.execute(sa.insert(installs).from_select(names, wanted))
