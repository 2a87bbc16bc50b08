"""When the steps of a timeline happen: moments, repetitions, random moments, the names of all.

Random moments are fixed by the seed and the step's place in its file, those of ``spread`` also by
the device's name, so another device changes nothing for the others.
"""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, NamedTuple

from .durations import RANGE, DurationError, duration_ms, human, moment_ms, names_in
from .language import SourceBlock, SourceStep
from .streams import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .anchors import Anchors
    from .language import Source
    from .sections import RepeatHead, StepHead

MOST_OCCURRENCES = 20_000
"""Steps of a run, repetitions counted one by one."""


class Occurrence(NamedTuple):
    """A step at one of its moments."""

    step: SourceStep
    at_ms: int | None
    """``None``: its time has a mistake."""
    number: int | None
    """Of the repetition, from 1; ``None`` for a step that happens once."""

    @property
    def name(self) -> str:
        """Its anchor's name."""
        name = self.step.head.id or self.step.verb
        return name if self.number is None else f"{name}.{self.number}"


class Schedule:
    """Places every step of a source, noting mistakes; names become known in the file's order."""

    __slots__ = ("_seed", "anchors", "occurrences", "source")

    def __init__(self, source: Source, anchors: Anchors, seed: int) -> None:
        self.source = source
        self.anchors = anchors
        self._seed = seed
        self.occurrences: list[Occurrence] = []
        for item in source.timeline:
            if isinstance(item, SourceBlock):
                self._block(item)
            elif item.head.every is not None:
                self._repeated(item)
            else:
                self._once(item)

    # --- placing ---------------------------------------------------------------------------------

    def _once(self, step: SourceStep) -> None:
        at_ms = self._at(step, step.head.at)
        self.occurrences.append(Occurrence(step, at_ms, None))
        name = step.head.id
        if at_ms is None:
            self._broken(step)
        elif name is None:
            self.anchors.add_verb(step.verb, at_ms, step.document.where(step.path).line)
        else:
            self._name(step, name, at_ms)

    def _repeated(self, step: SourceStep) -> None:
        """A step with ``every``."""
        moments = []
        for number, base_ms in self._bases(step, step.head):
            at_ms = self._at(step, step.head.at, number=number)
            if at_ms is None:
                break
            moments.append(at_ms + base_ms)
        self._series([step], [moments])

    def _block(self, block: SourceBlock) -> None:
        """A line with ``steps``: each repetition's ids are known to its own later steps."""
        moments: list[list[int]] = [[] for _ in block.steps]
        for number, base_ms in self._bases(block, block.head):
            start_ms = self._at(block, block.head.at, number=number)
            if start_ms is None:
                break
            local: dict[str, int] = {}
            for step, found in zip(block.steps, moments, strict=True):
                base_of_step_ms = start_ms + base_ms
                at_ms = self._at(
                    step, step.head.at, base_ms=base_of_step_ms, number=number, local=local
                )
                if at_ms is None:
                    self._broken(step)
                    return
                found.append(at_ms)
                if step.head.id is not None:
                    local[step.head.id] = at_ms
        self._series(block.steps, moments)

    def _series(self, steps: list[SourceStep], moments: list[list[int]]) -> None:
        """Record repeated steps and their names: ``id.1``, ``id.2``, …, ``id.last``."""
        together = []
        for step, found in zip(steps, moments, strict=True):
            if not found:
                self._broken(step)
                self.occurrences.append(Occurrence(step, None, None))
                continue
            name = step.head.id
            if name is None:
                line = step.document.where(step.path).line
                for at_ms in found:
                    self.anchors.add_verb(step.verb, at_ms, line)
            else:
                together.append(name)
                self._name(step, name, found)
        for number in range(1, 1 + max((len(found) for found in moments), default=0)):
            for step, found in zip(steps, moments, strict=True):
                if number <= len(found):
                    self.occurrences.append(Occurrence(step, found[number - 1], number))
        self.anchors.tie(together)
        if len(self.occurrences) > MOST_OCCURRENCES:
            self._note(
                steps[0], "every", f"more than {MOST_OCCURRENCES} steps, repetitions counted"
            )
            del self.occurrences[MOST_OCCURRENCES:]

    def _bases(
        self, item: SourceStep | SourceBlock, head: StepHead | RepeatHead
    ) -> Iterator[tuple[int, int]]:
        """``(number, offset)`` of each repetition."""
        assert head.every is not None
        every_ms = 0
        try:
            every_ms = duration_ms(head.every, self.source.names)
            if every_ms <= 0:
                self._note(item, "every", "repetitions must be apart", "every: 1d")
        except DurationError as error:
            self._note(item, "every", error.message, error.hint)
        if every_ms <= 0:
            return
        if head.repeat is not None:
            yield from ((number + 1, number * every_ms) for number in range(head.repeat))
            return
        first = self._at(item, head.at)
        last = self._moment(item, "until", head.until or "0")
        if first is None or last is None:
            return
        if last < first:
            text = f"until ({human(last)}) is before the first time ({human(first)})"
            self._note(item, "until", text)
            return
        count = (last - first) // every_ms + 1
        if count > MOST_OCCURRENCES:
            self._note(item, "every", f"that is {count} times, at most {MOST_OCCURRENCES}")
            return
        yield from ((number + 1, number * every_ms) for number in range(count))

    # --- moments ---------------------------------------------------------------------------------

    def _at(
        self,
        item: SourceStep | SourceBlock,
        text: str,
        *,
        base_ms: int = 0,
        number: int | None = None,
        local: Mapping[str, int] | None = None,
    ) -> int | None:
        """A moment or a random one of a range; ``None`` after a mistake was noted."""
        if not self.source.broken.isdisjoint(names_in(text)):
            return None
        parts = text.split(RANGE)
        if len(parts) > 2:
            self._note(item, "at", f"'{text}' has two '..'", "10m..20m")
            return None
        found = [
            self._moment(item, "at", part, base_ms=base_ms, local=local or {}) for part in parts
        ]
        low, high = found[0], found[-1]
        if low is None or high is None:
            return None
        if high < low:
            self._note(item, "at", f"'{text}' ends before it begins", "the earlier moment first")
            return None
        if len(parts) == 2:
            place = "/".join(str(part) for part in item.path)
            draws = Stream(self._seed, "at", item.document.file.name, place, number or 0)
            return low + draws.upto(high - low)
        return low

    def _moment(
        self,
        item: SourceStep | SourceBlock,
        key: str,
        text: str,
        *,
        base_ms: int = 0,
        local: Mapping[str, int] | None = None,
    ) -> int | None:
        local = local or {}
        try:
            self.anchors.refuse_ambiguous(text, besides=local)
            anchors = ChainMap(dict(local), self.anchors.at_ms)
            at_ms = moment_ms(text, self.source.names, anchors, base_ms=base_ms)
        except DurationError as error:
            self._note(item, key, error.message, error.hint)
            return None
        if at_ms < 0:
            self._note(item, key, f"{text} is before the run starts", "times start at 0s")
            return None
        return at_ms

    def spread_ms(self, step: SourceStep) -> int:
        """How much later than the step a device may be; 0 after a mistake was noted."""
        if step.head.spread is None:
            return 0
        try:
            span_ms = duration_ms(step.head.spread, self.source.names)
        except DurationError as error:
            self._note(step, "spread", error.message, error.hint)
            return 0
        if span_ms < 0:
            self._note(step, "spread", "it must not be negative", "spread: 10m")
            return 0
        return span_ms

    def delay_ms(self, occurrence: Occurrence, device: str, span_ms: int) -> int:
        """How much later one device is, drawn from a stream of its own."""
        step = occurrence.step
        place = "/".join(str(part) for part in step.path)
        name = step.document.file.name
        draws = Stream(self._seed, "spread", name, place, occurrence.number or 0, device)
        return draws.upto(span_ms)

    # --- names -----------------------------------------------------------------------------------

    def _name(self, step: SourceStep, name: str, at: int | list[int]) -> None:
        """Let an id name a moment, or the moments of a repeated step."""
        if name in self.source.names:
            self._note(step, "id", f"'{name}' is a duration of the product", "choose another id")
            return
        anchors = self.anchors
        if not (anchors.add_id(name, at) if isinstance(at, int) else anchors.add_series(name, at)):
            self._note(step, "id", f"the id '{name}' is taken", "an id names one step")

    def _broken(self, step: SourceStep) -> None:
        self.source.broken.add(step.head.id or step.verb)

    def _note(
        self, item: SourceStep | SourceBlock, key: str, message: str, hint: str | None = None
    ) -> None:
        self.source.mistakes.add(item.document, (*item.path, key), message, hint)
