"""Annotated types for what people write in scenario files: durations, sizes, rates, shares, lists.

Each turns a file's notation into base units (milliseconds, bytes, bytes per second, a fraction).
Validation takes a context: ``names`` are the durations a product name stands for, ``file`` says
that the value comes from a file, where a bare number is no duration.  Without it integers pass as
they are, so that code can build the models too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from .durations import DurationError, duration_ms

_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_BITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)(/s|ps)?\s*")
_LARGEST = 10**15


def _context(info: ValidationInfo) -> Mapping[str, Any]:
    return info.context if isinstance(info.context, Mapping) else {}


def _duration(value: object, info: ValidationInfo) -> object:
    """A duration as milliseconds."""
    context = _context(info)
    if isinstance(value, int) and not isinstance(value, bool):
        if value and context.get("file"):
            raise ValueError(f"{value} needs a unit: write {value}s, {value}m or {value}ms")
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration: write 90s, 10m, 1h30m, 2d or 500ms")
    try:
        return duration_ms(value, context.get("names", {}))
    except DurationError as error:
        raise ValueError(str(error)) from None


def size_of(value: object) -> int:
    """A size as bytes; raises ``ValueError``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    unit = _BYTES.get(match[2].lower()) if match else None
    if match is None or unit is None or match[3]:
        raise ValueError(
            f"{value!r} is not a size: write 20 MB, 512 kB, 1 GiB or a number of bytes"
        )
    return round(min(float(match[1]) * unit, _LARGEST))


def _rate(value: object) -> object:
    """A rate as bytes per second."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        unit = match[2].lower().removesuffix("ps" if not match[3] else "")
        if unit in _BITS:
            return round(min(float(match[1]) * _BITS[unit] / 8, _LARGEST))
        if unit in _BYTES and match[3]:
            return round(min(float(match[1]) * _BYTES[unit], _LARGEST))
    raise ValueError(f"{value!r} is not a rate: write 2mbit, 256kbit or 500 kB/s")


def share_of(value: object) -> float:
    """A share as a fraction; raises ``ValueError``."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        fraction = float(match[1]) / 100
    elif isinstance(value, int | float) and not isinstance(value, bool):
        fraction = float(value)
    else:
        raise ValueError(f"{value!r} is not a share: write 30% or 0.3")
    if not 0 <= fraction <= 1:
        hint = f": write {value}%" if isinstance(value, int) and 1 < value <= 100 else ""
        raise ValueError(f"a share lies between 0% and 100%, {value} does not{hint}")
    return fraction


def _listed(value: object) -> object:
    """One word or a list of words, as a tuple without repeats."""
    words = list(value) if isinstance(value, list | tuple) else [value]
    if not words:
        raise ValueError("the list is empty")
    return tuple(dict.fromkeys(words)) if all(isinstance(w, str) for w in words) else tuple(words)


def _text(value: object) -> object:
    """A scalar as the text that stands for it in a configuration variable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # a number of a file remembers its spelling (``yaml_text``)
    return str(getattr(value, "text", value)) if isinstance(value, int | float) else value


def _wall_clock(value: object) -> object:
    """A date or date and time (UTC unless it says otherwise) as milliseconds since 1970."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{value!r} is not a time: write 1970-01-01T00:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)


def _schema(description: str, *more: Mapping[str, Any]) -> WithJsonSchema:
    """What an editor is told about a notation."""
    text: dict[str, Any] = {"type": "string", "description": description}
    return WithJsonSchema({"anyOf": [text, *more]} if more else text)


_NUMBER = {"type": "number", "minimum": 0}
_ZERO = {"const": 0}
_DURATION = "A duration: 90s, 10m, 1h30m, 2d, 500ms, or an expression with names."

Ms = Annotated[int, Field(ge=0), BeforeValidator(_duration), _schema(_DURATION, _ZERO)]
"""A duration, not negative."""
PositiveMs = Annotated[int, Field(gt=0), BeforeValidator(_duration), _schema(_DURATION)]
"""A duration longer than nothing."""
SignedMs = Annotated[int, BeforeValidator(_duration), _schema(f"{_DURATION} May be negative: -5m.")]
"""A duration that may be negative."""
Size = Annotated[
    int, Field(ge=0), BeforeValidator(size_of), _schema("A size: 20 MB, 512 kB, 1 GiB.", _NUMBER)
]
"""Bytes."""
Rate = Annotated[
    int, Field(gt=0), BeforeValidator(_rate), _schema("A rate: 2mbit, 500 kB/s.", _NUMBER)
]
"""Bytes per second; a bare number in a file too."""
Share = Annotated[
    float, BeforeValidator(share_of), _schema("A share: 30% or 0.3.", {**_NUMBER, "maximum": 1})
]
"""0..1."""
Text = Annotated[str, BeforeValidator(_text), _schema("Text.", _NUMBER, {"type": "boolean"})]
"""Text; ``5000`` and ``false`` are taken as they are spelt."""
WallClock = Annotated[int, BeforeValidator(_wall_clock), _schema("A time: 1970-01-01T00:00:00Z.")]
"""Milliseconds since 1970."""
Listed = BeforeValidator(_listed)
"""Lets a single word stand for a list of one; the result is a tuple."""
