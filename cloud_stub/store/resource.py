"""The vocabulary of the resource model: fields, resources and how they are joined.

A resource of the API is one table.  A field that refers to another resource is a navigation
forwards; each also gives the other resource a navigation back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kind = Literal["integer", "big", "text", "boolean", "date", "json", "ref"]
"""``big`` goes out as a string, ``date`` (ms in the table) as ISO 8601, ``ref`` as ``__id``."""

_TYPES: Mapping[str, Callable[[], sa.types.TypeEngine[Any]]] = {
    "integer": sa.BigInteger,
    "big": sa.BigInteger,
    "text": sa.Text,
    "boolean": sa.Boolean,
    "date": sa.BigInteger,
    "json": sa.JSON,
    "ref": sa.BigInteger,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a resource."""

    name: str
    kind: Kind
    to: str | None = None
    """The resource a ``ref`` refers to."""
    null: bool = True
    default: Any = None
    writable: bool = True
    """A client may give it."""
    aliases: tuple[str, ...] = ()
    """Other names of the same navigation."""
    back: str | None = None
    """Name of the navigation back; the resource's own name if not said."""
    hidden: bool = False
    """Never shown."""
    only: str | None = None
    """Shown in this profile alone."""
    cascade: Literal["cascade", "restrict", "null"] = "cascade"
    """What happens to this row when the row it refers to is deleted."""

    def column(self) -> sa.Column[Any]:
        """The table's column."""
        return sa.Column(
            self.name, _TYPES[self.kind](), nullable=self.null, index=self.kind == "ref" or None
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API."""

    name: str
    fields: tuple[Field, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    """Natural keys: no two rows may agree in all of these."""
    scope: str | None = None
    """Path of refs to the application that owns a row (``device.belongs_to__application``).

    Empty: it is an application itself; ``None``: everybody may read it.
    """
    device: str | None = None
    """Path of refs to the device a row is about; empty: it is one itself."""
    writable: bool = True
    timestamps: bool = True
    by_name: dict[str, Field] = field(default_factory=dict)

    def table(self, metadata: sa.MetaData) -> sa.Table:
        """The table, in ``metadata``."""
        columns = [sa.Column("id", _ID, primary_key=True, autoincrement=True)]
        if self.timestamps:
            columns += [sa.Column(name, sa.BigInteger, nullable=False) for name in STAMPS]
        columns += [item.column() for item in self.fields]
        constraints = [sa.UniqueConstraint(*names) for names in self.unique]
        return sa.Table(self.name, metadata, *columns, *constraints, sqlite_autoincrement=True)


_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
STAMPS = ("created_at", "modified_at")


def integer(name: str, **options: Any) -> Field:
    """A whole number."""
    return Field(name, "integer", **options)


def big(name: str, **options: Any) -> Field:
    """A number that goes out as a string."""
    return Field(name, "big", **options)


def text(name: str, **options: Any) -> Field:
    """Text."""
    return Field(name, "text", **options)


def boolean(name: str, *, default: bool = False, **options: Any) -> Field:
    """True or false, never null."""
    return Field(name, "boolean", null=False, default=default, **options)


def date(name: str, **options: Any) -> Field:
    """A moment."""
    return Field(name, "date", **options)


def json(name: str, **options: Any) -> Field:
    """Any JSON value."""
    return Field(name, "json", **options)


def ref(name: str, to: str, **options: Any) -> Field:
    """A row of another resource."""
    return Field(name, "ref", to, **options)
