"""The schema that migrations make is the one the program works with."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cloud_stub.store import migrate
from cloud_stub.store.own_tables import METADATA

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stub_cloud import Stub


def test_migrations_make_the_tables_of_the_program(stub: Stub) -> None:
    async def differences() -> list[Any]:
        async with stub.server.store.engine.connect() as connection:
            return await connection.run_sync(
                lambda sync: compare_metadata(MigrationContext.configure(sync), METADATA)
            )

    assert asyncio.run_coroutine_threadsafe(differences(), stub.loop).result(60) == []


def test_the_newest_revision_is_the_head() -> None:
    assert ScriptDirectory(str(migrate._FOLDER)).get_heads() == [migrate.newest()]


def test_a_store_of_this_version_opens_without_the_migrations_library(tmp_path: Path) -> None:
    path = tmp_path / "cloud.sqlite"
    code = (
        "import asyncio, sys\n"
        "from cloud_stub.store.database import Store\n"
        "async def run():\n"
        f"    store = await Store.open({str(path)!r}, profile='balena-cloud')\n"
        "    await store.close()\n"
        "asyncio.run(run())\n"
        "print('alembic' in sys.modules)\n"
    )
    run = [sys.executable, "-c", code]
    said = [subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in "12"]
    assert said == ["True\n", "False\n"]
    with sqlite3.connect(path) as connection:
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    assert version == (migrate.newest(),)
