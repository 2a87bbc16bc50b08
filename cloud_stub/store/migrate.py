"""The schema's version: Alembic revisions from ``migrations/``, run at every start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

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
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise OSError(f"{error}; it was written by a later fieldbeat") from error
