"""Reading resources: one statement for the rows, one for each expand, and the API's shapes."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .navigations import NAVIGATIONS
from .odata_text import BadQuery, Options
from .query import Filter, Place, field_of, navigation_of, place
from .resources import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from .resource import Field, Resource

ROWS_MAX = 50_000
"""More rows than this are not given at once; ``$top`` and ``$skip`` page."""
UNVERSIONED = frozenset(("is_frozen",))
"""What every profile shows under ``/resin`` (``WIRE.md`` §6)."""
_CHUNK = 5_000
"""Bound parameters of one statement, below every database's limit."""
Row = dict[str, Any]


def iso(at_ms: int) -> str:
    """A moment as the API writes it."""
    moment = datetime.fromtimestamp(at_ms // 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def shown(item: Field, value: Any) -> Any:
    """A column's value in the API's shape."""
    if value is None:
        return None
    match item.kind:
        case "date":
            return iso(value)
        case "ref":
            return {"__id": value}
        case "big":
            return str(value)
        case "boolean":
            return bool(value)
        case _:
            return {"__id": value} if item.name in ("actor", "is_of__actor") else value


class OtherProfile(Exception):  # noqa: N818  # it is the client's mistake
    """A field was asked for that this profile's API has not: the real one answers 500."""


@contextmanager
def _computed() -> Iterator[None]:
    """A number that the database cannot hold is the question's mistake (SQLSTATE class 22)."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if str(getattr(error.orig, "sqlstate", None))[:2] != "22":
            raise
        raise BadQuery(f"$filter cannot be computed: {error.orig}"[:200]) from None


class Reader:
    """Answers queries on one connection for one caller."""

    def __init__(
        self,
        connection: AsyncConnection,
        access: Callable[[Place], sa.ColumnElement[bool] | None],
        profile: str,
        *,
        now_ms: int,
        unversioned: bool = False,
    ) -> None:
        self._connection = connection
        self._access = access
        self._profile = profile
        self._extra = UNVERSIONED if unversioned else frozenset()
        self._filter = Filter(access, now_ms=now_ms)

    # --- statements ------------------------------------------------------------------------------

    def conditions(
        self, here: Place, options: Options, key: Mapping[str, int | str] | None = None
    ) -> list[sa.ColumnElement[bool]]:
        """What a row must fulfil: access, key and filter.

        Raises:
            BadQuery: the key or the filter does not fit the resource.
        """
        found: list[sa.ColumnElement[bool]] = []
        guard = self._access(here)
        if guard is not None:
            found.append(guard)
        for name, value in (key or {}).items():
            item = field_of(here.resource, name)
            if isinstance(value, str) != (item.kind == "text"):
                raise BadQuery(f"{here.resource.name}: key {name} is a {item.kind}")
            found.append(here.table.c[name] == value)
        if options.where is not None:
            found.append(self._filter.condition(options.where, here, {}))
        return found

    async def count(self, resource: str, options: Options) -> int:
        """How many rows fulfil the options."""
        here = place(resource)
        query = sa.select(sa.func.count()).select_from(here.table)
        query = query.where(*self.conditions(here, options))
        with _computed():
            return int(await self._connection.scalar(query) or 0)

    async def ids(
        self, resource: str, options: Options, key: Mapping[str, int | str] | None
    ) -> list[int]:
        """The ids of rows, for a change of all of them."""
        here = place(resource)
        query = sa.select(here.table.c.id).where(*self.conditions(here, options, key))
        query = query.order_by(here.table.c.id).limit(ROWS_MAX)
        with _computed():
            return list(await self._connection.scalars(query))

    async def rows(
        self, resource: str, options: Options, key: Mapping[str, int | str] | None = None
    ) -> list[Row]:
        """The rows asked for, in the API's shape.

        Raises:
            BadQuery: the options do not fit the resource.
        """
        here = place(resource)
        query = sa.select(here.table).where(*self.conditions(here, options, key))
        query = query.order_by(*self._order(here, options), here.table.c.id)
        query = query.limit(min(options.top if options.top is not None else ROWS_MAX, ROWS_MAX))
        with _computed():
            found = (await self._connection.execute(query.offset(options.skip))).mappings().all()
            return await self._shape(here.resource, found, options)

    def _order(self, here: Place, options: Options) -> list[Any]:
        found = []
        for path, descending in options.order:
            value = self._filter.value(list(path), here).sql
            found.append(value.desc().nulls_first() if descending else value.asc().nulls_last())
        return found

    # --- shapes ----------------------------------------------------------------------------------

    async def _shape(self, resource: Resource, rows: Sequence[Any], options: Options) -> list[Row]:
        fields = self._selected(resource, options)
        shaped: list[Row] = [{} for _ in rows]
        for name, inner in options.expand.items():
            self._is_here(resource.by_name.get(name))
            related = await self._expand(resource, name, rows, inner)
            for row, values in zip(shaped, related, strict=True):
                row[name] = values
        for row, stored in zip(shaped, rows, strict=True):
            for item in fields:
                if item.name not in row:
                    row[item.name] = shown(item, stored[item.name])
        return shaped

    def _selected(self, resource: Resource, options: Options) -> list[Field]:
        if options.select is None:
            return [
                item
                for item in resource.by_name.values()
                if not item.hidden and item.only in (None, self._profile)
            ]
        found = []
        for name in options.select:
            if name in resource.by_name:
                item = field_of(resource, name)
                self._is_here(item)
                found.append(item)
            elif name not in options.expand and name not in NAVIGATIONS[resource.name]:
                raise BadQuery(f"{resource.name} has no field {name[:60]!r}")
        return found

    def _is_here(self, item: Field | None) -> None:
        if item is None or item.only in (None, self._profile) or item.name in self._extra:
            return
        raise OtherProfile

    async def _expand(
        self, resource: Resource, name: str, rows: Sequence[Any], options: Options
    ) -> list[Any]:
        """For each row, what its navigation leads to."""
        step = navigation_of(resource, name)
        keys = sorted({row[step.local] for row in rows} - {None})
        groups: dict[Any, list[Row]] = {key: [] for key in keys}
        for start in range(0, len(keys), _CHUNK):
            there = place(step.target)
            chosen = keys[start : start + _CHUNK]
            query = sa.select(there.table).where(*self.conditions(there, options))
            if step.through is None:
                owner = there.table.c[step.remote]
            else:
                between = TABLES[step.through[0]].alias()
                owner = between.c[step.through[1]]
                query = query.where(there.table.c[step.remote] == between.c[step.through[2]])
            query = query.add_columns(owner.label("_owner")).where(owner.in_(chosen))
            query = query.order_by(*self._order(there, options), there.table.c.id)
            found = (await self._connection.execute(query.limit(ROWS_MAX))).mappings().all()
            shaped = await self._shape(there.resource, found, options)
            for stored, row in zip(found, shaped, strict=True):
                groups[stored["_owner"]].append(row)
        if options.count:
            return [len(groups.get(row[step.local], ())) for row in rows]
        first = options.skip
        last = None if options.top is None else first + options.top
        return [groups.get(row[step.local], [])[first:last] for row in rows]
