"""The schema's version: Alembic revisions from ``migrations/``, run at every start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

_FOLDER = Path(__file__).parent / "migrations"


async def upgrade(connection: AsyncConnection) -> None:
    """Bring the schema to this version; a new database gets all of it.

    Raises:
        OSError: the database is of a version this program does not know.
    """
    await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    if _version(connection) == newest():
        return
    # a tenth of the server's memory, that most starts can do without
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise OSError(f"{error}; it was written by a later fieldbeat") from error


def newest() -> str:
    """The revision that this program's tables are of."""
    return max(path.name.partition("_")[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found
