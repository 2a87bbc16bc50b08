"""What OData computes: functions and arithmetic as SQL that means the same in every database.

A moment is ms since 1970 in UTC, a duration ms, a time of day ms since midnight; all are whole
numbers in SQL, told apart by their kind.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from odata_query import ast
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from .odata_text import BadQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WHOLE = ("integer", "big", "ref")
NUMBERS = (*_WHOLE, "real")
LARGEST = 2**63 - 1
_SECOND_MS, _MINUTE_MS, _HOUR_MS, _DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""``0001-01-01T00:00:00Z`` and the last ms of the year 9999: ``mindatetime``, ``maxdatetime``."""
_TEXT_MAX = 1_000_000_000
"""No text is longer than what PostgreSQL keeps; its ``substr`` counts in 32 bits."""


class Term(NamedTuple):
    """An expression and what kind of value it is; ``literal`` where a client gave it."""

    sql: Any
    kind: str
    literal: Any = None


def whole(value: int) -> Any:
    """A whole number as a parameter."""
    return sa.literal(value, sa.BigInteger)


def instant_ms(text: str) -> int:
    """A moment in ISO 8601 (no zone: UTC) as ms.

    Raises:
        BadQuery: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise BadQuery(f"{text[:40]!r} is not a date") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)


def as_moment(term: Term) -> Term:
    """A text that a client wrote where a date is wanted; anything else as it is.

    Raises:
        BadQuery: the text is no date.
    """
    if term.kind != "text" or term.literal is None:
        return term
    return Term(whole(instant_ms(term.literal)), "date")


def group(kind: str) -> str:
    """What can be compared with each other."""
    return "number" if kind in NUMBERS else kind


# --- arithmetic ----------------------------------------------------------------------------------

_OPERATIONS: Mapping[type, str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Mod: "mod",
}
_OF_TIME: Mapping[tuple[str, str, str], str] = {
    ("date", "add", "duration"): "date",
    ("duration", "add", "date"): "date",
    ("date", "sub", "duration"): "date",
    ("date", "sub", "date"): "duration",
    ("duration", "add", "duration"): "duration",
    ("duration", "sub", "duration"): "duration",
    ("duration", "mul", "number"): "duration",
    ("number", "mul", "duration"): "duration",
    ("duration", "div", "number"): "duration",
}


def compute(operator: ast._Node, left: Term, right: Term) -> Term:
    """``left <operator> right``; whole numbers are divided to a whole one, by 0 to nothing.

    Raises:
        BadQuery: these kinds do not go together.
    """
    name = _OPERATIONS.get(type(operator), "")
    kinds = group(left.kind), group(right.kind)
    kind = _OF_TIME.get((kinds[0], name, kinds[1]))
    real = "real" in (left.kind, right.kind)
    if kinds == ("number", "number"):
        kind = "real" if real else "integer"
    if kind is None or (real and (kind == "duration" or name == "mod")):
        raise BadQuery(f"{left.kind} {name} {right.kind} cannot be computed")
    a, b = left.sql, right.sql
    match name:
        case "add":
            return Term(a + b, kind)
        case "sub":
            return Term(a - b, kind)
        case "mul":
            return Term(a * b, kind)
        case _ if right.literal == 0:
            raise BadQuery(f"{name} needs a number that is not 0")
        case "mod":
            return Term(a % _but_zero(b), kind)
        case _:
            return Term(a / _but_zero(b) if real else a // _but_zero(b), kind)


def _but_zero(number: Any) -> Any:
    """SQLite gives nothing for a division by 0 and PostgreSQL an error: nothing for both."""
    return sa.func.nullif(number, 0, type_=number.type)


def negated(term: Term) -> Term:
    """``-term``.

    Raises:
        BadQuery: it is no number and no duration.
    """
    if term.kind != "duration" and term.kind not in NUMBERS:
        raise BadQuery(f"a {term.kind} has no opposite")
    return Term(-term.sql, term.kind)


def duration(node: ast.Duration) -> Term:
    """``duration'P1DT2H3M4.5S'``.

    Raises:
        BadQuery: it counts in months or years, or is too long.
    """
    sign, years, months, *rest = node.unpack()
    if years or months:
        raise BadQuery("a duration has days, hours, minutes and seconds: months differ")
    units = (_DAY_MS, _HOUR_MS, _MINUTE_MS, _SECOND_MS)
    span_ms = round(sum(float(part or 0) * unit for part, unit in zip(rest, units, strict=True)))
    if span_ms > LAST_MS:
        raise BadQuery("a duration is longer than there are dates")
    return Term(whole(-span_ms if sign == "-" else span_ms), "duration")


def time_of_day(node: ast.Time) -> Term:
    """``10:30:00``."""
    at = node.py_val
    seconds = at.hour * 3_600 + at.minute * 60 + at.second
    return Term(whole(seconds * 1_000 + at.microsecond // 1_000), "time")


# --- what databases have different words for -----------------------------------------------------


class _Part(FunctionElement[int]):
    """Year, month or day of a moment, in seconds since 1970."""

    type = sa.BigInteger()
    inherit_cache = True


class _Index(FunctionElement[int]):
    """Where a text first holds another, from 1; 0: nowhere."""

    type = sa.BigInteger()
    inherit_cache = True


_STRFTIME: Mapping[str, str] = {"year": "%Y", "month": "%m", "day": "%d"}


@compiles(_Part, "sqlite")
def _part_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    name, seconds = element.clauses
    text = compiler.process(seconds, **options)
    form = _STRFTIME[name.text].replace("%", "%%" if compiler.preparer._double_percents else "%")  # noqa: SLF001  # as SQLAlchemy's own compilers do
    return f"CAST(strftime('{form}', {text}, 'unixepoch') AS INTEGER)"


@compiles(_Part, "postgresql")
def _part_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    name, seconds = element.clauses
    text = compiler.process(seconds, **options)
    moment = f"to_timestamp(CAST({text} AS DOUBLE PRECISION)) AT TIME ZONE 'UTC'"
    return f"CAST(EXTRACT({name.text} FROM {moment}) AS BIGINT)"


@compiles(_Index, "sqlite")
def _index_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(_Index, "postgresql")
def _index_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


# --- functions -----------------------------------------------------------------------------------


def _within(number: Any, size_ms: int) -> Any:
    """The rest of a division that is never negative."""
    return (number % size_ms + size_ms) % size_ms


def _calendar(name: str) -> Callable[[Term], Term]:
    def found(moment: Term) -> Term:
        seconds = (moment.sql - _within(moment.sql, _SECOND_MS)) // _SECOND_MS
        part = _Part(sa.text(name), seconds)
        # beyond these the databases differ, and one refuses
        known = moment.sql.between(whole(FIRST_MS), whole(LAST_MS))
        return Term(sa.case((known, part)), "integer")

    return found


def _clock(size_ms: int, unit_ms: int) -> Callable[[Term], Term]:
    return lambda moment: Term(_within(moment.sql, size_ms) // unit_ms, "integer")


def _clamped(number: Any) -> Any:
    """A place in a text: not before its begin, and of the 32 bits that ``substr`` takes."""
    inside = sa.case((number < 0, 0), (number > _TEXT_MAX, _TEXT_MAX), else_=number)
    return sa.cast(inside, sa.Integer)


def _contains(text: Term, part: Term) -> Term:
    found = sa.func.replace(text.sql, part.sql, "") != text.sql
    # of nothing nothing is known, not even that it holds the empty text
    empty = sa.and_(part.sql == "", sa.func.length(text.sql) >= 0)
    return Term(sa.or_(found, empty), "boolean", True)


def _startswith(text: Term, part: Term) -> Term:
    head = sa.func.substr(text.sql, 1, sa.func.length(part.sql))
    return Term(head == part.sql, "boolean", True)


def _endswith(text: Term, part: Term) -> Term:
    length, size = sa.func.length(text.sql), sa.func.length(part.sql)
    tail = sa.func.substr(text.sql, length - size + 1)
    return Term(sa.and_(length >= size, tail == part.sql), "boolean", True)


def _substring(text: Term, first: Term, length: Term | None = None) -> Term:
    places = [_clamped(first.sql) + 1]
    if length is not None:
        places.append(_clamped(length.sql))
    return Term(sa.func.substr(text.sql, *places, type_=sa.Text), "text")


def _rounded(number: Term) -> Term:
    """Halves away from 0, as OData wants."""
    if number.kind in _WHOLE:
        return number
    size = sa.func.floor(sa.func.abs(number.sql) + 0.5)
    return Term(sa.case((number.sql < 0, -size), else_=size), "real")


def _to_whole(function: Any) -> Callable[[Term], Term]:
    return lambda number: (
        number if number.kind in _WHOLE else Term(function(number.sql, type_=sa.Float), "real")
    )


def _seconds(span_ms: Any) -> Term:
    return Term(sa.cast(span_ms, sa.Float) / 1_000.0, "real")


_Function = tuple[tuple[str, ...], "Callable[..., Term]"]
_FUNCTIONS: Mapping[tuple[str, int], _Function] = {
    ("contains", 2): (("text", "text"), _contains),
    ("startswith", 2): (("text", "text"), _startswith),
    ("endswith", 2): (("text", "text"), _endswith),
    ("tolower", 1): (("text",), lambda text: Term(sa.func.lower(text.sql), "text")),
    ("toupper", 1): (("text",), lambda text: Term(sa.func.upper(text.sql), "text")),
    ("trim", 1): (("text",), lambda text: Term(sa.func.trim(text.sql), "text")),
    ("length", 1): (
        ("text",),
        lambda text: Term(sa.func.length(text.sql, type_=sa.BigInteger), "integer"),
    ),
    ("concat", 2): (("text", "text"), lambda a, b: Term(a.sql.concat(b.sql), "text")),
    ("indexof", 2): (("text", "text"), lambda a, b: Term(_Index(a.sql, b.sql) - 1, "integer")),
    ("substring", 2): (("text", "number"), _substring),
    ("substring", 3): (("text", "number", "number"), _substring),
    ("year", 1): (("date",), _calendar("year")),
    ("month", 1): (("date",), _calendar("month")),
    ("day", 1): (("date",), _calendar("day")),
    ("hour", 1): (("date",), _clock(_DAY_MS, _HOUR_MS)),
    ("minute", 1): (("date",), _clock(_HOUR_MS, _MINUTE_MS)),
    ("second", 1): (("date",), _clock(_MINUTE_MS, _SECOND_MS)),
    ("fractionalseconds", 1): (("date",), lambda at: _seconds(_within(at.sql, _SECOND_MS))),
    ("totaloffsetminutes", 1): (("date",), lambda at: Term(at.sql - at.sql, "integer")),
    ("date", 1): (("date",), lambda at: Term(at.sql - _within(at.sql, _DAY_MS), "date")),
    ("time", 1): (("date",), lambda at: Term(_within(at.sql, _DAY_MS), "time")),
    ("totalseconds", 1): (("duration",), lambda span: _seconds(span.sql)),
    ("mindatetime", 0): ((), lambda: Term(whole(FIRST_MS), "date")),
    ("maxdatetime", 0): ((), lambda: Term(whole(LAST_MS), "date")),
    ("round", 1): (("number",), _rounded),
    ("floor", 1): (("number",), _to_whole(sa.func.floor)),
    ("ceiling", 1): (("number",), _to_whole(sa.func.ceil)),
}
"""By name and number of arguments: what these must be, and what becomes of them."""


def call(name: str, terms: list[Term], *, now_ms: int) -> Term:
    """A function of OData.

    Args:
        name: its name, in OData's words.
        terms: its arguments.
        now_ms: what ``now()`` is, since 1970.

    Raises:
        BadQuery: there is no such function, or it does not take these.
    """
    if (name, len(terms)) == ("now", 0):
        return Term(whole(now_ms), "date")
    kinds, function = _FUNCTIONS.get((name, len(terms)), (None, None))
    if kinds is None or function is None:
        raise BadQuery(f"{name} with {len(terms)} arguments is not supported")
    terms = [
        as_moment(term) if wanted == "date" else term
        for term, wanted in zip(terms, kinds, strict=True)
    ]
    if [group(term.kind) for term in terms] != list(kinds):
        told = ", ".join(term.kind for term in terms)
        raise BadQuery(f"{name} takes {', '.join(kinds)}, not {told}")
    return function(*terms)
