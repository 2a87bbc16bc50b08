"""YAML 1.2 text → plain values with the place of each; every way a file can be unreadable.

PyYAML's parser gives the events; values follow the core schema of YAML 1.2, so ``on``, ``off``,
``yes`` and ``no`` are words.  Nothing here recurses with the input, and size, depth and the number
of values (aliases repeat them) are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from .errors import InputError
from .model import Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LARGEST_FILE = 1_048_576
"""Bytes."""
DEEPEST = 40
MOST_VALUES = 200_000
_TOO_DEEP = f"nested deeper than {DEEPEST} levels"

ValuePath = tuple[str | int, ...]
"""Keys and indexes from the top of a document to a value."""

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING_TAG = "tag:yaml.org,2002:str"
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Integer(int):
    """An integer that remembers how it was written."""

    text: str


class Real(float):
    """A real number that remembers how it was written."""

    text: str


@dataclass(slots=True)
class _Node:
    """A node as the events give it."""

    where: Where
    value: Any = None
    """Of a scalar."""
    items: list[_Node] | None = None
    """Of a sequence."""
    pairs: list[tuple[_Node, _Node]] | None = None
    """Of a mapping."""
    key: _Node | None = None
    """Of a mapping: the key that waits for its value."""
    open: bool = False
    """Its end has not come yet."""

    def add(self, child: _Node) -> None:
        """Take in the next child."""
        if self.items is not None:
            self.items.append(child)
        elif self.pairs is not None:
            if self.key is None:
                self.key = child
            else:
                self.pairs.append((self.key, child))
                self.key = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The values of a file and where each stands."""

    file: Path
    data: Any
    places: Mapping[ValuePath, Where]
    key_places: Mapping[ValuePath, Where]
    repeated: tuple[InputError, ...] = field(default=())
    """Keys that were written twice."""

    def where(self, path: ValuePath, *, key: bool = False) -> Where:
        """The place of the value (or of its key) at ``path``, or of the nearest value around it."""
        if key and path in self.key_places:
            return self.key_places[path]
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path, Where(line=1, column=1))


