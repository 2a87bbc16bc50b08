"""The store: an SQL database, one writer at a time, and group commits of what the core changed.

Rows of devices are written behind the core: a change is entered into the open batch, and whoever
must not answer before it is durable waits for that batch.  Heartbeat timers ride along with the
next batch or wait for at most ``lag`` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
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


class _Batch:
    """What is to be written together."""

    def __init__(self) -> None:
        self.devices: dict[int, Device] = {}
        self.added: dict[int, dict[str, int]] = {}
        """What the core does not keep of new devices."""
        self.keys: list[dict[str, Any]] = []
        self.events: list[EventRow] = []
        self.logs: list[tuple[int, int, str]] = []
        self.statements: list[sa.Executable] = []
        self.now_ms = 0
        """Time of the newest change."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __bool__(self) -> bool:
        return bool(self.devices or self.keys or self.events or self.logs or self.statements)

    def take_over(self, older: _Batch) -> None:
        """Write what an older batch could not, first."""
        self.devices = {**older.devices, **self.devices}
        self.added = {**older.added, **self.added}
        for name in ("keys", "events", "logs", "statements"):
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
        self._sql = _statements(engine)

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

    # --- entering changes ------------------------------------------------------------------------

    def device_added(self, device: Device, *, actor: int, device_type: int, now_ms: int) -> None:
        """A device the table does not hold yet."""
        values = {"actor": actor, "is_of__device_type": device_type, "created_at": now_ms}
        self._batch.added[device.id] = values
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

    def logged(self, rows: Iterable[tuple[int, int, str]]) -> None:
        """Log lines of devices: number, device, JSON."""
        self._batch.logs.extend(rows)
        self._wake.set()

    def execute(self, statement: sa.Executable) -> None:
        """Any other statement, in its place in the order of batches."""
        self._batch.statements.append(statement)
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
                async with self.engine.begin() as connection:
                    await self._carry_out(connection, batch, beats)
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

    async def _carry_out(
        self, connection: AsyncConnection, batch: _Batch, beats: dict[int, int]
    ) -> None:
        sql = self._sql
        for statement in batch.statements:
            await connection.execute(statement)
        living = [device for device in batch.devices.values() if not device.deleted]
        stamp = {"modified_at": batch.now_ms}
        rows = {
            device.id: {**device_rows.device_values(device, self._profile), **stamp}
            for device in living
        }
        new = [{**rows[number], **rest} for number, rest in batch.added.items() if number in rows]
        old = [row for number, row in rows.items() if number not in batch.added]
        installs = [row for device in living for row in device_rows.install_values(device)]
        gone = [device for device in batch.devices.values() if device.deleted]
        for hot, values in (
            (sql.insert_device, new),
            (sql.update_device, old),
            (sql.put_install, installs),
            (sql.put_heartbeat, [{"device": key, "due_ms": at} for key, at in beats.items()]),
            (sql.insert_key, batch.keys),
            (sql.insert_gone, [{"device": device.id, "uuid": device.uuid} for device in gone]),
        ):
            if values:
                await connection.exec_driver_sql(hot.text, hot.rows(values))
        if batch.events:
            rows_of_events = [row._asdict() for row in batch.events]
            await connection.execute(sa.insert(EVENTS), rows_of_events)
        if batch.logs:
            names = ("id", "device", "line")
            lines = [dict(zip(names, row, strict=True)) for row in batch.logs]
            await connection.execute(sa.insert(LOGS), lines)
        for device in gone:
            await forget_device(connection, device.id)


async def forget_device(connection: AsyncConnection, number: int) -> None:
    """Delete a device's row and everything that hangs on it."""
    installs = TABLES["service_install"]
    own = sa.select(installs.c.id).where(installs.c.device == number)
    variables = TABLES["device_service_environment_variable"]
    await connection.execute(sa.delete(variables).where(variables.c.service_install.in_(own)))
    for name in (
        *("image_install", "service_install", "device_config_variable"),
        *("device_environment_variable", "device_tag", "api_key"),
    ):
        table = TABLES[name]
        await connection.execute(sa.delete(table).where(table.c.device == number))
    await connection.execute(sa.delete(HEARTBEATS).where(HEARTBEATS.c.device == number))
    await connection.execute(sa.delete(LOGS).where(LOGS.c.device == number))
    devices = TABLES["device"]
    await connection.execute(sa.delete(devices).where(devices.c.id == number))


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


class _Hot(NamedTuple):
    """A statement as the driver takes it, compiled once: text, and the order of parameters."""

    text: str
    order: tuple[str, ...]

    def rows(self, values: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """Parameters of many executions."""
        return [tuple(map(row.__getitem__, self.order)) for row in values]


class _Statements(NamedTuple):
    """What every batch is made of."""

    insert_device: _Hot
    update_device: _Hot
    put_install: _Hot
    put_heartbeat: _Hot
    insert_key: _Hot
    insert_gone: _Hot


def _statements(engine: AsyncEngine) -> _Statements:
    postgres = engine.dialect.name == "postgresql"
    insert: Any = postgresql.insert if postgres else sqlite.insert

    def hot(statement: Any) -> _Hot:
        compiled = statement.compile(dialect=engine.dialect)
        return _Hot(str(compiled), tuple(name[2:] for name in compiled.positiontup))

    devices, installs, keys = (TABLES[name] for name in ("device", "image_install", "api_key"))
    # what only people write keeps its default until they do
    constant: dict[str, Any] = {
        "is_web_accessible": sa.literal_column("false" if postgres else "0")
    }
    new = (*device_rows.COLUMNS, "actor", "is_of__device_type", *STAMPS)
    put = insert(installs).values(_bound(installs, device_rows.INSTALL_COLUMNS))
    kept = ("is_provided_by__release", "status", "download_progress", "modified_at", "written_ms")
    put = put.on_conflict_do_update(
        index_elements=[installs.c.device, installs.c.installs__image],
        set_={name: put.excluded[name] for name in kept},
    )
    beats = insert(HEARTBEATS).values(_bound(HEARTBEATS, ("device", "due_ms")))
    beats = beats.on_conflict_do_update(
        index_elements=[HEARTBEATS.c.device], set_={"due_ms": beats.excluded.due_ms}
    )
    gone = insert(GONE).values(_bound(GONE, ("device", "uuid"))).on_conflict_do_nothing()
    update = sa.update(devices).where(devices.c.id == sa.bindparam("b_id", type_=sa.BigInteger))
    changing = [name for name in device_rows.COLUMNS if name != "id"]
    key_columns = ("key", "is_of__actor", "name", "kind", "device", *STAMPS)
    return _Statements(
        insert_device=hot(insert(devices).values({**_bound(devices, new), **constant})),
        update_device=hot(update.values(_bound(devices, [*changing, "modified_at"]))),
        put_install=hot(put),
        put_heartbeat=hot(beats),
        insert_key=hot(insert(keys).values(_bound(keys, key_columns))),
        insert_gone=hot(gone),
    )


def _bound(table: sa.Table, columns: Iterable[str]) -> dict[str, Any]:
    return {name: sa.bindparam(f"b_{name}", type_=table.c[name].type) for name in columns}
