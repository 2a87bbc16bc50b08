"""Scenario files → ``model.Scenario``: sorted steps, selected devices, absolute windows, hints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from . import verbs
from .anchors import Anchors
from .durations import human, suggest
from .errors import InputError, InputErrors
from .expectations import ExpectationCompiler
from .language import Source, SourceStep, load, load_text
from .model import DEFAULT_SEED, Expectation, Scenario, Step
from .params import NOTHING_GIVEN, Given
from .roster import Roster, WordError, fleet_of
from .timing import Occurrence, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .model import Where

PRIMITIVES = frozenset({"heartbeat", "cloudlink_up", "cloudlink_down", "report"})
"""Verbs that act in place of an agent."""
_QUIET = PRIMITIVES | {"end", "action", "power_on"}
"""Verbs that are no fault by themselves."""


def compile_variants(
    path: Path,
    *,
    devices: int | None = None,
    seed: int | None = None,
    given: Given = NOTHING_GIVEN,
) -> list[Scenario]:
    """Compile a scenario file: one scenario for each variant of its parameters.

    Args:
        devices: overrides the size of the fleet.
        seed: wins over the file's; random moments are drawn from it.
        given: values of parameters (``-p``).

    Raises:
        InputError: the file cannot be read at all.
        InputErrors: every mistake in it.
    """
    return _compiled(load(path, given), devices, seed)


def compile_file(path: Path, *, devices: int | None = None, seed: int | None = None) -> Scenario:
    """As ``compile_variants``: the file's first scenario."""
    return compile_variants(path, devices=devices, seed=seed)[0]


def compile_text(
    text: str,
    *,
    name: str = "text",
    devices: int | None = None,
    seed: int | None = None,
    given: Given = NOTHING_GIVEN,
) -> Scenario:
    """As ``compile_file``, for text; ``name`` stands for the file in messages."""
    return _compiled(load_text(text, Path(name), given), devices, seed)[0]


def _compiled(sources: Iterable[Source], devices: int | None, seed: int | None) -> list[Scenario]:
    """Every scenario, or the mistakes of all of them, each once."""
    found: list[Scenario] = []
    errors: dict[str, InputError] = {}
    for source in sources:
        try:
            found.append(_Compiler(source, devices, seed).scenario())
        except InputErrors as several:
            errors.update((str(error), error) for error in several.errors)
    if errors:
        raise InputErrors(list(errors.values()))
    return found


