"""Durations and moments as people write them: ``90s``, ``1h30m``, ``vpn_server_timeout + 2s``.

An expression is made of durations, plain numbers, names and anchors, with ``+ - *`` and
parentheses.  Arithmetic is exact (fractions); a result is a whole number of milliseconds or an
error.  Kinds are checked: two moments cannot be added, a duration cannot be multiplied by another.
"""

from __future__ import annotations

import difflib
import re
from enum import Enum
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNITS_MS: Mapping[str, int] = MappingProxyType(
    {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
)
"""Unit → milliseconds."""
LONGEST_EXPRESSION = 200
"""Characters; bounds the depth of the parser as well."""
RANGE = ".."
"""Between two moments: some moment from one to the other."""
LONGEST_MS = 366 * 86_400_000
"""No time in a scenario is longer than a year."""

_FORMS = "write 90s, 10m, 1h30m, 2d or 500ms"
_UNIT_WORDS = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("week", "weeks"), "w"),
    **dict.fromkeys(("msec", "millisecond", "milliseconds"), "ms"),
}
_TOKEN = re.compile(
    r"\s*(?:(?P<amount>\d+(?:\.\d+)?)(?P<unit>[A-Za-z_]*)"
    r"|(?P<name>[A-Za-z_](?:[\w.]|-(?=\w))*)|(?P<op>[-+*()]))"
)
_NAME = re.compile(r"[A-Za-z_](?:[\w.]|-(?=\w))*")


class DurationError(ValueError):
    """An expression that is no duration, with the remedy."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} ({hint})")
        self.message = message
        self.hint = hint


class Kind(Enum):
    """What a value is."""

    NUMBER = "a plain number"
    DURATION = "a duration"
    MOMENT = "a moment"


class Value(NamedTuple):
    """A value of an expression: milliseconds, or a factor."""

    amount: Fraction
    kind: Kind


class _Token(NamedTuple):
    text: str
    value: Value | None
    """Of an amount; ``None`` for names and operators."""


def suggest(word: str, known: Iterable[str]) -> str | None:
    """``did you mean 'x'?`` for the known word nearest to ``word``, if one is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None


def _amount(text: str, position: int) -> tuple[_Token, int]:
    """The amount at ``position``: ``1h30m`` is one, ``1.5`` is a plain number."""
    total, kind, start = Fraction(0), Kind.NUMBER, position
    while match := _TOKEN.match(text, position):
        amount, unit = match["amount"], match["unit"]
        if amount is None or (position > start and match[0][0].isspace()):
            break
        if not unit:
            if position > start:
                raise DurationError(f"{amount!r} needs a unit", _FORMS)
            total = Fraction(amount)
            position = match.end()
            break
        if unit not in UNITS_MS:
            word = _UNIT_WORDS.get(unit.lower())
            hint = f"write {amount}{word}" if word else _FORMS
            raise DurationError(f"unknown unit {unit!r} in {text.strip()!r}", hint)
        total += Fraction(amount) * UNITS_MS[unit]
        kind, position = Kind.DURATION, match.end()
    return _Token(text[start:position].strip(), Value(total, kind)), position


