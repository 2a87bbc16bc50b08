"""OData: any text is read or refused with words; a filter finds in SQL what it says."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_stub.store.odata_text import BadQuery, parse_filter, parse_key, parse_options
from cloud_stub.store.query import Filter, place
from cloud_stub.store.resources import METADATA, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECES = st.sampled_from(
    (
        *("$filter", "$expand", "device", "(", ")", "'", "''", ",", ";", "=", " eq ", " and "),
        *(" in ", "any", "d:", "d/", "/$count", "not(", "null", "1", "-", "2e9", "datetime'"),
        *("2026-11-23T10:00:00Z", "é", "\0", "\\", "%", "@a", "all(d:true)", "contains(", " "),
    )
)
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40)
OPTIONS = st.dictionaries(
    st.sampled_from(("$filter", "$expand", "$orderby", "$select", "$top", "$skip", "$count")),
    TEXTS,
    max_size=3,
)


@settings(max_examples=300)
@given(TEXTS)
def test_any_text_is_a_filter_or_a_refusal(text: str) -> None:
    with suppress(BadQuery):
        Filter(lambda _: None, now_ms=NOW_MS).condition(parse_filter(text), place("device"), {})


@settings(max_examples=200)
@given(OPTIONS, TEXTS)
def test_any_options_and_any_key_are_read_or_refused(options: dict[str, str], key: str) -> None:
    for read in (lambda: parse_options(options), lambda: parse_key(key, {})):
        with suppress(BadQuery):
            read()


# --- a filter against the same question asked in Python -----------------------------------------

NOW_MS = 1_795_000_000_000
Row = dict[str, Any]
Truth = bool | None
"""Of three-valued logic: ``None`` where nothing can be said."""
Question = tuple[str, "Callable[[Row], Truth]"]

NUMBERS = st.integers(-3, 3)
WORDS = st.sampled_from(("", "Idle", "idle", "it's", "Üb", "a b"))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "memory_usage": st.none() | NUMBERS,
            "cpu_usage": st.none() | NUMBERS,
            "status": st.none() | WORDS,
            "is_online": st.booleans(),
            "tags": st.lists(WORDS, max_size=3, unique=True),
        }
    ),
    max_size=6,
)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"


def _known(value: Any, say: Callable[[Any], bool]) -> Truth:
    return None if value is None else say(value)


@st.composite
def comparisons(draw: st.DrawFn) -> Question:
    name = draw(st.sampled_from(("memory_usage", "cpu_usage")))
    number, word = draw(NUMBERS), draw(st.sampled_from(sorted(COMPARE)))
    compare = COMPARE[word]
    return f"{name} {word} {number}", lambda row: _known(row[name], lambda v: compare(v, number))


@st.composite
def two_columns(draw: st.DrawFn) -> Question:
    word = draw(st.sampled_from(sorted(COMPARE)))
    return (
        f"memory_usage {word} cpu_usage",
        lambda row: _known(
            row["memory_usage"],
            lambda a: _known(row["cpu_usage"], lambda b: COMPARE[word](a, b)),  # type: ignore[arg-type,return-value]
        ),
    )


@st.composite
def texts(draw: st.DrawFn) -> Question:
    word = draw(WORDS)
    return draw(
        st.sampled_from(
            (
                (f"status eq {_quoted(word)}", lambda row: _known(row["status"], word.__eq__)),
                # unlike SQL's: "is not x" holds where there is nothing
                (f"status ne {_quoted(word)}", lambda row: row["status"] != word),
                ("status eq null", lambda row: row["status"] is None),
                ("status ne null", lambda row: row["status"] is not None),
                ("is_online", lambda row: row["is_online"]),
                ("is_online eq false", lambda row: not row["is_online"]),
                (
                    f"status in ({_quoted(word)},'Idle')",
                    lambda row: _known(row["status"], lambda v: v in (word, "Idle")),
                ),
                (
                    f"contains(status,{_quoted(word)})",
                    lambda row: _known(row["status"], lambda v: word in v),
                ),
                (
                    f"startswith(status,{_quoted(word)})",
                    lambda row: _known(row["status"], lambda v: v.startswith(word)),
                ),
                (
                    f"endswith(status,{_quoted(word)})",
                    lambda row: _known(row["status"], lambda v: v.endswith(word)),
                ),
                (
                    f"device_tag/any(t:t/tag_key eq {_quoted(word)})",
                    lambda row: word in row["tags"],
                ),
                (
                    f"device_tag/all(t:t/tag_key ne {_quoted(word)})",
                    lambda row: word not in row["tags"],
                ),
                ("device_tag/$count ge 2", lambda row: len(row["tags"]) >= 2),
            )
        )
    )


def _not(value: Truth) -> Truth:
    return None if value is None else not value


def _and(left: Truth, right: Truth) -> Truth:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _pairs(inner: st.SearchStrategy[Question]) -> st.SearchStrategy[Question]:
    both = st.tuples(inner, inner)
    return st.one_of(
        inner.map(lambda a: (f"not ({a[0]})", lambda row: _not(a[1](row)))),
        both.map(
            lambda p: (f"({p[0][0]}) and ({p[1][0]})", lambda r: _and(p[0][1](r), p[1][1](r)))
        ),
        both.map(
            lambda p: (
                f"({p[0][0]}) or ({p[1][0]})",
                lambda r: _not(_and(_not(p[0][1](r)), _not(p[1][1](r)))),
            )
        ),
    )


QUESTIONS = st.recursive(comparisons() | two_columns() | texts(), _pairs, max_leaves=5)


@pytest.fixture(scope="module")
def engine() -> Iterator[sa.Engine]:
    found = sa.create_engine("sqlite://")
    METADATA.create_all(found)
    yield found
    found.dispose()


BLANK = {
    column.name: 0
    for column in TABLES["device"].columns
    if not column.nullable and isinstance(column.type, sa.Boolean)
}


def _insert(connection: sa.Connection, rows: list[Row]) -> None:
    stamps = {"created_at": 0, "modified_at": 0}
    devices, tags = TABLES["device"], count(1)
    for number, row in enumerate(rows, 1):
        values = {name: value for name, value in row.items() if name != "tags"}
        device = {
            "id": number,
            "uuid": f"{number:032x}",
            "belongs_to__application": 1,
            "api_heartbeat_state": "online",
        }
        connection.execute(sa.insert(devices).values({**BLANK, **device, **stamps, **values}))
        for tag in row["tags"]:
            new = {"id": next(tags), "device": number, "tag_key": tag, "value": "", **stamps}
            connection.execute(sa.insert(TABLES["device_tag"]).values(**new))


@settings(max_examples=200)
@given(rows=ROWS, question=QUESTIONS)
def test_a_filter_finds_what_it_says(
    engine: sa.Engine, rows: list[Row], question: Question
) -> None:
    text, holds = question
    here = place("device")
    condition = Filter(lambda _: None, now_ms=NOW_MS).condition(parse_filter(text), here, {})
    with engine.connect() as connection:
        _insert(connection, rows)
        found = set(connection.scalars(sa.select(here.table.c.id).where(condition)))
        connection.rollback()
    assert found == {number for number, row in enumerate(rows, 1) if holds(row)}
