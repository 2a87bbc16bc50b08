"""The store: an SQL database, one writer at a time, and group commits of what the core changed.

Rows of devices are written behind the core: a change is entered into the open batch, and whoever
must not answer before it is durable waits for that batch.  Heartbeat timers ride along with the
next batch or wait for at most ``lag`` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from . import device_rows
from .migrate import upgrade
from .resource import STAMPS
from .resources import EVENTS, GONE, HEARTBEATS, LOGS, TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from ..model import Device
    from ..settings import Profile

_log = logging.getLogger("fieldbeat.store")
RETRY_S = 0.5
"""Between attempts to write a batch that the database refused."""


_Step = tuple[str, Any] | sa.Executable
"""A driver's statement with its parameters, or one of SQLAlchemy's."""


class StoreError(Exception):
    """The database cannot be used; the text says what to do."""


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

    def stored(self) -> dict[str, Any]:
        """The columns; values are JSON."""
        return self._asdict() | {"old": json.dumps(self.old), "new": json.dumps(self.new)}


class _Batch:
    """What is to be written together."""

    def __init__(self) -> None:
        self.devices: dict[int, Device] = {}
        self.added: dict[int, tuple[Any, ...]] = {}
        """What the core does not keep of new devices."""
        self.keys: list[dict[str, Any]] = []
        self.events: list[EventRow] = []
        self.logs: list[dict[str, Any]] = []
        self.statements: list[sa.Executable] = []
        self.last: list[sa.Executable] = []
        """Carried out after everything else of the batch."""
        self.now_ms = 0
        """Time of the newest change."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __bool__(self) -> bool:
        rows = self.devices or self.keys or self.events or self.logs
        return bool(rows or self.statements or self.last)

    def take_over(self, older: _Batch) -> None:
        """Write what an older batch could not, first."""
        self.devices = {**older.devices, **self.devices}
        self.added = {**older.added, **self.added}
        for name in ("keys", "events", "logs", "statements", "last"):
            getattr(self, name)[:0] = getattr(older, name)


