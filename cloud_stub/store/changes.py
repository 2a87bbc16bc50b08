"""Changing resources: checks, rows, and what the core is to be told once they are committed.

Every kind of resource that the core knows of has its own rules below; all others are plain rows.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .. import messages as core
from ..variables import refusal
from .odata_text import BadQuery
from .query import place
from .release_rows import release_command
from .resources import RESOURCES, TABLES
from .values import columns_of, must_be_unique
from .versions import version_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from .access import Access

Row = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_-]{4,100}")
_RESERVED_TAGS = ("io.resin.", "io.balena.")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEX = re.compile(r"[0-9a-f]{32}|[0-9a-f]{62}")


class Conflict(Exception):  # noqa: N818  # it is an answer
    """409: the change would break a natural key or leave something behind."""


class Forbidden(Exception):  # noqa: N818  # it is an answer
    """401: the caller may not change this."""


class Changes:
    """Changes of one transaction; ``commands`` are for the core, in order, after the commit."""

    def __init__(
        self,
        connection: AsyncConnection,
        access: Access,
        *,
        now_ms: int,
        registry: str,
        new_actor: Callable[[], int],
    ) -> None:
        self.connection = connection
        self.access = access
        self.commands: list[core.Command] = []
        self._now_ms = now_ms
        self._registry = registry
        self._new_actor = new_actor

    # --- what a request asks for -----------------------------------------------------------------

    async def create(self, name: str, body: Any) -> int:
        """A new row; its id.

        Raises:
            BadQuery: the body is wrong.
            Conflict: a natural key is taken.
            Forbidden: the caller may not add this.
        """
        resource = RESOURCES[name]
        self._may(name)
        if name == "application" and isinstance(body, dict):
            body = {**body, "uuid": body.get("uuid") or secrets.token_hex(16)}
        row = columns_of(resource, body, create=True)
        await self.check_refs(name, row)
        await self._before(name, None, row)
        await self._unique(name, row, None)
        number = await self._insert(name, row)
        await self._after(name, number, row, created=True)
        return number

    async def update(self, name: str, numbers: Sequence[int], body: Any) -> None:
        """Change rows that the caller was found to reach.

        Raises:
            BadQuery, Conflict, Forbidden: as for ``create``.
        """
        self._may(name)
        given = columns_of(RESOURCES[name], body, create=False)
        if not given:
            return
        await self.check_refs(name, given)
        for number in numbers:
            row = dict(given)
            await self._before(name, number, row)
            await self._unique(name, row, number)
            table = TABLES[name]
            change = sa.update(table).where(table.c.id == number)
            await self.connection.execute(change.values(**row, modified_at=self._now_ms))
            await self._after(name, number, row, created=False)

    async def delete(self, name: str, numbers: Sequence[int]) -> None:
        """Delete rows that the caller was found to reach, and what hangs on them.

        Raises:
            Conflict: something that must stay refers to one.
            Forbidden: the caller may not.
        """
        self._may(name)
        for number in numbers:
            await self._gone(name, number)
            await self._delete(name, number)

    def _may(self, name: str) -> None:
        if not RESOURCES[name].writable or not self.access.may_write(name):
            raise Forbidden

    # --- rows ------------------------------------------------------------------------------------

    async def row(self, name: str, number: int | None) -> Row:
        """A stored row."""
        table = TABLES[name]
        query = sa.select(table).where(table.c.id == number)
        found = (await self.connection.execute(query)).mappings().first()
        if found is None:
            raise Forbidden
        return dict(found)

    async def _insert(self, name: str, row: Row) -> int:
        stamps = {"created_at": self._now_ms, "modified_at": self._now_ms}
        done = await self.connection.execute(sa.insert(TABLES[name]).values(**row, **stamps))
        return int(done.inserted_primary_key[0])  # type: ignore[index]

    async def _unique(self, name: str, row: Row, number: int | None) -> None:
        table = TABLES[name]
        for names in RESOURCES[name].unique:
            if not any(key in row for key in names):
                continue
            whole = {**(await self.row(name, number) if number else {}), **row}
            query = sa.select(table.c.id).where(*(table.c[key] == whole[key] for key in names))
            if number is not None:
                query = query.where(table.c.id != number)
            if await self.connection.scalar(query.limit(1)) is not None:
                raise Conflict(must_be_unique(names))

    async def check_refs(self, name: str, row: Row) -> None:
        """Whatever a row refers to must be there for the caller.

        Raises:
            Forbidden: something is not.
        """
        for item in RESOURCES[name].fields:
            target = row.get(item.name)
            if item.to is None or target is None:
                continue
            here = place(item.to)
            query = sa.select(here.table.c.id).where(here.table.c.id == target)
            guard = self.access(here)
            if guard is not None:
                query = query.where(guard)
            if await self.connection.scalar(query) is None:
                raise Forbidden

    async def _delete(self, name: str, number: int) -> None:
        """One row, those that hang on it, and pointers to it."""
        for other in RESOURCES.values():
            table = TABLES[other.name]
            for item in other.fields:
                if item.to != name:
                    continue
                holds = table.c[item.name] == number
                if item.cascade == "null":
                    clear = sa.update(table).where(holds).values({item.name: None})
                    await self.connection.execute(clear)
                    continue
                for found in list(
                    await self.connection.scalars(sa.select(table.c.id).where(holds))
                ):
                    if item.cascade == "restrict":
                        raise Conflict(f"Data is referenced by {item.name}.")
                    await self._delete(other.name, found)
        table = TABLES[name]
        await self.connection.execute(sa.delete(table).where(table.c.id == number))

    # --- rules -----------------------------------------------------------------------------------

    async def _before(self, name: str, number: int | None, row: Row) -> None:
        match name:
            case "application":
                await self._before_fleet(number, row)
            case "release":
                old = await self.row("release", number) if number else {}
                row.update(version_columns(old, row, now_ms=self._now_ms))
                if number is None and self.access.kind == "user":
                    row["is_created_by__user"] = self.access.user
            case "image" if number is None:
                row["is_stored_at__image_location"] = f"{self._registry}/v2/{secrets.token_hex(16)}"
            case "organization" if number is None:
                row["handle"] = row.get("handle") or re.sub(r"\W+", "_", row["name"].lower())
            case _ if name.endswith("_tag"):
                _check_tag(row.get("tag_key"))
            case _ if name.endswith("config_variable"):
                wrong = refusal(row.get("name") or "BALENA_")
                if wrong is not None:
                    raise BadQuery(wrong)
            case _ if name.endswith("environment_variable"):
                if "name" in row and not _VARIABLE.fullmatch(row["name"]):
                    raise BadQuery(
                        "Environment variable names can only contain alphanumeric characters"
                        " and underscores, and must not begin with a digit."
                    )
            case _:
                pass

    async def _before_fleet(self, number: int | None, row: Row) -> None:
        old = await self.row("application", number) if number else {}
        whole = {**old, **row}
        if "app_name" in row or "organization" in row:
            if not _NAME.fullmatch(whole["app_name"]):
                raise BadQuery(
                    "App name may only contain [a-zA-Z0-9_-] and must be 4 to 100 characters long."
                )
            handle = (await self.row("organization", whole["organization"]))["handle"]
            row["slug"] = f"{handle}/{whole['app_name']}".lower()
        if number is None:
            if not _HEX.fullmatch(row["uuid"]):
                raise BadQuery('"uuid" must be 32 lower-case hexadecimal digits')
            row["actor"] = self._new_actor()
            row["application_type"] = row.get("application_type") or 1
        elif "uuid" in row and row["uuid"] != old["uuid"]:
            raise BadQuery('"uuid" cannot be changed')
        target = row.get("should_be_running__release")
        if target is not None:
            owner = (await self.row("release", target))["belongs_to__application"]
            if owner != number:
                raise BadQuery("should_be_running__release must be a release of the application")

    async def _after(self, name: str, number: int, row: Row, *, created: bool) -> None:
        match name:
            case "application":
                await self._after_fleet(number, row, created=created)
            case "release":
                await self._release_changed(number)
            case "image__is_part_of__release":
                await self._release_changed((await self.row(name, number))["is_part_of__release"])
            case "image_label" | "image_environment_variable":
                part = (await self.row(name, number))["release_image"]
                owner = await self.row("image__is_part_of__release", part)
                await self._release_changed(owner["is_part_of__release"])
            case "image" if not created:
                await self._image_changed(number)
            case "organization" if created:
                member = {"user": self.access.user, "is_member_of__organization": number}
                role = {"organization_membership_role": "administrator"}
                await self._insert("organization_membership", {**member, **role})
            case _ if name.endswith("_variable"):
                whole = await self.row(name, number)
                await self._variable(name, whole, whole["value"])
            case _:
                pass

    async def _after_fleet(self, number: int, row: Row, *, created: bool) -> None:
        whole = await self.row("application", number)
        if created:
            kind = await self.row("device_type", whole["is_for__device_type"])
            self.commands.append(
                core.CreateFleet(
                    name=whole["app_name"],
                    uuid=whole["uuid"],
                    device_type=kind["slug"],
                    number=number,
                )
            )
            return
        if "app_name" in row:
            self.commands.append(core.RenameFleet(fleet=whole["uuid"], name=whole["app_name"]))
        if row.get("should_track_latest_release") and "should_be_running__release" not in row:
            await self._track_latest(whole)
        elif "should_be_running__release" in row:
            await self._tracks(whole, row["should_be_running__release"])

    async def _tracks(self, fleet: Row, release: int | None) -> None:
        commit = (await self.row("release", release))["commit"] if release else None
        self.commands.append(core.TrackRelease(fleet=fleet["uuid"], commit=commit))

    async def _track_latest(self, fleet: Row) -> None:
        """The fleet follows its newest release that is good for everybody."""
        table = TABLES["release"]
        good = sa.and_(
            table.c.belongs_to__application == fleet["id"],
            table.c.status == "success",
            table.c.is_final,
            table.c.is_passing_tests,
            sa.not_(table.c.is_invalidated),
        )
        newest = sa.select(table.c.id).where(good).order_by(table.c.id.desc()).limit(1)
        found = await self.connection.scalar(newest)
        if found != fleet["should_be_running__release"]:
            fleets = TABLES["application"]
            change = sa.update(fleets).where(fleets.c.id == fleet["id"])
            await self.connection.execute(
                change.values(should_be_running__release=found, modified_at=self._now_ms)
            )
            await self._tracks(fleet, found)

    async def _release_changed(self, number: int) -> None:
        """The core knows finished releases with the services they have now."""
        release = await self.row("release", number)
        fleet = await self.row("application", release["belongs_to__application"])
        if release["status"] == "success":
            self.commands.append(await release_command(self.connection, release, fleet))
        if fleet["should_track_latest_release"]:
            await self._track_latest(fleet)

    async def _image_changed(self, number: int) -> None:
        parts = TABLES["image__is_part_of__release"]
        query = sa.select(parts.c.is_part_of__release).where(parts.c.image == number)
        for release in list(await self.connection.scalars(query)):
            await self._release_changed(release)

    async def _variable(self, name: str, row: Row, value: str | None) -> None:
        """Tell the core of a variable (or, with ``None``, of its end)."""
        key = row["name"]
        match name:
            case "application_config_variable" | "application_environment_variable":
                level, target = "fleet", await self._uuid("application", row["application"])
                service = None
            case "device_config_variable" | "device_environment_variable":
                level, target = "device", await self._uuid("device", row["device"])
                service = None
            case "service_environment_variable":
                owner = await self.row("service", row["service"])
                level, target = "fleet", await self._uuid("application", owner["application"])
                service = owner["service_name"]
            case "device_service_environment_variable":
                install = await self.row("service_install", row["service_install"])
                level, target = "device", await self._uuid("device", install["device"])
                service = (await self.row("service", install["installs__service"]))["service_name"]
            case _:
                return
        if name.endswith("config_variable"):
            self.commands.append(
                core.SetVariable(level=level, target=target, name=key, value=value)  # type: ignore[arg-type]
            )
        else:
            self.commands.append(
                core.SetEnvironment(
                    level=level,  # type: ignore[arg-type]
                    target=target,
                    service=service,
                    name=key,
                    value=value,
                )
            )

    async def _uuid(self, name: str, number: int) -> str:
        return str((await self.row(name, number))["uuid"])

    async def _gone(self, name: str, number: int) -> None:
        """Before a row is deleted: what the core is to forget."""
        row = await self.row(name, number)
        match name:
            case "application":
                self.commands.append(core.DeleteFleet(fleet=row["uuid"]))
            case "release":
                fleet = await self.row("application", row["belongs_to__application"])
                if row["status"] == "success":
                    self.commands.append(
                        core.DeleteRelease(fleet=fleet["uuid"], commit=row["commit"])
                    )
            case "api_key":
                self.commands.append(core.RevokeKey(sealed=row["key"]))
            case "device" | "image_install" | "service_install":
                raise Forbidden
            case _ if name.endswith("_variable"):
                await self._variable(name, row, None)
            case _:
                pass


def _check_tag(key: Any) -> None:
    """What clients of the real API are told of names of tags."""
    if not isinstance(key, str):
        return
    if not key or re.search(r"\s", key):
        raise BadQuery(f"Tag keys cannot {'contain whitespace' if key else 'be empty'}.")
    for reserved in _RESERVED_TAGS:
        if key.startswith(reserved):
            raise BadQuery(f"Tag keys beginning with {reserved} are reserved.")