def _tokens(text: str) -> list[_Token]:
    """``text`` cut into amounts, names and operators."""
    if len(text) > LONGEST_EXPRESSION:
        raise DurationError(
            "the expression is too long", f"at most {LONGEST_EXPRESSION} characters"
        )
    found: list[_Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise DurationError(f"unexpected {text[position:].strip()[:1]!r} in {text!r}", _FORMS)
        if match["amount"] is not None:
            token, position = _amount(text, position)
            found.append(token)
        else:
            found.append(_Token(match["name"] or match["op"], None))
            position = match.end()
    return found


class _Parser:
    """Recursive descent over one expression."""

    __slots__ = ("anchors", "names", "position", "text", "tokens")

    def __init__(self, text: str, names: Mapping[str, int], anchors: Mapping[str, int]) -> None:
        self.text = text
        self.names = names
        self.anchors = anchors
        self.tokens = _tokens(text)
        self.position = 0

    def next(self) -> str | None:
        """The text of the token to come, ``None`` at the end."""
        return self.tokens[self.position].text if self.position < len(self.tokens) else None

    def parse(self) -> Value:
        """The value of the whole expression."""
        if not self.tokens:
            raise DurationError("a duration is missing", _FORMS)
        value = self.sum()
        if (rest := self.next()) is not None:
            hint = _FORMS if rest in UNITS_MS or rest in _UNIT_WORDS else "join with + - or *"
            raise DurationError(f"unexpected {rest!r} in {self.text!r}", hint)
        return value

    def sum(self) -> Value:
        """``product (+|- product)*``."""
        value = self.product()
        while (sign := self.next()) in ("+", "-"):
            self.position += 1
            value = _add(value, self.product(), -1 if sign == "-" else 1)
        return value

    def product(self) -> Value:
        """``factor (* factor)*``."""
        value = self.factor()
        while self.next() == "*":
            self.position += 1
            value = _multiply(value, self.factor())
        return value

    def factor(self) -> Value:
        """An amount, a name, a sign, or an expression in parentheses."""
        if self.position >= len(self.tokens):
            raise DurationError(f"{self.text!r} ends too early", _FORMS)
        token = self.tokens[self.position]
        self.position += 1
        if token.value is not None:
            return token.value
        if token.text in ("-", "+"):
            value = self.factor()
            return _multiply(Value(Fraction(-1 if token.text == "-" else 1), Kind.NUMBER), value)
        if token.text == "(":
            value = self.sum()
            if self.next() != ")":
                raise DurationError(f"a parenthesis is not closed in {self.text!r}")
            self.position += 1
            return value
        if token.text in ("*", ")"):
            raise DurationError(f"unexpected {token.text!r} in {self.text!r}", _FORMS)
        return self.named(token.text)

    def named(self, name: str) -> Value:
        """The value of a name; anchors hide product names."""
        if name in self.anchors:
            return Value(Fraction(self.anchors[name]), Kind.MOMENT)
        if name in self.names:
            return Value(Fraction(self.names[name]), Kind.DURATION)
        hint = suggest(name, [*self.anchors, *self.names])
        if "-" in name and re.split("-", name)[0] in {*self.anchors, *self.names}:
            hint = "put blanks around a minus sign"
        what = "anchor or name" if self.anchors else "name"
        raise DurationError(
            f"unknown {what} {name!r}", hint or known_names(self.names, self.anchors)
        )


def known_names(names: Mapping[str, int], anchors: Mapping[str, int]) -> str:
    """The hint that lists what may be named."""
    parts = []
    if anchors:
        parts.append(f"anchors: {', '.join(anchors)}")
    if names:
        parts.append(f"names: {', '.join(sorted(names))}")
    return "; ".join(parts) or _FORMS


def _add(left: Value, right: Value, sign: int) -> Value:
    """``left ± right``; a plain 0 counts as a duration."""
    kinds = (left.kind, right.kind)
    amount = left.amount + sign * right.amount
    if Kind.NUMBER in kinds:
        if left.kind is right.kind:
            return Value(amount, Kind.NUMBER)
        number = left if left.kind is Kind.NUMBER else right
        if number.amount:
            raise DurationError(f"{float(number.amount):g} needs a unit", _FORMS)
        return Value(amount, right.kind if left.kind is Kind.NUMBER else left.kind)
    if kinds == (Kind.MOMENT, Kind.MOMENT):
        if sign < 0:
            return Value(amount, Kind.DURATION)
        raise DurationError("two moments cannot be added", "a moment ± a duration is a moment")
    if kinds == (Kind.DURATION, Kind.MOMENT) and sign < 0:
        raise DurationError("a moment cannot be taken from a duration", "write the moment first")
    return Value(amount, Kind.MOMENT if Kind.MOMENT in kinds else Kind.DURATION)


def _multiply(left: Value, right: Value) -> Value:
    """``left * right``, of which one is a plain number."""
    if Kind.NUMBER not in (left.kind, right.kind) or Kind.MOMENT in (left.kind, right.kind):
        plus_one = Kind.NUMBER in (left.kind, right.kind) and 1 in (left.amount, right.amount)
        if not plus_one:
            raise DurationError("only a duration and a plain number can be multiplied")
    kind = right.kind if left.kind is Kind.NUMBER else left.kind
    return Value(left.amount * right.amount, kind)


def _whole_ms(value: Value, text: str) -> int:
    """``value`` as whole milliseconds, within bounds."""
    if value.kind is Kind.NUMBER and value.amount:
        raise DurationError(f"{text.strip()!r} needs a unit", _FORMS)
    if value.amount.denominator != 1:
        raise DurationError(f"{text.strip()!r} is not a whole number of milliseconds")
    if abs(value.amount) > LONGEST_MS:
        raise DurationError(f"{text.strip()!r} is too long", "at most 366d")
    return int(value.amount)


def duration_ms(text: str, names: Mapping[str, int] = MappingProxyType({})) -> int:
    """The duration ``text`` in milliseconds; may be negative (``-5m``)."""
    return _whole_ms(_Parser(text, names, {}).parse(), text)


def moment_ms(
    text: str, names: Mapping[str, int], anchors: Mapping[str, int], *, base_ms: int = 0
) -> int:
    """The moment ``text`` in milliseconds from the start; a plain duration counts from the base."""
    value = _Parser(text, names, anchors).parse()
    return _whole_ms(value, text) + (0 if value.kind is Kind.MOMENT else base_ms)


def names_in(text: str) -> tuple[str, ...]:
    """The names that occur in an expression, in their order; none where it cannot be read."""
    try:
        tokens = [token for part in text.split(RANGE) for token in _tokens(part)]
        return tuple(t.text for t in tokens if t.value is None and _NAME.fullmatch(t.text))
    except DurationError:
        return ()


def human(at_ms: int) -> str:
    """Milliseconds for people: ``2m 00.4s``, ``1h 03m 20s``, ``0s``."""
    sign, rest = ("-", -at_ms) if at_ms < 0 else ("", at_ms)
    seconds, ms = divmod(rest, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    tail = f".{ms:03d}".rstrip("0") if ms else ""
    if not (days or hours or minutes):
        return f"{sign}{seconds}{tail}s"
    parts = [f"{days}d"] if days else []
    if days or hours:
        parts.append(f"{hours:02d}h" if days else f"{hours}h")
    parts.append(f"{minutes:02d}m" if days or hours else f"{minutes}m")
    parts.append(f"{seconds:02d}{tail}s")
    return sign + " ".join(parts)