class Store:
    """An open database."""

    def __init__(self, engine: AsyncEngine, *, lag_s: float) -> None:
        self.engine = engine
        self._lag_s = lag_s
        self._lock = asyncio.Lock()
        self._batch = _Batch()
        self._wake = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None
        self._beats: dict[int, int] = {}
        self._profile: Profile = "balena-cloud"
        self.commits = 0
        self.failures = 0
        self._sql = _Statements(engine)
        self._thread: ThreadPoolExecutor | None = None
        self._engine_of_thread: sa.Engine | None = None
        if engine.dialect.name == "sqlite":
            self._thread = ThreadPoolExecutor(1, "fieldbeat-store")
            url = engine.url.set(drivername="sqlite+pysqlite")
            self._engine_of_thread = sa.create_engine(url)
            sa.event.listen(self._engine_of_thread, "connect", _pragmas)

    @classmethod
    async def open(cls, url: str, *, profile: Profile, lag_s: float = 0.5) -> Store:
        """Connect, bring the schema to this version, and start writing.

        Args:
            url: of SQLAlchemy (``sqlite+aiosqlite:///file``, ``postgresql+asyncpg://…``), or a
                path of an SQLite file.
            profile: whose computed status is stored along.
            lag_s: how far heartbeat timers may be behind, seconds.

        Raises:
            StoreError: the database cannot be opened or is of a later version.
        """
        if ":memory:" in url:
            raise StoreError("the database must be a file: one in memory would not be durable")
        try:
            engine = create_async_engine(_url(url))
            if engine.dialect.name == "sqlite":
                sa.event.listen(engine.sync_engine, "connect", _pragmas)
            async with engine.begin() as connection:
                await upgrade(connection)
        except (SQLAlchemyError, OSError, ImportError) as error:
            text = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise StoreError(f"cannot open the database: {text}") from error
        store = cls(engine, lag_s=lag_s)
        store._profile = profile
        store._writer = asyncio.create_task(store._write())
        return store

    async def close(self) -> None:
        """Write what is left and close."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
        await self.engine.dispose()
        if self._thread is not None and self._engine_of_thread is not None:
            self._thread.submit(self._engine_of_thread.dispose)
            self._thread.shutdown()

    # --- entering changes ------------------------------------------------------------------------

    def device_added(self, device: Device, *, actor: int, device_type: int, now_ms: int) -> None:
        """A device the table does not hold yet."""
        self._batch.added[device.id] = (actor, device_type, now_ms, False)
        self.changed([device], now_ms=now_ms)

    def changed(self, devices: Iterable[Device], *, now_ms: int) -> None:
        """Rows of these devices differ from the table."""
        self._batch.now_ms = now_ms
        for device in devices:
            self._batch.devices[device.id] = device
            self._wake.set()

    def device_key(self, sealed: str, *, actor: int, device: int, now_ms: int) -> None:
        """A device has one more key."""
        stamps = dict.fromkeys(STAMPS, now_ms)
        values = {"key": sealed, "is_of__actor": actor, "name": None, "kind": "device"}
        self._batch.keys.append({**values, "device": device, **stamps})
        self._wake.set()

    def events(self, rows: Iterable[EventRow]) -> None:
        """Changes of status fields."""
        self._batch.events.extend(rows)
        self._wake.set()

    def logged(self, rows: Iterable[tuple[int, int, Any]]) -> None:
        """Log lines of devices: number, device, any JSON value."""
        self._batch.logs.extend(
            {"id": number, "device": device, "line": json.dumps(line)}
            for number, device, line in rows
        )
        self._wake.set()

    def execute(self, statement: sa.Executable, *, last: bool = False) -> None:
        """Any other statement: before the rows of its batch, or after them."""
        (self._batch.last if last else self._batch.statements).append(statement)
        self._wake.set()

    def beat(self, device: int, due_ms: int) -> None:
        """A heartbeat moved a timer: written within the lag."""
        self._beats[device] = due_ms

    async def committed(self) -> None:
        """Return when everything entered so far is durable.

        Raises:
            StoreError: the database refused it; it will be tried again, but is not durable now.
        """
        batch = self._batch
        if batch:
            await asyncio.shield(batch.done)
        elif self._writing is not None:
            await asyncio.shield(self._writing.done)

    _writing: _Batch | None = None

    # --- connections -----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees everything entered so far."""
        await self.committed()
        async with self.engine.connect() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of its own, with the writer's lock held; it sees all entered before."""
        await self.committed()
        async with self._lock, self.engine.begin() as connection:
            yield connection

    # --- the writer ------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._lag_s)
            self._wake.clear()
            if self._batch or self._beats:
                await self._write_batch()
            if self._closing and not self._batch and not self._beats:
                return

    async def _write_batch(self) -> None:
        async with self._lock:
            batch, self._batch = self._batch, _Batch()
            beats, self._beats = self._beats, {}
            self._writing = batch
            try:
                await self._execute(self._steps(batch, beats))
            except (SQLAlchemyError, OSError) as error:
                self._refused(batch, beats, error)
            else:
                if self.failures:
                    _log.warning("the database takes writes again")
                self.failures = 0
                self.commits += 1
                batch.done.set_result(None)
            finally:
                self._writing = None
        if self.failures and not self._closing:
            await asyncio.sleep(RETRY_S)

    def _refused(self, batch: _Batch, beats: dict[int, int], error: Exception) -> None:
        text = str(getattr(error, "orig", None) or error).splitlines()[0]
        if not self.failures:
            _log.error("the database refuses writes, they are kept and tried again: %s", text)
        self.failures += 1
        batch.done.set_exception(StoreError(f"the database refused a write: {text}"))
        batch.done.exception()  # nobody may be waiting for it
        self._batch.take_over(batch)
        self._beats = {**beats, **self._beats}
        self._wake.set()
        if self._closing and self.failures > 3:
            self._batch, self._beats = _Batch(), {}

    async def _execute(self, steps: list[_Step]) -> None:
        """Carry out the steps in one transaction."""
        if self._thread is not None:
            # one trip to a thread for all of them: every trip costs more than a statement
            await asyncio.get_running_loop().run_in_executor(self._thread, self._at_once, steps)
            return
        async with self.engine.begin() as connection:
            for step in steps:
                if isinstance(step, tuple):
                    await connection.exec_driver_sql(*step)
                else:
                    await connection.execute(step)

    def _at_once(self, steps: list[_Step]) -> None:
        assert self._engine_of_thread is not None
        with self._engine_of_thread.begin() as connection:
            for step in steps:
                if isinstance(step, tuple):
                    connection.exec_driver_sql(*step)
                else:
                    connection.execute(step)

    def _steps(self, batch: _Batch, beats: dict[int, int]) -> list[_Step]:
        sql, steps = self._sql, list[_Step](batch.statements)
        living = [device for device in batch.devices.values() if not device.deleted]
        old = (0, None, 0, False)
        rows = [
            (
                *device_rows.device_values(device, self._profile),
                *batch.added.get(device.id, old),
                batch.now_ms,
            )
            for device in living
        ]
        installs = [row for device in living for row in device_rows.install_values(device)]
        gone = [device for device in batch.devices.values() if device.deleted]
        steps += sql.put_device.steps_of(rows, _DEVICE_ROW)
        for hot, values in (
            (sql.put_install, installs),
            (sql.put_heartbeat, [{"device": key, "due_ms": at} for key, at in beats.items()]),
            (sql.insert_key, batch.keys),
            (sql.insert_gone, [{"device": device.id, "uuid": device.uuid} for device in gone]),
            (sql.insert_event, [event.stored() for event in batch.events]),
            (sql.insert_log, batch.logs),
        ):
            steps += hot.steps(values)
        for device in gone:
            steps += forget_device(device.id)
        return [*steps, *batch.last]


