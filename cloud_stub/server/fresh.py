"""What a store must hold before a server can work with it: settings and device types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from ..device_types import ARCHITECTURES, DEVICE_TYPES
from ..store.own_tables import SETTINGS
from ..store.resources import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection


async def setting(connection: AsyncConnection, name: str, make: Callable[[], str]) -> str:
    """A stored setting; made and stored where it is not there."""
    query = sa.select(SETTINGS.c.value).where(SETTINGS.c.name == name)
    found = await connection.scalar(query)
    if found is None:
        found = make()
        await connection.execute(sa.insert(SETTINGS).values(name=name, value=found))
    return str(found)


async def put_setting(connection: AsyncConnection, name: str, value: str) -> None:
    """Store a setting."""
    await connection.execute(sa.delete(SETTINGS).where(SETTINGS.c.name == name))
    await connection.execute(sa.insert(SETTINGS).values(name=name, value=value))


async def device_types(connection: AsyncConnection, *, now_ms: int) -> None:
    """balena's common device types, processor architectures and the one application type."""
    stamps = {"created_at": now_ms, "modified_at": now_ms}
    kinds, aliases, machines, apps = (
        TABLES[name]
        for name in ("device_type", "device_type_alias", "cpu_architecture", "application_type")
    )
    known = set(await connection.scalars(sa.select(kinds.c.slug)))
    if not known:
        rows = [{"slug": slug, **stamps} for slug in ARCHITECTURES]
        await connection.execute(sa.insert(machines), rows)
        microservices = {"name": "Microservices", "slug": "microservices-starter"}
        flags = {"supports_multicontainer": True, "supports_web_url": True}
        off = {"is_legacy": False, "requires_payment": False}
        await connection.execute(sa.insert(apps).values(**microservices, **flags, **off, **stamps))
    found = await connection.execute(sa.select(machines.c.slug, machines.c.id))
    architectures = {row.slug: row.id for row in found}
    for slug, kind in DEVICE_TYPES.items():
        if slug in known:
            continue
        contract = {"slug": slug, "type": "hw.device-type", "name": kind.name}
        row = {
            "slug": slug,
            "name": kind.name,
            "is_private": False,
            "contract": {**contract, "data": {"arch": kind.architecture}},
            "is_of__cpu_architecture": architectures[kind.architecture],
        }
        made = await connection.execute(sa.insert(kinds).values(**row, **stamps))
        alias = {"is_referenced_by__alias": slug}
        number = made.inserted_primary_key[0]  # type: ignore[index]
        await connection.execute(
            sa.insert(aliases).values(**alias, references__device_type=number, **stamps)
        )