class _Compiler:
    """Compiles one scenario."""

    __slots__ = ("anchors", "hints", "roster", "schedule", "seed", "source")

    def __init__(self, source: Source, devices: int | None, seed: int | None) -> None:
        self.source = source
        self.anchors = Anchors()
        self.hints: list[str] = []
        chosen = source.head.seed if seed is None else seed
        self.seed = DEFAULT_SEED if chosen is None else chosen
        self.roster = self._roster(devices)
        self.schedule = Schedule(source, self.anchors, self.seed)

    def scenario(self) -> Scenario:
        """The compiled scenario; raises ``InputErrors``."""
        source = self.source
        occurrences = self.schedule.occurrences
        end_ms = self._end_ms(occurrences)
        steps = self._steps(occurrences, end_ms)
        expectations = self._expectations(end_ms)
        source.mistakes.stop()
        self._hint(steps, expectations, end_ms)
        variant = ", ".join(f"{name}={label}" for name, label in source.params.items())
        return Scenario(
            name=f"{source.head.scenario} [{variant}]" if variant else source.head.scenario,
            about=" ".join(source.head.about.split()),
            spec=source.head.spec,
            tags=source.head.tags,
            file=source.document.file,
            seed=self.seed,
            params=MappingProxyType(source.params),
            known_params=source.known_params,
            cloud=source.cloud,
            vpn=source.vpn,
            links=source.links,
            devices=self.roster.devices,
            releases=MappingProxyType({n: s.release for n, s in source.fleets.items()}),
            steps=steps,
            end_ms=end_ms,
            expectations=expectations,
            hints=tuple(self.hints),
        )

    # --- devices ---------------------------------------------------------------------------------

    def _roster(self, override: int | None) -> Roster:
        """The devices and the names for sets of them."""
        source = self.source
        if override is not None and len(source.fleets) > 1:
            raise InputErrors(
                [
                    InputError(
                        "--devices sets the size of one fleet, this file has several",
                        source.document.file,
                        hint="change the sizes in the file, or give it a parameter: -p size=50",
                    )
                ]
            )
        roster = Roster([fleet_of(name, part, override) for name, part in source.fleets.items()])
        if roster.repeated:
            section = ("fleets",) if "fleets" in source.document.data else ("fleet", "names")
            source.mistakes.add(source.document, section, "two devices have one name")
        for document, path, name, words in source.groups:
            try:
                roster.add_group(name, words)
            except WordError as error:
                source.mistakes.add(document, path, error.message, error.hint)
        return roster

    def _selected(self, step: SourceStep) -> tuple[str, ...]:
        """The devices a step acts on, in the order of the fleet."""
        try:
            return self.roster.select(step.head.on)
        except WordError as error:
            self._note(step, "on", error.message, error.hint)
            return ()

    # --- timeline --------------------------------------------------------------------------------

    def _note(self, step: SourceStep, key: str, message: str, hint: str | None = None) -> None:
        self.source.mistakes.add(step.document, (*step.path, key), message, hint)

    def _end_ms(self, occurrences: Sequence[Occurrence]) -> int:
        """The end of the run: the step ``end``, else the last step."""
        placed = [(item.at_ms, item) for item in occurrences if item.at_ms is not None]
        ends = [(at, item) for at, item in placed if item.step.verb == "end"]
        if not self.source.steps:
            self.source.mistakes.add(
                self.source.document,
                ("timeline",),
                "the timeline is empty",
                "- {at: 0s, do: power_on}",
            )
        for _, item in ends[1:]:
            self._note(item.step, "do", "a second 'end'", "a run ends once")
        if not ends:
            if placed:
                self.hints.append("there is no 'end': the run ends with its last step")
            end_ms = max((at for at, _ in placed), default=0)
        else:
            end_ms = ends[0][0]
        for at_ms, item in placed:
            if at_ms > end_ms:
                self._note(
                    item.step,
                    "at",
                    f"{item.step.verb} at {human(at_ms)} comes after the end at {human(end_ms)}",
                    "move 'end' behind it",
                )
        self.anchors.at_ms.setdefault("end", end_ms)
        return end_ms

    def _steps(self, occurrences: Sequence[Occurrence], end_ms: int) -> tuple[Step, ...]:
        """The steps sorted by time; equal times in file order."""
        steps: list[Step] = []
        for occurrence in occurrences:
            written = occurrence.step
            devices = self._selected(written)
            self._check(written, devices)
            step = Step(
                at_ms=occurrence.at_ms or 0,
                id=occurrence.name,
                verb=written.verb,
                action=cast("verbs.Action", written.action),
                devices=devices,
                where=self._where(written),
                note=written.head.note,
            )
            steps.extend(self._spread(step, occurrence, end_ms))
        return tuple(sorted(steps, key=lambda step: step.at_ms))

    def _spread(self, step: Step, occurrence: Occurrence, end_ms: int) -> list[Step]:
        """A step for each moment of ``spread``: each device at its own."""
        span_ms = self.schedule.spread_ms(occurrence.step)
        if not span_ms or occurrence.at_ms is None:
            return [step]
        if step.at_ms + span_ms > end_ms:
            self._note(
                occurrence.step,
                "spread",
                f"the last device may come after the end at {human(end_ms)}",
                "move 'end' behind it",
            )
        moments = [
            (step.at_ms + self.schedule.delay_ms(occurrence, device, span_ms), device)
            for device in step.devices
        ]
        return [replace(step, at_ms=at_ms, devices=(device,)) for at_ms, device in moments]

    def _check(self, written: SourceStep, devices: Sequence[str]) -> None:
        """What needs the whole: primitives are for scripted devices, fleets have to be there."""
        if written.verb in PRIMITIVES:
            chosen = set(devices)
            driven = [d for d in self.roster.devices if d.name in chosen and not d.scripted]
            if driven:
                remedy = "say so in the file: fleet: {scripted: true}"
                self._note(written, "do", f"{written.verb} is for scripted devices", remedy)
        if isinstance(written.action, verbs.Clone):
            of, names = written.action.of, [device.name for device in self.roster.devices]
            if of not in names:
                hint = suggest(of, names[:200])
                self._note(written, "of", f"no device is called '{of}'", hint)
        if isinstance(written.action, verbs.VpnServer) and written.action.state != "up":
            self._check_vpn_server(written, written.action.name)
        fleet = getattr(written.action, "fleet", None)
        if fleet is not None and fleet not in self.roster.fleets:
            known = tuple(self.roster.fleets)
            hint = suggest(fleet, known) or f"fleets: {', '.join(known)}"
            self._note(written, "fleet", f"there is no fleet '{fleet}'", hint)

    def _check_vpn_server(self, written: SourceStep, name: str | None) -> None:
        """A server must be one that ever runs."""
        actions = [step.action for step in self.source.steps]
        started = [a.name for a in actions if isinstance(a, verbs.VpnServer) and a.state == "up"]
        known = [*verbs.VPN_SERVERS, *(other for other in started if other is not None)]
        if name is not None and name not in known:
            hint = suggest(name, known) or f"vpn_server: {{name: {name}, state: up}} starts one"
            self._note(written, "name", f"no VPN server is called '{name}'", hint)

    def _where(self, written: SourceStep) -> Where:
        """Where a step stands."""
        where = written.document.where(written.path)
        if written.document is not self.source.document:
            where = where.in_file(written.document.file)
        return where

    # --- expectations ----------------------------------------------------------------------------

    def _services(self) -> tuple[str, ...]:
        """The names of all services of all releases."""
        releases = [fleet.release for fleet in self.source.fleets.values()]
        releases += [s.action for s in self.source.steps if isinstance(s.action, verbs.Release)]
        return tuple(dict.fromkeys(name for release in releases for name in release.services))

    def _expectations(self, end_ms: int) -> tuple[Expectation, ...]:
        """Every expectation that has no mistake."""
        compiler = ExpectationCompiler(
            self.source, self.anchors, self.roster, self._services(), end_ms
        )
        return tuple(
            expectation
            for written in self.source.expectations
            for expectation in compiler.compile(written)
        )

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
            e.kind in ("eventually", "sequence", "measure", "always")
            and (e.until_ms or end_ms) > faults[-1].at_ms
            for e in expectations
        ):
            last = faults[-1]
            self.hints.append(
                f"nothing is expected after the last fault ({last.verb}, line"
                f" {last.where.line}): does the fleet settle?"
            )