def read_document(path: Path) -> Document:
    """Read a file of one YAML document; raises ``InputError``."""
    return parse_document(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of the file, bounded."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(f"cannot be read: {reason}", path) from None
    if len(raw) > LARGEST_FILE:
        raise InputError("the file is larger than 1 MiB", path, hint="is it a scenario?")
    if b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise InputError("the file is binary", path, line, 1, "a scenario is YAML text in UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = raw.rfind(b"\n", 0, error.start) + 1
        line, column = raw.count(b"\n", 0, error.start) + 1, error.start - start + 1
        raise InputError("the file is not UTF-8", path, line, column, "save it as UTF-8") from None


def parse_document(text: str, path: Path) -> Document:
    """The one document in ``text``; raises ``InputError``."""
    try:
        root = _root(text, path)
    except yaml.YAMLError as error:
        raise _readable(error, text, path) from None
    return _Values(path).document(root)


def _readable(error: yaml.YAMLError, text: str, path: Path) -> InputError:
    """PyYAML's complaint in one line, with the remedy for the usual causes."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return InputError("a control character", path, line, 1, "remove it")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else 1
    column = mark.column + 1 if mark else 1
    lines = text.splitlines()
    context = getattr(error, "context_mark", None)
    started = context.line if context else line - 1
    around = lines[max(0, started - 1) : line]
    for number, content in enumerate(around, start=max(0, started - 1) + 1):
        if "\t" in content[: len(content) - len(content.lstrip())]:
            return InputError("a tab in the indentation", path, number, 1, "indent with blanks")
    problem = str(getattr(error, "problem", None) or "cannot be understood")
    if "nesting depth" in problem:
        # newer versions of libyaml have a bound of their own
        return InputError(_TOO_DEEP, path, line, column)
    hint = None
    if context and context.line + 1 != line and "flow" in str(getattr(error, "context", "")):
        problem += f"; the bracket opened in line {context.line + 1} is not closed"
        hint = "close it with } or ]"
    elif "mapping values are not allowed" in problem:
        hint = "put text that holds ': ' in quotes"
    elif "%" in problem or "'@'" in problem or "'`'" in problem:
        hint = "put it in quotes"
    return InputError(f"not valid YAML: {problem}", path, line, column, hint)


def _root(text: str, path: Path) -> _Node:
    """The node tree of the one document."""
    root: _Node | None = None
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    documents = 0
    for event in _events(text):
        where = Where(line=event.start_mark.line + 1, column=event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _at(where, path, "a second document", "one scenario a file, without ---")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop().open = False
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        node = _node(event, where, anchors, path)
        if stack:
            stack[-1].add(node)
        else:
            root = node
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(node)
            if len(stack) > DEEPEST:
                raise _at(where, path, _TOO_DEEP)
    if root is None or (root.items is None and root.pairs is None and root.value is None):
        raise InputError("the file is empty", path, 1, 1, "start with 'scenario: <name>'")
    return root


def _events(text: str) -> Iterator[Any]:
    """The parser's events; the two parsers' classes have no common type with a place."""
    loader = _PARSER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


def _at(where: Where, path: Path, message: str, hint: str | None = None) -> InputError:
    return InputError(message, path, where.line, where.column, hint)


def _node(event: Any, where: Where, anchors: dict[str, _Node], path: Path) -> _Node:
    """The node an event opens or names."""
    if isinstance(event, yaml.AliasEvent):
        target = anchors.get(event.anchor or "")
        if target is None:
            raise _at(where, path, f"*{event.anchor} refers to nothing", "write & before the value")
        if target.open:
            raise _at(where, path, f"*{event.anchor} contains itself")
        return target
    if event.tag not in (None, "!", _STRING_TAG):
        raise _at(where, path, f"tag {event.tag} is not used in scenarios", "remove it")
    if isinstance(event, yaml.ScalarEvent):
        plain = event.implicit[0] and event.tag is None
        node = _Node(where, plain_scalar(event.value) if plain else event.value)
    elif isinstance(event, yaml.SequenceStartEvent):
        node = _Node(where, items=[], open=True)
    else:
        node = _Node(where, pairs=[], open=True)
    if event.anchor:
        anchors[event.anchor] = node
    return node


def plain_scalar(text: str) -> Any:
    """The value of a plain scalar under the core schema of YAML 1.2."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.fullmatch(text):
        integer = Integer(text, 0) if text[:2] in ("0o", "0x") else Integer(text)
        integer.text = text
        return integer
    if _REAL.fullmatch(text):
        real = Real(text)
        real.text = text
        return real
    return text


class _Values:
    """Builds plain values and their places from nodes."""

    __slots__ = ("count", "key_places", "path", "places", "repeated")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[ValuePath, Where] = {}
        self.key_places: dict[ValuePath, Where] = {}
        self.repeated: list[InputError] = []
        self.count = 0

    def document(self, root: _Node) -> Document:
        """The document under ``root``."""
        data = self.value(root, ())
        return Document(
            file=self.path,
            data=data,
            places=self.places,
            key_places=self.key_places,
            repeated=tuple(self.repeated),
        )

    def value(self, node: _Node, path: ValuePath) -> Any:
        """The value of a node; depth is bounded by ``DEEPEST`` but for aliases, counted here."""
        self.count += 1
        if self.count > MOST_VALUES or len(path) > 2 * DEEPEST:
            raise _at(node.where, self.path, "too many values", "aliases repeat what they name")
        self.places[path] = node.where
        if node.items is not None:
            return [self.value(item, (*path, index)) for index, item in enumerate(node.items)]
        if node.pairs is not None:
            return self.mapping(node.pairs, path)
        return node.value

    def mapping(self, pairs: list[tuple[_Node, _Node]], path: ValuePath) -> dict[str, Any]:
        """A mapping; keys are text, and each stands once."""
        found: dict[str, Any] = {}
        for key_node, value_node in pairs:
            if key_node.items is not None or key_node.pairs is not None:
                raise _at(
                    key_node.where, self.path, "a key must be one word", "is a quote missing?"
                )
            key = _key(key_node.value)
            below = (*path, key)
            if key in found:
                first = self.key_places[below].line
                self.repeated.append(
                    _at(
                        key_node.where,
                        self.path,
                        f"'{key}' is written twice (first in line {first})",
                    )
                )
                continue
            self.key_places[below] = key_node.where
            found[key] = self.value(value_node, below)
        return found


def _key(value: Any) -> str:
    """A key's text, as written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(getattr(value, "text", value))
