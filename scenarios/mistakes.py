"""Collects every mistake of a file, and turns pydantic's complaints into readable ones."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from .durations import suggest
from .errors import InputError, InputErrors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .yaml_text import Document, ValuePath

_Model = TypeVar("_Model", bound=BaseModel)

_PLAIN = {
    "string_type": "text is needed here",
    "int_type": "a whole number is needed here",
    "int_parsing": "a whole number is needed here",
    "int_from_float": "a whole number is needed here",
    "bool_type": "true or false is needed here",
    "bool_parsing": "true or false is needed here",
    "dict_type": "a mapping (name: value) is needed here",
    "model_type": "a mapping (name: value) is needed here",
    "tuple_type": "a list is needed here",
    "string_too_short": "it is empty",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "string_too_long": "it is longer than {max_length} characters",
    "too_short": "it is empty",
    "string_pattern_mismatch": "use letters, digits, _ and -, and begin with a letter",
}
"""pydantic's type of an error → what is said."""


class Mistakes:
    """The mistakes found so far; ``stop`` raises them all."""

    __slots__ = ("found",)

    def __init__(self, found: Iterable[InputError] = ()) -> None:
        self.found: list[InputError] = [*found]

    def add(
        self,
        document: Document,
        path: ValuePath,
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
    ) -> None:
        """Note a mistake at a value (or at its key)."""
        where = document.where(path, key=key)
        self.found.append(InputError(message, document.file, where.line, where.column, hint))

    def stop(self) -> None:
        """Raise ``InputErrors`` if there are any, in the order of the lines."""
        if self.found:
            unique = {str(error): error for error in self.found}
            order = sorted(
                unique.values(), key=lambda e: (e.file or "", e.line or 0, e.column or 0)
            )
            raise InputErrors(order)

    def validate(
        self,
        model: type[_Model],
        document: Document,
        path: ValuePath,
        value: Any,
        what: str,
        names: Mapping[str, int] | None = None,
    ) -> _Model | None:
        """The model of a mapping, or ``None`` after its mistakes were noted."""
        if not isinstance(value, dict):
            self.add(document, path, f"{what} must be a mapping (name: value)")
            return None
        known = keys_of(model)
        meant: list[str] = []
        """Keys that unknown ones were probably meant to be."""
        for key in value:
            if key not in known:
                meant += difflib.get_close_matches(key, known, n=1)
                hint = suggest(key, known) or f"known: {', '.join(known)}"
                self.add(document, (*path, key), f"{what} has no '{key}'", hint, key=True)
        given = {key: item for key, item in value.items() if key in known}
        try:
            return model.model_validate(given, context={"file": True, "names": names or {}})
        except ValidationError as error:
            self._translate(model, error, document, path, what, meant)
            return None

    def _translate(
        self,
        model: type[BaseModel],
        error: ValidationError,
        document: Document,
        path: ValuePath,
        what: str,
        meant: Sequence[str],
    ) -> None:
        """Note pydantic's errors, one for each place; none that a misspelt key explains."""
        seen: set[ValuePath] = set()
        for row in error.errors(include_url=False):
            if meant and (not row["loc"] or row["loc"][0] in meant):
                continue
            below = (*path, *row["loc"])
            while below not in document.places and len(below) > len(path):
                missing = row["type"] in ("missing", "extra_forbidden")
                if missing and below[:-1] in document.places:
                    break
                below = below[:-1]
            if below in seen:
                continue
            seen.add(below)
            message, hint = _said(model, row, below[len(path) :], what)
            self.add(document, below, message, hint, key=row["type"] == "extra_forbidden")


def _said(
    model: type[BaseModel], row: Any, loc: tuple[str | int, ...], what: str
) -> tuple[str, str | None]:
    """The message and the hint for one of pydantic's errors."""
    words = [str(part) for part in loc if isinstance(part, str)]
    where = f"{what}: {'.'.join(words)}" if words else what
    kind, context = row["type"], row.get("ctx", {})
    if kind == "missing":
        return f"{what} needs '{'.'.join(words)}'", None
    if kind == "extra_forbidden":
        known = tuple(dict.fromkeys(key for m in _nested(model) for key in keys_of(m)))
        inside = f" ({'.'.join(words[:-1])})" if words[:-1] else ""
        return f"{what}{inside} has no '{words[-1]}'", suggest(words[-1], known)
    if kind == "literal_error":
        expected = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        choices = [choice.strip() for choice in expected.split(",")]
        given = row["input"]
        hint = suggest(given.lower(), choices) if isinstance(given, str) else None
        return f"{where} cannot be {shown(given)}", hint or f"one of {', '.join(choices)}"
    if kind == "value_error":
        text = str(row["msg"]).removeprefix("Value error, ")
        return f"{where}: {text}" if words or what else text, None
    said = _PLAIN.get(kind)
    if said is None:
        return f"{where}: {str(row['msg'])[:1].lower()}{str(row['msg'])[1:]}", None
    hint = "put it in quotes" if kind == "string_type" and _scalar(row["input"]) else None
    return f"{where}: {said.format(**context)}, not {shown(row['input'])}", hint


def _scalar(value: object) -> bool:
    return value is not None and not isinstance(value, list | dict)


def shown(value: object) -> str:
    """A value as it would stand in a file, cut to a bearable length."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        text = f"[{', '.join(shown(item) for item in value)}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {shown(item)}' for key, item in value.items())}}}"
    else:
        text = str(getattr(value, "text", value)) or "''"
    return text if len(text) <= 400 else f"{text[:399]}…"


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys a file may use for a model, in the order of its fields."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _nested(model: type[BaseModel]) -> Iterable[type[BaseModel]]:
    """The model and the models inside it."""
    yield model
    for field in model.model_fields.values():
        waiting = [field.annotation]
        while waiting:
            annotation = waiting.pop()
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from _nested(annotation)
            else:
                waiting.extend(get_args(annotation))
