"""OData trees to SQLAlchemy expressions, over the resource model; every step checks access.

A navigation in a filter only sees what the caller may see, so nobody can find out by asking what
they cannot read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from odata_query import ast

from .functions import (
    LARGEST,
    Term,
    as_moment,
    call,
    compute,
    duration,
    group,
    instant_ms,
    negated,
    time_of_day,
)
from .navigations import NAVIGATIONS
from .odata_text import COUNT, BadQuery
from .resources import RESOURCES, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .navigations import Navigation
    from .resource import Field, Resource

_COMPARE: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


class Place(NamedTuple):
    """A resource under one alias of its table."""

    resource: Resource
    table: Any
    """A ``FromClause`` with the resource's columns."""


Access = "Callable[[Place], sa.ColumnElement[bool] | None]"


def place(name: str) -> Place:
    """A resource under a fresh alias."""
    return Place(RESOURCES[name], TABLES[name].alias())


def field_of(resource: Resource, name: str) -> Field:
    """A field by name.

    Raises:
        BadQuery: the resource has none of that name.
    """
    found = resource.by_name.get(name)
    if found is None or found.hidden:
        raise BadQuery(f"{resource.name} has no field {name[:60]!r}")
    return found


def navigation_of(resource: Resource, name: str) -> Navigation:
    """A navigation by name.

    Raises:
        BadQuery: the resource has none of that name.
    """
    found = NAVIGATIONS[resource.name].get(name)
    if found is None:
        raise BadQuery(f"{resource.name} has no navigation {name[:60]!r}")
    return found


class Filter:
    """Translates filters of one request."""

    def __init__(self, access: Callable[[Place], Any], *, now_ms: int) -> None:
        """Nothing is asked.

        Args:
            access: what a row must fulfil to be there for the caller; ``None``: nothing.
            now_ms: what ``now()`` is, since 1970.
        """
        self._access, self._now_ms = access, now_ms

    def condition(
        self, node: ast._Node, here: Place, bound: Mapping[str, Place]
    ) -> sa.ColumnElement[bool]:
        """The condition of a tree.

        Args:
            node: the tree.
            here: what plain names are fields of.
            bound: the variables of surrounding lambdas.

        Raises:
            BadQuery: it is no condition over this model.
        """
        match node:
            case ast.BoolOp():
                left = self.condition(node.left, here, bound)
                right = self.condition(node.right, here, bound)
                return sa.and_(left, right) if isinstance(node.op, ast.And) else sa.or_(left, right)
            case ast.UnaryOp() if isinstance(node.op, ast.Not):
                return sa.not_(self.condition(node.operand, here, bound))
            case ast.Compare():
                return self._compare(node, here, bound)
            case ast.CollectionLambda():
                return self._lambda(node, here, bound)
            case _:
                term = self._term(node, here, bound)
                if term.kind != "boolean":
                    raise BadQuery(f"{_words(node)} is not a condition")
                return sa.cast(term.sql, sa.Boolean) if term.literal is None else term.sql

    def _compare(
        self, node: ast.Compare, here: Place, bound: Mapping[str, Place]
    ) -> sa.ColumnElement[bool]:
        left = self._term(node.left, here, bound)
        if isinstance(node.comparator, ast.In):
            if not isinstance(node.right, ast.List):
                raise BadQuery("in needs a list")
            items = [self._term(item, here, bound) for item in node.right.val]
            return sa.or_(
                sa.false(), *(a.sql == b.sql for a, b in (_alike(left, item) for item in items))
            )
        right = self._term(node.right, here, bound)
        if "null" in (left.kind, right.kind):
            other = left if right.kind == "null" else right
            if other.kind == "null":
                return sa.true() if isinstance(node.comparator, ast.Eq) else sa.false()
            return _against_null(node.comparator, other.sql)
        left, right = _alike(left, right)
        compare = _COMPARE.get(type(node.comparator))
        if compare is None:
            raise BadQuery(f"{type(node.comparator).__name__} is not supported")
        if isinstance(node.comparator, ast.NotEq) and "null" not in (left.kind, right.kind):
            # "is not x" also holds where there is nothing
            return sa.or_(left.sql != right.sql, left.sql.is_(None))
        condition: sa.ColumnElement[bool] = compare(left.sql, right.sql)
        return condition

    def _term(self, node: ast._Node, here: Place, bound: Mapping[str, Place]) -> Term:
        match node:
            case ast._Literal():  # noqa: SLF001  # the library's base class of all literals
                return _literal(node)
            case ast.Identifier() | ast.Attribute():
                return self._path(_path_of(node), here, bound)
            case ast.Call():
                return self._call(node, here, bound)
            case ast.BinOp():
                left, right = (self._term(side, here, bound) for side in (node.left, node.right))
                return compute(node.op, left, right)
            case ast.UnaryOp() if isinstance(node.op, ast.USub):
                return negated(self._term(node.operand, here, bound))
            case ast.BoolOp() | ast.Compare() | ast.CollectionLambda() | ast.UnaryOp():
                return Term(self.condition(node, here, bound), "boolean", True)
            case _:
                raise BadQuery(f"{_words(node)} is not supported")

    def _path(self, path: list[str], here: Place, bound: Mapping[str, Place]) -> Term:
        if path[0] in bound:
            here, path = bound[path[0]], path[1:] or ["id"]
        return self.value(path, here)

    def value(self, path: list[str], here: Place) -> Term:
        """The field at the end of a path, seen from a row.

        Raises:
            BadQuery: there is no such path.
        """
        if len(path) == 1:
            found = here.resource.by_name.get(path[0])
            if found is None and path[0] in NAVIGATIONS[here.resource.name]:
                return self.value([path[0], "id"], here)
            found = field_of(here.resource, path[0])
            return Term(here.table.c[found.name], found.kind)
        there, joined = self.across(path[0], here)
        if path[1] == COUNT:
            query = sa.select(sa.func.count()).select_from(there.table).where(joined)
            return Term(query.scalar_subquery(), "integer")
        term = self.value(path[1:], there)
        return Term(sa.select(term.sql).where(joined).limit(1).scalar_subquery(), term.kind)

    def across(self, name: str, here: Place) -> tuple[Place, sa.ColumnElement[bool]]:
        """Where a navigation leads, and the condition that joins and guards it.

        Raises:
            BadQuery: there is no such navigation.
        """
        step = navigation_of(here.resource, name)
        there = place(step.target)
        local, remote = here.table.c[step.local], there.table.c[step.remote]
        if step.through is None:
            joined = remote == local
        else:
            between = TABLES[step.through[0]].alias()
            joined = remote.in_(
                sa.select(between.c[step.through[2]]).where(between.c[step.through[1]] == local)
            )
        guard = self._access(there)
        return there, joined if guard is None else sa.and_(joined, guard)

    def _lambda(
        self, node: ast.CollectionLambda, here: Place, bound: Mapping[str, Place]
    ) -> sa.ColumnElement[bool]:
        path = _path_of(node.owner)
        if path[0] in bound:
            here, path = bound[path[0]], path[1:]
        if len(path) != 1:
            raise BadQuery(f"{'/'.join(path)}: any and all take one navigation")
        there, joined = self.across(path[0], here)
        if node.lambda_ is None:
            return sa.exists(sa.select(1).select_from(there.table).where(joined))
        inner = {**bound, node.lambda_.identifier.name: there}
        holds = self.condition(node.lambda_.expression, here, inner)
        if isinstance(node.operator, ast.All):
            return ~sa.exists(sa.select(1).select_from(there.table).where(joined, ~holds))
        return sa.exists(sa.select(1).select_from(there.table).where(joined, holds))

    def _call(self, node: ast.Call, here: Place, bound: Mapping[str, Place]) -> Term:
        terms = [self._term(item, here, bound) for item in node.args]
        return call(node.func.name, terms, now_ms=self._now_ms)


