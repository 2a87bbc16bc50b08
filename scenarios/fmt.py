"""Scenario files in one shape: steps on a line, keys in one order, comments where they were.

ruamel.yaml reads and writes the file with its comments; here is only what goes where.  A result
that would not mean the same is never given.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from .errors import InputError
from .mistakes import keys_of
from .sections import EXPECTATIONS, ExpectLine
from .yaml_text import parse_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH = 120
"""Columns of a line."""
_FIRST = ("at", "every", "repeat", "until", "spread", "do")
_LAST = ("on", "id", "note")
_EXPECT = (*EXPECTATIONS, *(key for key in keys_of(ExpectLine) if key not in EXPECTATIONS))
_APART = re.compile(r"(timeline|expect):")
"""Sections with an empty line before them."""


def formatted(text: str, path: Path) -> str:
    """The text in shape; ``path`` names it in messages.

    Raises:
        InputError: the text is no YAML, or cannot be written without changing what it means.
    """
    before = parse_document(text, path)
    if before.repeated:
        raise before.repeated[0]
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _null)
    try:
        root = yaml.load(text)
    except YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"cannot be formatted: {problem}", path) from None
    if isinstance(root, CommentedMap):
        _shape(root)
    out = io.StringIO()
    yaml.dump(root, out)
    after = _spaced(out.getvalue())
    if parse_document(after, path).data != before.data:
        raise InputError("cannot be formatted without changing what it means", path)
    return after


def _null(representer: Any, _: None) -> Any:
    """``null``, which says that nothing is meant, not an empty place."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _shape(root: CommentedMap) -> None:
    """Each section as it is best read."""
    for key, value in root.items():
        if key == "timeline" and isinstance(value, CommentedSeq):
            _block(value)
            for step in value:
                _step(step, indent=4)
        elif key == "expect" and isinstance(value, CommentedSeq):
            _block(value)
            for line in value:
                _expectation(line)
        elif key in ("params", "fleets", "groups") and isinstance(value, CommentedMap):
            _block(value)
            for name, item in value.items():
                _fit(item, 4 + len(str(name)))
        else:
            _fit(value, len(key) + 2)


def _step(step: Any, *, indent: int) -> None:
    """A step on one line where it fits; repeated steps below each other."""
    if not isinstance(step, CommentedMap):
        return
    if "steps" in step and isinstance(step["steps"], CommentedSeq):
        _reorder(step, ("at", "every", "repeat", "until", "note", "steps"))
        _block(step)
        _block(step["steps"])
        for inner in step["steps"]:
            _step(inner, indent=indent + 4)
        return
    middle = [key for key in step if key not in _FIRST and key not in _LAST]
    _reorder(step, (*_FIRST, *middle, *_LAST))
    _fit(step, indent)


def _expectation(line: Any) -> None:
    """An expectation: what, then when and for whom, a line each."""
    if isinstance(line, CommentedMap):
        _reorder(line, _EXPECT)
        _block(line)
        for key, value in line.items():
            _fit(value, 6 + len(key))


def _fit(value: Any, indent: int) -> None:
    """On one line, if it fits behind ``indent`` columns and has no comment inside."""
    if not isinstance(value, CommentedMap | CommentedSeq):
        return
    flat = _flat(value)
    if flat is not None and indent + len(flat) <= WIDTH:
        _flow(value)
        return
    _block(value)
    items = value.items() if isinstance(value, CommentedMap) else enumerate(value)
    for key, item in items:
        _fit(item, indent + 2 + len(str(key)))


def _flat(value: Any) -> str | None:
    """A value on one line; ``None`` where a comment or a text of more lines forbids it."""
    if isinstance(value, CommentedMap | CommentedSeq):
        if value.ca.items or value.ca.comment:
            return None
        if isinstance(value, CommentedMap) and any("\n" in str(key) for key in value):
            return None
        rows = (
            [(f"{key}: ", item) for key, item in value.items()]
            if isinstance(value, CommentedMap)
            else [("", item) for item in value]
        )
        parts = [(name, _flat(item)) for name, item in rows]
        if any(part is None for _, part in parts):
            return None
        return f"{{{', '.join(f'{name}{part}' for name, part in parts)}}}"
    text = str(value)
    if "\n" in text:
        return None
    return f'"{text}"' if isinstance(value, str) and type(value) is not str else text


def _flow(value: Any) -> None:
    if isinstance(value, CommentedMap | CommentedSeq):
        value.fa.set_flow_style()
        for item in value.values() if isinstance(value, CommentedMap) else value:
            _flow(item)


def _block(value: Any) -> None:
    if len(value):
        value.fa.set_block_style()


def _reorder(mapping: CommentedMap, order: Sequence[str]) -> None:
    """Keys in an order; unknown ones stay at the end, comments with the keys they follow."""
    if mapping.ca.items or mapping.ca.comment:
        return  # a comment between keys says something about its place
    wanted = [key for key in order if key in mapping]
    for key in [*wanted, *(key for key in mapping if key not in order)]:
        mapping.move_to_end(key)


def _spaced(text: str) -> str:
    """One empty line before the timeline and the expectations, none doubled."""
    lines: list[str] = []
    for line in text.splitlines():
        bare = line.rstrip()
        if not bare and (not lines or not lines[-1]):
            continue
        if _APART.match(bare) and lines and lines[-1] and not lines[-1].startswith("#"):
            lines.append("")
        lines.append(bare)
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(lines) + "\n"
