"""Who may see and change which rows; a condition for each resource and caller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from .resources import RESOURCES, TABLES

if TYPE_CHECKING:
    from .query import Place
    from .resource import Resource

DEVICE_WRITES = frozenset(
    ("device", "device_config_variable", "device_environment_variable", "device_tag")
)
"""What a device may write, of its own."""


@dataclass(frozen=True, slots=True)
class Access:
    """One caller's view."""

    kind: Literal["user", "device", "provisioning"]
    user: int = 0
    device: int = 0
    fleet: int = 0
    writing: bool = False
    """Public rows of others are for reading only."""

    def __call__(self, here: Place) -> sa.ColumnElement[bool] | None:
        """What a row must fulfil to be there for the caller; ``None``: nothing."""
        resource, table = here
        if resource.name in _PEOPLE:
            return self._people(resource.name, table)
        if resource.scope is None:
            return None
        if self.kind == "user":
            return _along(resource, resource.scope, table, self._fleets())
        if self.kind == "provisioning" or resource.device is None:
            return _along(resource, resource.scope, table, self.fleet)
        return _along(resource, resource.device, table, self.device)

    def may_write(self, resource: str) -> bool:
        """Whether the caller may change rows of a resource at all (of its own)."""
        return self.kind == "user" or (self.kind == "device" and resource in DEVICE_WRITES)

    def _organizations(self) -> sa.Select[Any]:
        members = TABLES["organization_membership"].alias()
        return sa.select(members.c.is_member_of__organization).where(members.c.user == self.user)

    def _fleets(self) -> sa.Select[Any]:
        fleets = TABLES["application"].alias()
        own = fleets.c.organization.in_(self._organizations())
        seen = own if self.writing else sa.or_(own, fleets.c.is_public)
        return sa.select(fleets.c.id).where(seen)

    def _people(self, name: str, table: Any) -> sa.ColumnElement[bool]:
        if self.kind != "user":
            found: sa.ColumnElement[bool] = sa.false()
            return found
        if name == "organization":
            mine: sa.ColumnElement[bool] = table.c.id.in_(self._organizations())
        elif name == "organization_membership":
            mine = table.c.is_member_of__organization.in_(self._organizations())
        elif name == "user":
            members = TABLES["organization_membership"].alias()
            together = sa.select(members.c.user).where(
                members.c.is_member_of__organization.in_(self._organizations())
            )
            mine = sa.or_(table.c.id == self.user, table.c.id.in_(together))
        else:
            devices = TABLES["device"].alias()
            fleets = replace(self, writing=True)._fleets()  # noqa: SLF001  # one of its own
            own_devices = sa.select(devices.c.id).where(
                devices.c.belongs_to__application.in_(fleets)
            )
            mine = sa.or_(
                table.c.user == self.user,
                table.c.application.in_(fleets),
                table.c.device.in_(own_devices),
            )
        return mine


_PEOPLE = ("organization", "organization_membership", "user", "api_key")


def _along(resource: Resource, path: str, table: Any, wanted: Any) -> sa.ColumnElement[bool]:
    """That a path of refs ends at a wanted row."""
    if not path:
        return _is(table.c.id, wanted)
    name, _, rest = path.partition(".")
    column = table.c[name]
    if not rest:
        return _is(column, wanted)
    target = resource.by_name[name].to
    assert target is not None
    there = TABLES[target].alias()
    inner = _along(RESOURCES[target], rest, there, wanted)
    found: sa.ColumnElement[bool] = column.in_(sa.select(there.c.id).where(inner))
    return found


def _is(column: Any, wanted: Any) -> sa.ColumnElement[bool]:
    found: sa.ColumnElement[bool] = (
        column == wanted if isinstance(wanted, int) else column.in_(wanted)
    )
    return found
