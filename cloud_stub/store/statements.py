"""The statements that group commits are made of, compiled once."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from . import device_rows
from .own_tables import EVENTS, GONE, HEARTBEATS, LOGS
from .resource import STAMPS
from .resources import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncEngine

Step = tuple[str, Any] | sa.Executable
"""A driver's statement with its parameters, or one of SQLAlchemy's."""


_encode = json.JSONEncoder().encode


def _json(value: Any) -> str:
    """JSON of a field's value; numbers, of which most events have two, the short way."""
    return str(value) if type(value) is int else _encode(value)


class EventRow(NamedTuple):
    """One row of the history of status fields, in the order of the table."""

    id: int
    at_ms: int
    device: str
    fleet: int
    field: str
    old: Any
    new: Any
    cause: str

    def stored(self) -> tuple[Any, ...]:
        """The columns in their order; values are JSON."""
        number, at_ms, device, fleet, field, old, new, cause = self
        return number, at_ms, device, fleet, field, _json(old), _json(new), cause


_THEIRS = ("actor", "is_of__device_type", "created_at", "is_web_accessible")
"""What only people write keeps its default until they do."""
DEVICE_ROW = (*device_rows.COLUMNS, *_THEIRS, "modified_at")


class _Hot:
    """A statement that puts rows, compiled once."""

    def __init__(self, statement: Any, engine: AsyncEngine) -> None:
        compiled = statement.compile(dialect=engine.dialect)
        self._order = tuple(name.removeprefix("b_") for name in compiled.positiontup)
        self._text = str(compiled)
        self._pick: itemgetter[Any] | None = None
        self._many = engine.dialect.name == "postgresql"
        """The driver pipelines many executions itself."""

    def steps(self, values: Iterable[Mapping[str, Any]]) -> list[Step]:
        """Put these rows.

        For SQLite as few statements as can be: the driver gives up the interpreter's lock at every
        row it steps to, and next to a busy event loop gets it back only much later.
        """
        return self._steps([tuple(map(row.__getitem__, self._order)) for row in values])

    def steps_of(self, values: list[tuple[Any, ...]], columns: tuple[str, ...]) -> list[Step]:
        """The same for tuples of these columns."""
        if self._pick is None:
            self._pick = itemgetter(*(columns.index(name) for name in self._order))
        return self._steps(list(map(self._pick, values)))

    def _steps(self, rows: list[tuple[Any, ...]]) -> list[Step]:
        if self._many:
            return [(self._text, rows)] if rows else []
        found: list[Step] = []
        size, start = _ROWS_MAX, 0
        while start < len(rows):
            # powers of two: few different statements, so that all of them stay prepared
            while size > len(rows) - start:
                size //= 2
            part = rows[start : start + size]
            found.append((_many_rows(self._text, size), tuple(chain.from_iterable(part))))
            start += size
        return found


@lru_cache(maxsize=512)
def _many_rows(text: str, count: int) -> str:
    """An insert of one row as one of many."""
    head, row, tail = _VALUES.split(text, maxsplit=1)
    return f"{head} VALUES {', '.join([row] * count)}{tail}"


_VALUES = re.compile(r" VALUES (\([^)]*\))")
_ROWS_MAX = 64


class Statements:
    """What every batch is made of."""

    def __init__(self, engine: AsyncEngine) -> None:
        insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        devices, installs, keys = (TABLES[name] for name in ("device", "image_install", "api_key"))

        def put(table: sa.Table, columns: Iterable[str], keys: Iterable[str], kept: Any) -> _Hot:
            statement = insert(table).values(_bound(table, columns))
            new = {name: statement.excluded[name] for name in kept}
            conflict = [table.c[name] for name in keys]
            if new:
                statement = statement.on_conflict_do_update(index_elements=conflict, set_=new)
            else:
                statement = statement.on_conflict_do_nothing()
            return _Hot(statement, engine)

        def add(table: sa.Table, columns: Iterable[str]) -> _Hot:
            return _Hot(insert(table).values(_bound(table, columns)), engine)

        unstored = ("id", device_rows.UNSTORED)
        core = [name for name in device_rows.COLUMNS if name not in unstored]
        every = [name for name in DEVICE_ROW if name != device_rows.UNSTORED]
        self.put_device = put(devices, every, ("id",), (*core, "modified_at"))
        self.put_install = put(
            installs,
            device_rows.INSTALL_COLUMNS,
            ("device", "installs__image"),
            ("is_provided_by__release", "status", "download_progress", "modified_at", "written_ms"),
        )
        self.put_heartbeat = put(HEARTBEATS, ("device", "due_ms"), ("device",), ("due_ms",))
        self.insert_key = add(keys, ("key", "is_of__actor", "name", "kind", "device", *STAMPS))
        self.insert_gone = put(GONE, ("device", "uuid"), ("device",), ())
        self.insert_event = add(EVENTS, EventRow._fields)
        self.insert_log = add(LOGS, ("id", "device", "line"))


def _bound(table: sa.Table, columns: Iterable[str]) -> dict[str, Any]:
    return {name: sa.bindparam(f"b_{name}", type_=table.c[name].type) for name in columns}


def forget_device(number: int) -> list[Step]:
    """Deletes a device's row and everything that hangs on it."""
    installs = TABLES["service_install"]
    own = sa.select(installs.c.id).where(installs.c.device == number)
    variables = TABLES["device_service_environment_variable"]
    steps: list[Step] = [sa.delete(variables).where(variables.c.service_install.in_(own))]
    for name in (
        *("image_install", "service_install", "device_config_variable"),
        *("device_environment_variable", "device_tag", "api_key"),
    ):
        table = TABLES[name]
        steps.append(sa.delete(table).where(table.c.device == number))
    devices = TABLES["device"]
    steps += [
        sa.delete(HEARTBEATS).where(HEARTBEATS.c.device == number),
        sa.delete(LOGS).where(LOGS.c.device == number),
        sa.delete(devices).where(devices.c.id == number),
    ]
    return steps
