"""Scenario files → ``model.Scenario``: sorted steps, selected devices, absolute windows, hints.

``on: "30%"`` selects the first devices of the fleet, as many as 30 % rounds up to: the same ones in
every run, whatever the seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from . import verbs
from .anchors import Anchors
from .durations import DurationError, human, moment_ms, names_in, suggest
from .expectations import ExpectationCompiler, percent
from .language import Source, SourceStep, load, load_text
from .model import DeviceSpec, Expectation, Scenario, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_FLEET = "fleet"
PRIMITIVES = frozenset({"heartbeat", "cloudlink_up", "cloudlink_down", "report"})
"""Verbs that act in place of an agent."""
_QUIET = PRIMITIVES | {"end", "action", "power_on"}
"""Verbs that are no fault by themselves."""


def compile_file(path: Path, *, devices: int | None = None) -> Scenario:
    """Compile a scenario file; ``devices`` overrides the size of the fleet.

    Raises:
        InputError: the file cannot be read at all.
        InputErrors: every mistake in it.
    """
    return _Compiler(load(path), devices).scenario()


def compile_text(text: str, *, name: str = "text", devices: int | None = None) -> Scenario:
    """As ``compile_file``, for text; ``name`` stands for the file in messages."""
    return _Compiler(load_text(text, Path(name)), devices).scenario()


class _Compiler:
    """Compiles one scenario."""

    __slots__ = ("anchors", "devices", "hints", "names", "source")

    def __init__(self, source: Source, devices: int | None) -> None:
        self.source = source
        self.anchors = Anchors()
        self.hints: list[str] = []
        self.names = self._device_names(devices)
        fleet = source.fleet
        self.devices = tuple(
            DeviceSpec(
                name=name,
                fleet=DEFAULT_FLEET,
                behaviour=fleet.behaviour,
                scripted=fleet.scripted,
                fresh=fleet.fresh,
                device_type=fleet.device_type,
            )
            for name in self.names
        )

    def scenario(self) -> Scenario:
        """The compiled scenario; raises ``InputErrors``."""
        source = self.source
        moments = [self._moment(step) for step in source.steps]
        end_ms = self._end_ms(moments)
        steps = self._steps(moments)
        expectations = self._expectations(end_ms)
        source.mistakes.stop()
        self._hint(steps, expectations, end_ms)
        return Scenario(
            name=source.head.scenario,
            about=" ".join(source.head.about.split()),
            spec=source.head.spec,
            tags=source.head.tags,
            file=source.document.file,
            seed=source.head.seed,
            cloud=source.cloud,
            vpn=source.vpn,
            links=source.links,
            devices=self.devices,
            release=source.fleet.release,
            steps=steps,
            end_ms=end_ms,
            expectations=expectations,
            hints=tuple(self.hints),
        )

    # --- devices ---------------------------------------------------------------------------------

    def _device_names(self, override: int | None) -> tuple[str, ...]:
        """The fleet's names; an override cuts the list or goes on counting."""
        fleet = self.source.fleet
        given = fleet.names or ()
        count = override or fleet.devices or len(given) or 1
        names = (*given[:count], *(f"device-{n}" for n in range(len(given) + 1, count + 1)))
        if len(set(names)) < len(names):
            self.source.mistakes.add(
                self.source.document, ("fleet", "names"), "two devices have one name"
            )
        return names

    def _selected(self, step: SourceStep) -> tuple[str, ...]:
        """The devices a step acts on, in the order of the fleet."""
        words = step.head.on
        if words is None or words == ("all",):
            return self.names
        if len(words) == 1 and "%" in words[0]:
            share = percent(words[0])
            if share is None:
                self._note(step, "on", f"'{words[0]}' is not a share", '"30%"')
                return ()
            return self.names[: -int(-len(self.names) * share // 1)]
        known = set(self.names)
        for word in words:
            if word not in known:
                hint = suggest(word, self.names[:200]) or f"devices: {', '.join(self.names[:20])}"
                self._note(step, "on", f"no device is called '{word}'", hint)
        chosen = set(words)
        return tuple(name for name in self.names if name in chosen)

    # --- timeline --------------------------------------------------------------------------------

    def _note(self, step: SourceStep, key: str, message: str, hint: str | None = None) -> None:
        self.source.mistakes.add(step.document, (*step.path, key), message, hint)

    def _moment(self, step: SourceStep) -> int | None:
        """When a step happens; its name is known to the steps below it in the file."""
        text = step.head.at
        if not self.source.broken.isdisjoint(names_in(text)):
            self.source.broken.add(step.head.id or step.verb)
            return None
        try:
            self.anchors.refuse_ambiguous(text)
            at_ms = moment_ms(text, self.source.names, self.anchors.at_ms)
        except DurationError as error:
            self._note(step, "at", error.message, error.hint)
            self.source.broken.add(step.head.id or step.verb)
            return None
        if at_ms < 0:
            self._note(step, "at", f"{text} is before the run starts", "times start at 0s")
            self.source.broken.add(step.head.id or step.verb)
            return None
        name = step.head.id
        if name is None:
            self.anchors.add_verb(step.verb, at_ms, step.document.where(step.path).line)
        elif name in self.source.names:
            self._note(step, "id", f"'{name}' is a duration of the product", "choose another id")
        elif not self.anchors.add_id(name, at_ms):
            self._note(step, "id", f"the id '{name}' is taken", "an id names one step")
        return at_ms

    def _end_ms(self, moments: Sequence[int | None]) -> int:
        """The end of the run: the step ``end``, else the last step."""
        placed = [
            (at, step)
            for at, step in zip(moments, self.source.steps, strict=True)
            if at is not None
        ]
        ends = [(at, step) for at, step in placed if step.verb == "end"]
        if not self.source.steps:
            self.source.mistakes.add(
                self.source.document,
                ("timeline",),
                "the timeline is empty",
                "- {at: 0s, do: power_on}",
            )
        for _, step in ends[1:]:
            self._note(step, "do", "a second 'end'", "a run ends once")
        if not ends:
            if placed:
                self.hints.append("there is no 'end': the run ends with its last step")
            end_ms = max((at for at, _ in placed), default=0)
        else:
            end_ms = ends[0][0]
        for at_ms, step in placed:
            if at_ms > end_ms:
                self._note(
                    step,
                    "at",
                    f"{step.verb} at {human(at_ms)} comes after the end at {human(end_ms)}",
                    "move 'end' behind it",
                )
        self.anchors.at_ms.setdefault("end", end_ms)
        return end_ms

    def _steps(self, moments: Sequence[int | None]) -> tuple[Step, ...]:
        """The steps sorted by time; equal times in file order."""
        steps = []
        for at_ms, written in zip(moments, self.source.steps, strict=True):
            devices = self._selected(written)
            if written.verb in PRIMITIVES and not self.source.fleet.scripted and at_ms is not None:
                remedy = "say so in the file: fleet: {scripted: true}"
                self._note(written, "do", f"{written.verb} is for scripted devices", remedy)
            where = written.document.where(written.path)
            if written.document is not self.source.document:
                where = where.in_file(written.document.file)
            steps.append(
                Step(
                    at_ms=at_ms or 0,
                    id=written.head.id or written.verb,
                    verb=written.verb,
                    action=cast("verbs.Action", written.action),
                    devices=devices,
                    where=where,
                )
            )
        return tuple(sorted(steps, key=lambda step: step.at_ms))

    # --- expectations ----------------------------------------------------------------------------

    def _services(self) -> tuple[str, ...]:
        """The names of all services of all releases."""
        releases = [self.source.fleet.release]
        releases += [s.action for s in self.source.steps if isinstance(s.action, verbs.Release)]
        return tuple(dict.fromkeys(name for release in releases for name in release.services))

    def _expectations(self, end_ms: int) -> tuple[Expectation, ...]:
        """Every expectation that has no mistake."""
        compiler = ExpectationCompiler(
            self.source, self.anchors, self.names, self._services(), end_ms
        )
        compiled = [compiler.compile(written) for written in self.source.expectations]
        return tuple(expectation for expectation in compiled if expectation is not None)

    def _hint(
        self, steps: Sequence[Step], expectations: Sequence[Expectation], end_ms: int
    ) -> None:
        """What is worth saying about a file without mistakes."""
        if not expectations:
            self.hints.append(
                "there is no expectation: the run shows what happens and judges nothing"
            )
            return
        for expectation in expectations:
            line = expectation.where.line
            if expectation.from_ms > end_ms:
                self.hints.append(f"line {line}: the window starts after the run's end")
            elif (expectation.until_ms or 0) > end_ms:
                self.hints.append(f"line {line}: the window reaches beyond the run's end")
        faults = [step for step in steps if step.verb not in _QUIET]
        if faults and not any(
            e.kind in ("eventually", "sequence") and (e.until_ms or end_ms) > faults[-1].at_ms
            for e in expectations
        ):
            last = faults[-1]
            self.hints.append(
                f"nothing is expected eventually after the last fault ({last.verb}, line"
                f" {last.where.line}): does the fleet settle?"
            )
