"""Expectations as written → conditions on fields, absolute windows and quantifiers."""

from __future__ import annotations

import re
from collections import ChainMap
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

from cloud_stub.observe import FIELDS, SERVICE_PREFIX

from .durations import DurationError, duration_ms, human, moment_ms, names_in, suggest
from .fields import choices_of, is_field, kind_of
from .measures import MeasureError
from .measures import parse as parse_measure
from .mistakes import shown
from .model import Expectation, Quantifier
from .roster import WordError
from .sections import EXPECTATIONS
from .yaml_text import plain_scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .anchors import Anchors
    from .language import Source, SourceExpectation
    from .measures import Measure
    from .roster import Roster
    from .sections import ExpectLine
    from .yaml_text import ValuePath

_UNSET: Any = object()
Kind = Literal["eventually", "always", "never", "sequence", "measure"]


class ExpectationCompiler:
    """Compiles the expectations of one scenario, noting mistakes."""

    __slots__ = ("anchors", "end_ms", "roster", "services", "source")

    def __init__(
        self,
        source: Source,
        anchors: Anchors,
        roster: Roster,
        services: Sequence[str],
        end_ms: int,
    ) -> None:
        self.source = source
        self.anchors = anchors
        self.roster = roster
        self.services = tuple(services)
        """Of all releases."""
        self.end_ms = end_ms

    def compile(self, written: SourceExpectation) -> list[Expectation]:
        """The expectation, once for each repetition of ``each``; none after a mistake was noted."""
        before = len(self.source.mistakes.found)
        line = written.line
        kind = next(k for k in EXPECTATIONS if k in line.model_fields_set)
        values: dict[str, tuple[Any, ...]] = {}
        measure = None
        if kind == "measure":
            measure = self._measure(written, line.measure or "")
        else:
            pairs: dict[str, Any] = getattr(line, kind)
            values = {
                name: self._values(written, (*written.path, kind, name), name, value)
                for name, value in pairs.items()
            }
            if kind == "sequence":
                self._check_sequence(written, pairs)
        quantifier = self._quantifier(written)
        if self._leans_on_broken(line):
            return []
        windows = [self._window(written, local) for local in self._repetitions(written)]
        if len(self.source.mistakes.found) > before:
            return []
        first = next(iter(values), None)
        is_sequence = kind == "sequence"
        where = written.document.where(written.path)
        fragment = written.document is not self.source.document
        raw = {k: v for k, v in self._raw(written).items() if k != "note"}
        return [
            Expectation(
                kind=cast("Kind", kind),
                text=", ".join(f"{k}: {shown(v)}" for k, v in raw.items()),
                condition=MappingProxyType({} if is_sequence else values),
                sequence_field=first if is_sequence else None,
                sequence=values[first] if is_sequence and first else (),
                measure=measure,
                from_ms=window[0],
                until_ms=window[1],
                quantifier=quantifier,
                where=where.in_file(written.document.file) if fragment else where,
                note=line.note,
            )
            for window in windows
        ]

    def _repetitions(self, written: SourceExpectation) -> list[dict[str, int]]:
        """What ids mean in each repetition; one that changes nothing where there is no ``each``."""
        each = written.line.each
        if each is None:
            return [{}]
        if each in self.anchors.series:
            return self.anchors.repetitions(each)
        if each not in self.source.broken:
            known = tuple(self.anchors.series)
            hint = suggest(each, known) or (
                f"repeated: {', '.join(known)}" if known else "give a step every, repeat and an id"
            )
            self._note(written, (*written.path, "each"), f"no step '{each}' is repeated", hint)
        return []

    def _measure(self, written: SourceExpectation, text: str) -> Measure | None:
        """The comparison, its field and values checked."""
        path = (*written.path, "measure")
        try:
            measure = parse_measure(text, self.source.names)
        except MeasureError as error:
            self._note(written, path, error.message, error.hint)
            return None
        if measure.field is None:
            return measure
        if not self._known_field(written, path, measure.field, key=False):
            return None
        values = [
            self._value(written, path, measure.field, plain_scalar(str(value)))
            for value in measure.values
        ]
        return replace(measure, values=tuple(value for value in values if value is not _UNSET))

    def _leans_on_broken(self, line: ExpectLine) -> bool:
        """Whether the window names a step that has a mistake."""
        moments = (line.after, line.from_, line.until)
        named = (name for text in moments if text is not None for name in names_in(text))
        return any(name in self.source.broken for name in named)

    @staticmethod
    def _raw(written: SourceExpectation) -> dict[str, Any]:
        """The mapping as it stands in the file."""
        section, index = written.path
        raw: dict[str, Any] = written.document.data[section][index]
        return raw

    def _note(
        self, written: SourceExpectation, path: ValuePath, message: str, hint: str | None = None
    ) -> None:
        self.source.mistakes.add(written.document, path, message, hint)

    # --- conditions ------------------------------------------------------------------------------

    def _check_sequence(self, written: SourceExpectation, pairs: dict[str, Any]) -> None:
        """One field, and a list of values that differ from their neighbours."""
        path = (*written.path, "sequence")
        if len(pairs) != 1:
            self._note(
                written, path, "a sequence speaks of one field", "write one sequence for each"
            )
        for name, value in pairs.items():
            if not isinstance(value, list) or not value:
                self._note(written, (*path, name), "a sequence is a list of values")
                continue
            for index in range(1, len(value)):
                if value[index] == value[index - 1]:
                    self._note(
                        written,
                        (*path, name, index),
                        f"{shown(value[index])} follows itself, but repeats are folded",
                        "leave one out",
                    )

    def _values(
        self, written: SourceExpectation, path: ValuePath, name: str, value: Any
    ) -> tuple[Any, ...]:
        """The accepted values of a field."""
        if not self._known_field(written, path, name):
            return ()
        if isinstance(value, list) and not value:
            self._note(written, path, f"{name}: the list of values is empty")
        items = value if isinstance(value, list) else [value]
        below = [(*path, i) for i in range(len(items))] if isinstance(value, list) else [path]
        found = [
            self._value(written, at, name, item) for at, item in zip(below, items, strict=True)
        ]
        return tuple(item for item in found if item is not _UNSET)

    def _known_field(
        self, written: SourceExpectation, path: ValuePath, name: str, *, key: bool = True
    ) -> bool:
        """Whether the field exists; notes a mistake if not."""
        service = name.removeprefix(SERVICE_PREFIX)
        if is_field(name):
            if service == name or service in self.services:
                return True
            hint = suggest(service, self.services) or f"services: {', '.join(self.services)}"
            message = f"no release has a service '{service}'"
        else:
            hint = suggest(name, FIELDS) or f"fields: {', '.join(FIELDS)}, services.<name>"
            message = f"unknown field '{name}'"
        self.source.mistakes.add(written.document, path, message, hint, key=key)
        return False

    def _value(self, written: SourceExpectation, path: ValuePath, name: str, value: Any) -> Any:
        """One accepted value, checked against what the field can be."""
        choices, kind = choices_of(name), kind_of(name)
        if choices is not None:
            if value in choices and not isinstance(value, bool):
                return value
            words = [choice for choice in choices if choice]
            near = suggest(re.sub(r"[\s_-]+", "-", str(value)).lower(), [*words])
            near = near or next(
                (f"did you mean '{w}'?" for w in words if w.lower() == str(value).lower()), None
            )
            hint = near or f"one of {', '.join(shown(choice) for choice in choices)}"
        elif value is None:
            return None
        elif kind == "flag":
            if isinstance(value, bool):
                return value
            hint = "true or false"
        elif kind == "number":
            if isinstance(value, int) and not isinstance(value, bool):
                return int(value)
            hint = "a whole number or null"
        elif kind == "moment":
            at_ms = self._moment(written, path, value)
            return _UNSET if at_ms is None else at_ms
        elif isinstance(value, dict | list | bool):
            hint = "a text"
        else:
            return str(getattr(value, "text", value))
        self._note(written, path, f"{name} is never {shown(value)}", hint)
        return _UNSET

    # --- windows ---------------------------------------------------------------------------------

    def _moment(
        self,
        written: SourceExpectation,
        path: ValuePath,
        text: Any,
        local: Mapping[str, int] = MappingProxyType({}),
    ) -> int | None:
        """A moment, or ``None`` after the mistake was noted; ``local``: ids of one repetition."""
        try:
            written_text = str(getattr(text, "text", text))
            self.anchors.refuse_ambiguous(written_text, besides=local)
            anchors = ChainMap(dict(local), self.anchors.at_ms)
            at_ms = moment_ms(written_text, self.source.names, anchors)
        except DurationError as error:
            self._note(written, path, error.message, error.hint)
            return None
        if at_ms < 0:
            self._note(written, path, f"{text} is {human(-at_ms)} before the run starts")
            return None
        return at_ms

    def _window(
        self, written: SourceExpectation, local: Mapping[str, int]
    ) -> tuple[int, int | None]:
        """The absolute window."""
        line, path = written.line, written.path
        from_ms, until_ms = 0, None
        if (start := line.after if line.after is not None else line.from_) is not None:
            key = "after" if line.after is not None else "from"
            from_ms = self._moment(written, (*path, key), start, local) or 0
        if line.until is not None:
            until_ms = self._moment(written, (*path, "until"), line.until, local)
        if line.within is not None:
            try:
                length_ms = duration_ms(line.within, self.source.names)
            except DurationError as error:
                self._note(written, (*path, "within"), error.message, error.hint)
                return from_ms, None
            until_ms = from_ms + length_ms
        if until_ms is not None and until_ms < from_ms:
            key = "within" if line.within is not None else "until"
            message = f"the window ends ({human(until_ms)}) before it starts ({human(from_ms)})"
            self._note(written, (*path, key), message)
        return from_ms, until_ms

    def _quantifier(self, written: SourceExpectation) -> Quantifier:
        """Over which devices it speaks."""
        try:
            return self.roster.quantifier(written.line.for_)
        except WordError as error:
            self._note(written, (*written.path, "for"), error.message, error.hint)
            return Quantifier()
