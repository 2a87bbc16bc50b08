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
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from . import device_rows
from .migrate import upgrade
from .resource import STAMPS
from .statements import DEVICE_ROW, EventRow, Statements, Step, forget_device

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from ..model import Device
    from ..settings import Profile

_log = logging.getLogger("fieldbeat.store")
RETRY_S = 0.5
"""Between attempts to write a batch that the database refused."""


class StoreError(Exception):
    """The database cannot be used; the text says what to do."""


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
        self._waiting: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        rows = self.devices or self.keys or self.events or self.logs
        return bool(rows or self.statements or self.last)

    def done(self) -> asyncio.Future[None]:
        """Is done when the batch is durable, or raises; a future of one's own, to be cancelled."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        return waiting

    def settle(self, error: StoreError | None = None) -> None:
        """Tell everybody who waits."""
        for waiting in self._waiting:
            if waiting.done():
                continue
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(error)
        self._waiting.clear()

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
        self._sql = Statements(engine)
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
                _look_into(engine.url.database or "")
                sa.event.listen(engine.sync_engine, "connect", _pragmas)
            async with engine.begin() as connection:
                await upgrade(connection)
        except (SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
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
            await batch.done()
        elif self._writing is not None:
            await self._writing.done()

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
                batch.settle()
            finally:
                self._writing = None
        if self.failures and not self._closing:
            await asyncio.sleep(RETRY_S)

    def _refused(self, batch: _Batch, beats: dict[int, int], error: Exception) -> None:
        text = str(getattr(error, "orig", None) or error).splitlines()[0]
        if not self.failures:
            _log.error("the database refuses writes, they are kept and tried again: %s", text)
        self.failures += 1
        batch.settle(StoreError(f"the database refused a write: {text}"))
        self._batch.take_over(batch)
        self._beats = {**beats, **self._beats}
        self._wake.set()
        if self._closing and self.failures > 3:
            self._batch, self._beats = _Batch(), {}

    async def _execute(self, steps: list[Step]) -> None:
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

    def _at_once(self, steps: list[Step]) -> None:
        assert self._engine_of_thread is not None
        with self._engine_of_thread.begin() as connection:
            for step in steps:
                if isinstance(step, tuple):
                    connection.exec_driver_sql(*step)
                else:
                    connection.execute(step)

    def _steps(self, batch: _Batch, beats: dict[int, int]) -> list[Step]:
        sql, steps = self._sql, list[Step](batch.statements)
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
        gone = [device for device in batch.devices.values() if device.deleted]
        steps += sql.put_device.steps_of(rows, DEVICE_ROW)
        installs = [row for device in living for row in device_rows.install_values(device)]
        steps += sql.put_install.steps_of(installs, device_rows.INSTALL_COLUMNS)
        events = [event.stored() for event in batch.events]
        steps += sql.insert_event.steps_of(events, EventRow._fields)
        for hot, values in (
            (sql.put_heartbeat, [{"device": key, "due_ms": at} for key, at in beats.items()]),
            (sql.insert_key, batch.keys),
            (sql.insert_gone, [{"device": device.id, "uuid": device.uuid} for device in gone]),
            (sql.insert_log, batch.logs),
        ):
            steps += hot.steps(values)
        for device in gone:
            steps += forget_device(device.id)
        return [*steps, *batch.last]


def _look_into(file: str) -> None:
    """Raise ``sqlite3.Error`` for a file that SQLite cannot use.

    Before a connection has a thread of its own: one that fails at once may outlive the event loop.
    """
    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA schema_version")
    finally:
        connection.close()


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
