"""The text of an OData request: keys, options and nested expands; no table is looked at here.

``$filter`` is parsed by the library ``odata-query``; what surrounds it (options inside ``$expand``,
alternate keys, PineJS's ``/$count``) is split here at brackets and quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from odata_query.exceptions import ODataException
from odata_query.grammar import ODataLexer, ODataParser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from odata_query import ast

COUNT = "_fieldbeat_count"
"""How ``$count`` is written where the grammar of the library has no place for it."""
MAX_TEXT = 20_000
MAX_DEPTH = 8
_QUOTED = re.compile(r"'(?:[^']|'')*'")
_LIST_OF_ONE = re.compile(r"(\bin\s*\(\s*(?:'(?:[^']|'')*'|[^,()']+))\s*\)|'(?:[^']|'')*'")
"""A list of one, which the grammar wants with a comma; or a text, to be left alone."""
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\((.*)\))?", re.DOTALL)
_PART = re.compile(r"\s*(@?[A-Za-z_]\w*)\s*=\s*(.+)", re.DOTALL)
_NUMBER = re.compile(r"-?\d+")


class BadQuery(Exception):  # noqa: N818  # it is the client's mistake, told to the client
    """The request cannot be understood; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of one resource."""

    select: tuple[str, ...] | None = None
    where: ast._Node | None = None
    order: tuple[tuple[tuple[str, ...], bool], ...] = ()
    """Paths, and whether descending."""
    top: int | None = None
    skip: int = 0
    expand: Mapping[str, Options] = field(default_factory=dict)
    count: bool = False
    """Only how many there are."""


def split(text: str, separator: str) -> Iterator[str]:
    """Parts of ``text`` between separators that stand outside brackets and quotes."""
    depth, quoted, start = 0, False, 0
    for at, char in enumerate(text):
        if char == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth < 0:
                raise BadQuery(f"unbalanced bracket in {text!r}")
        elif char == separator and depth == 0:
            yield text[start:at]
            start = at + 1
    if depth or quoted:
        raise BadQuery(f"unbalanced {'quote' if quoted else 'bracket'} in {text!r}")
    yield text[start:]


def _outside_quotes(text: str) -> str:
    """Forms of PineJS that the library's grammar lacks, outside of strings."""
    text = _LIST_OF_ONE.sub(lambda found: f"{found[1]},)" if found[1] else found[0], text)
    parts, at = [], 0
    for found in _QUOTED.finditer(text):
        parts += [_adapted(text[at : found.start()]), found.group()]
        at = found.end()
    return "".join([*parts, _adapted(text[at:])])


def _adapted(text: str) -> str:
    text = text.replace("/$count", f"/{COUNT}").removesuffix("datetime")
    return re.sub(r"\bnot\(", "not (", text)


def parse_filter(text: str) -> ast._Node:
    """The tree of a ``$filter``.

    Raises:
        BadQuery: it is no filter.
    """
    if len(text) > MAX_TEXT:
        raise BadQuery(f"$filter is longer than {MAX_TEXT} characters")
    if _depth(text) > 10 * MAX_DEPTH:
        raise BadQuery("$filter is nested too deeply")
    try:
        found = ODataParser().parse(ODataLexer().tokenize(_outside_quotes(text)))
    except (ODataException, RecursionError) as error:
        raise BadQuery(f"$filter: {error}") from None
    if found is None:
        raise BadQuery("$filter is empty")
    tree: ast._Node = found
    return tree


def _depth(text: str) -> int:
    deepest = depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    return deepest


def _order(text: str) -> tuple[tuple[tuple[str, ...], bool], ...]:
    found = []
    for part in split(text, ","):
        match part.split():
            case [path]:
                descending = False
            case [path, ("asc" | "desc") as way]:
                descending = way == "desc"
            case _:
                raise BadQuery(f"$orderby: {part.strip()!r} is not <field> asc|desc")
        found.append((tuple(path.replace("$count", COUNT).split("/")), descending))
    return tuple(found)


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise BadQuery(f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


def parse_options(given: Mapping[str, str], depth: int = 0) -> Options:
    """The options of a query string or of an expand.

    Raises:
        BadQuery: an option is unknown or malformed.
    """
    if depth > MAX_DEPTH:
        raise BadQuery(f"$expand is nested deeper than {MAX_DEPTH}")
    known: dict[str, Any] = {}
    for name, text in given.items():
        match name:
            case "$select":
                names = tuple(part.strip() for part in text.split(","))
                known["select"] = None if names == ("*",) else names
            case "$filter":
                known["where"] = parse_filter(text)
            case "$orderby":
                known["order"] = _order(text)
            case "$top":
                known["top"] = _whole(name, text)
            case "$skip":
                known["skip"] = _whole(name, text)
            case "$expand":
                known["expand"] = dict(_expands(text, depth))
            case "$count" | "$format":
                pass
            case _ if name.startswith("$"):
                raise BadQuery(f"unknown option {name}")
            case _:
                pass  # ``apikey`` and the like
    return Options(**known)


def _expands(text: str, depth: int) -> Iterator[tuple[str, Options]]:
    if len(text) > MAX_TEXT:
        raise BadQuery(f"$expand is longer than {MAX_TEXT} characters")
    for part in split(text, ","):
        name, bracket, rest = part.strip().partition("(")
        options = Options()
        if bracket:
            separator = ";" if ";" in rest else "&"
            inner = (item.strip() for item in split(rest.strip()[:-1], separator))
            pairs = dict(item.partition("=")[::2] for item in inner if item)
            options = parse_options(pairs, depth + 1)
        if name.endswith("/$count"):
            name = name.removesuffix("/$count")
            options = Options(where=options.where, count=True)
        if not name:
            raise BadQuery("$expand: a name is missing")
        yield name, options


def parse_key(text: str, aliases: Mapping[str, str]) -> tuple[str, dict[str, int | str] | None]:
    """``device(uuid='…')`` → the resource and its key; ``None`` where no row is named.

    Args:
        text: the last part of the path, decoded.
        aliases: query parameters that begin with ``@``.

    Raises:
        BadQuery: the key cannot be understood.
    """
    found = _KEY.fullmatch(text)
    if found is None:
        raise BadQuery(f"{text[:60]!r} is not a resource")
    name, key = found.groups()
    if key is None:
        return name, None
    parts = list(split(key, ","))
    if len(parts) == 1 and _PART.fullmatch(parts[0]) is None:
        return name, {"id": _value(parts[0], aliases)}
    keys: dict[str, int | str] = {}
    for part in parts:
        pair = _PART.fullmatch(part)
        if pair is None:
            raise BadQuery(f"key {part!r} is not <field>=<value>")
        keys[pair.group(1)] = _value(pair.group(2), aliases)
    return name, keys


def _value(text: str, aliases: Mapping[str, str]) -> int | str:
    text = text.strip()
    if text.startswith("@"):
        if text not in aliases:
            raise BadQuery(f"parameter {text} is missing")
        text = aliases[text].strip()
    if _NUMBER.fullmatch(text):
        return int(text)
    if _QUOTED.fullmatch(text):
        return text[1:-1].replace("''", "'")
    raise BadQuery(f"key value {text[:60]!r} is neither a number nor a quoted text")
