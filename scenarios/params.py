"""Parameters of a scenario file: ``params:``, what ``${name}`` stands for, and the variants.

A parameter has one value, a list of values (the file is a scenario for each: lists multiply), or a
mapping of named cases, each a mapping: ``${case}`` is the case's name, ``${case.wait}`` its value.
Everything is replaced before any section is read, so a parameter can stand anywhere in a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from .durations import suggest
from .mistakes import shown
from .yaml_text import plain_scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .mistakes import Mistakes
    from .model import Where
    from .yaml_text import Document, ValuePath

MOST_VARIANTS = 200
"""Scenarios one file may stand for."""
_NAME = re.compile(r"[A-Za-z_]\w*")
_USE = re.compile(r"\$\$\{|\$\{\s*([A-Za-z_]\w*)(?:\.([\w-]+))?\s*\}")
"""``$${`` is a plain ``${``."""

Given = Mapping[str, tuple[str, ...]]
"""What ``-p name=value`` says."""
NOTHING_GIVEN: Given = {}


class Choice(NamedTuple):
    """One value of a parameter."""

    label: str
    """What people call it: the value as written, or the case's name."""
    value: Any
    parts: Mapping[str, Any] | None
    """Of a case."""


class Param(NamedTuple):
    """A parameter and what it can be."""

    name: str
    choices: tuple[Choice, ...]
    cases: bool
    """Its choices are named cases."""


Variant = dict[str, Choice]
"""Parameter → its value in one scenario."""


def read_params(document: Document, mistakes: Mistakes) -> tuple[Param, ...]:
    """The parameters of a file, its mistakes noted."""
    written = document.data.get("params")
    if not isinstance(written, dict):
        return ()
    found = []
    for name, value in written.items():
        path = ("params", name)
        if not _NAME.fullmatch(name):
            mistakes.add(document, path, f"'{name}' is no name", "letters, digits and _", key=True)
            continue
        choices = _choices(document, path, value, mistakes)
        if choices:
            found.append(Param(name, choices, isinstance(value, dict)))
    return tuple(found)


def _choices(
    document: Document, path: ValuePath, value: Any, mistakes: Mistakes
) -> tuple[Choice, ...]:
    """What a parameter can be."""
    if isinstance(value, dict):
        for label, parts in value.items():
            if not isinstance(parts, dict):
                hint = "reject: {mode: reject, wait: 2s}"
                mistakes.add(document, (*path, label), "a case is a mapping of values", hint)
                return ()
        return tuple(Choice(label, label, parts) for label, parts in value.items())
    values = value if isinstance(value, list) else [value]
    if not values:
        mistakes.add(document, path, "the list of values is empty")
    for index, item in enumerate(values):
        if isinstance(item, dict | list):
            hint = "name the cases: {first: {a: 1}, second: {a: 2}}"
            mistakes.add(document, (*path, index), "a value of a list is one word", hint)
            return ()
    return tuple(Choice(shown(item), item, None) for item in values)


def variants(
    document: Document, params: Sequence[Param], given: Given, mistakes: Mistakes
) -> list[Variant]:
    """Every combination of what is asked for; at least one."""
    columns = []
    for param in params:
        asked = given.get(param.name)
        chosen = param.choices if asked is None else _asked(document, param, asked, mistakes)
        columns.append([(param.name, choice) for choice in chosen])
    count = 1
    for column in columns:
        count *= len(column)
    if count > MOST_VARIANTS:
        text = f"the parameters multiply to {count} scenarios, at most {MOST_VARIANTS} are run"
        mistakes.add(document, ("params",), text, "shorten the lists")
        return [{name: choice for (name, choice), *_ in columns}]
    return [dict(row) for row in product(*columns)]


def _asked(
    document: Document, param: Param, asked: Iterable[str], mistakes: Mistakes
) -> tuple[Choice, ...]:
    """The choices that ``-p`` names; a plain parameter can be given any value."""
    known = {choice.label: choice for choice in param.choices}
    found = []
    for word in asked:
        if word in known:
            found.append(known[word])
        elif param.cases:
            hint = suggest(word, known) or f"cases: {', '.join(known)}"
            message = f"{param.name} has no case '{word}' (-p {param.name}={word})"
            mistakes.add(document, ("params", param.name), message, hint)
        else:
            found.append(Choice(word, plain_scalar(word), None))
    return tuple(found) or param.choices[:1]


def label_of(params: Sequence[Param], variant: Variant, given: Given) -> dict[str, str]:
    """What tells a variant from the file's others: the parameters that vary or were given."""
    return {
        param.name: variant[param.name].label
        for param in params
        if len(param.choices) > 1 or param.name in given
    }


def substituted(document: Document, variant: Variant, mistakes: Mistakes) -> Document:
    """The document with every ``${name}`` replaced, its values where they stood."""
    return _Substitution(document, variant, mistakes).document()


class _Substitution:
    """Replaces the parameters of one document."""

    __slots__ = ("key_places", "mistakes", "old", "places", "variant")

    def __init__(self, old: Document, variant: Variant, mistakes: Mistakes) -> None:
        self.old = old
        self.variant = variant
        self.mistakes = mistakes
        self.places: dict[ValuePath, Where] = {}
        self.key_places: dict[ValuePath, Where] = {}

    def document(self) -> Document:
        data = self._value(self.old.data, (), ())
        return replace(self.old, data=data, places=self.places, key_places=self.key_places)

    def _value(self, value: Any, path: ValuePath, new: ValuePath) -> Any:
        """A value and all below it; ``new`` is its path once keys are replaced."""
        if path in self.old.places:
            self.places[new] = self.old.places[path]
        if isinstance(value, dict):
            if path == ("params",):
                return value
            found = {}
            for key, item in value.items():
                below = (*path, key)
                name = str(self._text(key, below, key=True)) if "${" in key else key
                after = (*new, name)
                if below in self.old.key_places:
                    self.key_places[after] = self.old.key_places[below]
                found[name] = self._value(item, below, after)
            return found
        if isinstance(value, list):
            return [self._value(item, (*path, i), (*new, i)) for i, item in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return self._text(value, path)
        return value

    def _text(self, text: str, path: ValuePath, *, key: bool = False) -> Any:
        """A text with its parameters replaced; one that is a parameter alone keeps its type."""
        alone = _USE.fullmatch(text)
        if alone and alone[1]:
            return self._of(alone, path, key=key)

        def words(use: re.Match[str]) -> str:
            if use[1] is None:
                return "${"
            value = self._of(use, path, key=key)
            return value if isinstance(value, str) else shown(value)

        return _USE.sub(words, text)

    def _of(self, use: re.Match[str], path: ValuePath, *, key: bool) -> Any:
        """What ``${name}`` or ``${name.part}`` stands for; itself after a mistake was noted."""
        name, part = use[1], use[2]
        choice = self.variant.get(name)
        known: Iterable[str]
        if choice is None:
            known, message = self.variant, f"there is no parameter '{name}'"
        elif part is None:
            return choice.value
        elif choice.parts is None:
            self.mistakes.add(self.old, path, f"{name} has no parts", f"write ${{{name}}}", key=key)
            return use[0]
        elif part in choice.parts:
            return choice.parts[part]
        else:
            known, message = choice.parts, f"case '{choice.label}' of {name} has no '{part}'"
        word = name if choice is None else part
        hint = suggest(word, known) or f"known: {', '.join(known) or 'none (params:)'}"
        self.mistakes.add(self.old, path, message, hint, key=key)
        return use[0]
