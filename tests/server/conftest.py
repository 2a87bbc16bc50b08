"""Servers for tests, over every database that is there: SQLite always, PostgreSQL where named.

``FIELDBEAT_TEST_POSTGRES`` is the URL of a PostgreSQL server whose databases may be made and
dropped; ``.ci/run`` starts one.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.stub_cloud import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stub_cloud import Stub

POSTGRES = os.environ.get("FIELDBEAT_TEST_POSTGRES")


def _postgres() -> Iterator[str]:
    import asyncio

    import asyncpg

    assert POSTGRES is not None
    name = f"fieldbeat_{uuid.uuid4().hex}"
    address = POSTGRES.replace("+asyncpg", "")

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(f"{address}/postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name}"))
    yield f"{POSTGRES}/{name}"
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database."""
    if request.param == "sqlite":
        yield str(tmp_path / "cloud.sqlite")
    elif POSTGRES is None:
        pytest.skip("FIELDBEAT_TEST_POSTGRES names no server")
    else:
        yield from _postgres()


@pytest.fixture
def stub(database: str, tmp_path: Path) -> Iterator[Stub]:
    """A fresh server."""
    with running(tmp_path, db=database) as found:
        yield found