def forget_device(number: int) -> list[_Step]:
    """Deletes a device's row and everything that hangs on it."""
    installs = TABLES["service_install"]
    own = sa.select(installs.c.id).where(installs.c.device == number)
    variables = TABLES["device_service_environment_variable"]
    steps: list[_Step] = [sa.delete(variables).where(variables.c.service_install.in_(own))]
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


def _url(text: str) -> sa.URL:
    if "://" not in text:
        return sa.URL.create("sqlite+aiosqlite", database=text)
    url = sa.make_url(text)
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    return url.set(drivername=drivers.get(url.drivername, url.drivername))


def _pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


_THEIRS = ("actor", "is_of__device_type", "created_at", "is_web_accessible")
"""What only people write keeps its default until they do."""
_DEVICE_ROW = (*device_rows.COLUMNS, *_THEIRS, "modified_at")


class _Hot:
    """A statement that puts rows, compiled once."""

    def __init__(self, statement: Any, engine: AsyncEngine) -> None:
        compiled = statement.compile(dialect=engine.dialect)
        self._order = tuple(name.removeprefix("b_") for name in compiled.positiontup)
        self._text = str(compiled)
        self._pick: itemgetter[Any] | None = None
        self._many = engine.dialect.name == "postgresql"
        """The driver pipelines many executions itself."""

    def steps(self, values: Iterable[Mapping[str, Any]]) -> list[_Step]:
        """Put these rows.

        For SQLite as few statements as can be: the driver gives up the interpreter's lock at every
        row it steps to, and next to a busy event loop gets it back only much later.
        """
        return self._steps([tuple(map(row.__getitem__, self._order)) for row in values])

    def steps_of(self, values: list[tuple[Any, ...]], columns: tuple[str, ...]) -> list[_Step]:
        """The same for tuples of these columns."""
        if self._pick is None:
            self._pick = itemgetter(*(columns.index(name) for name in self._order))
        return self._steps(list(map(self._pick, values)))

    def _steps(self, rows: list[tuple[Any, ...]]) -> list[_Step]:
        if self._many:
            return [(self._text, rows)] if rows else []
        found: list[_Step] = []
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


class _Statements:
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
        every = [name for name in _DEVICE_ROW if name != device_rows.UNSTORED]
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
