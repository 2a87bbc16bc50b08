"""Tables of the stub itself, which the API does not show as resources."""

from __future__ import annotations

import sqlalchemy as sa

from .resources import METADATA

HEARTBEATS = sa.Table(
    "fieldbeat_heartbeat",
    METADATA,
    sa.Column("device", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("due_ms", sa.BigInteger, nullable=False),
)
"""Timers of the tracker, written behind (``Store``)."""
GONE = sa.Table(
    "fieldbeat_deleted_device",
    METADATA,
    sa.Column("device", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("uuid", sa.Text, nullable=False),
)
"""A deleted device's uuid cannot be registered again."""
EVENTS = sa.Table(
    "fieldbeat_event",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("device", sa.Text, nullable=False, index=True),
    sa.Column("fleet", sa.BigInteger, nullable=False),
    sa.Column("field", sa.Text, nullable=False),
    sa.Column("old", sa.JSON),
    sa.Column("new", sa.JSON),
    sa.Column("cause", sa.Text, nullable=False),
)
LOGS = sa.Table(
    "fieldbeat_log",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("device", sa.BigInteger, nullable=False, index=True),
    sa.Column("line", sa.JSON, nullable=False),
)
SETTINGS = sa.Table(
    "fieldbeat_setting",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""Schema version, secrets of this store, counters."""