def _against_null(comparator: ast._Node, value: Any) -> sa.ColumnElement[bool]:
    found: sa.ColumnElement[bool] = sa.false()
    if isinstance(comparator, ast.Eq):
        found = value.is_(None)
    elif isinstance(comparator, ast.NotEq):
        found = value.is_not(None)
    return found


def _literal(node: ast._Node) -> Term:
    match node:
        case ast.Null():
            return Term(sa.null(), "null")
        case ast.Integer():
            value = int(node.val)
            if abs(value) > LARGEST:
                raise BadQuery(f"{node.val[:30]} is too large")
            return Term(sa.literal(value, sa.BigInteger), "integer", value)
        case ast.Float():
            return Term(sa.literal(float(node.val)), "real", float(node.val))
        case ast.Boolean():
            truth = node.val == "true"
            return Term(sa.true() if truth else sa.false(), "boolean", truth)
        case ast.String() | ast.GUID():
            if "\0" in node.val:
                raise BadQuery("a text must not hold NUL")
            return Term(sa.literal(node.val), "text", node.val)
        case ast.DateTime() | ast.Date():
            at_ms = instant_ms(node.val)
            return Term(sa.literal(at_ms, sa.BigInteger), "date", at_ms)
        case ast.Duration():
            return duration(node)
        case ast.Time():
            return time_of_day(node)
        case _:
            raise BadQuery(f"{_words(node)} is not supported")


def _path_of(node: ast._Node) -> list[str]:
    match node:
        case ast.Identifier():
            return [node.name]
        case ast.Attribute():
            return [*_path_of(node.owner), node.attr]
        case _:
            raise BadQuery(f"{_words(node)} is not a path")


def _alike(left: Term, right: Term) -> tuple[Term, Term]:
    """Both sides as the same kind: a text next to a date is a date."""
    if left.kind == "date":
        right = as_moment(right)
    elif right.kind == "date":
        left = as_moment(left)
    groups = {group(left.kind), group(right.kind)}
    if len(groups) != 1:
        raise BadQuery(f"a {left.kind} cannot be compared with a {right.kind}")
    return left, right


def _words(node: ast._Node) -> str:
    return type(node).__name__.lower()
