"""Judges expectations against a recorded history: PASS, FAIL or UNKNOWN, with evidence.  Pure.

Windows are closed at both ends.  A window (or the rest of one) that the run did not reach is
UNKNOWN wherever it could still turn the verdict, and UNKNOWN never counts as held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from .durations import human
from .measures import value_of
from .mistakes import shown
from .model import Quantifier
from .series import Index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .history import History, Traffic
    from .measures import Measure
    from .model import Expectation

MOST_FINDINGS = 3
"""Offending devices a verdict tells about."""


class Outcome(Enum):
    """Three values; the worse of two is the one further down."""

    PASS = "passed"  # noqa: S105  # a verdict
    UNKNOWN = "unknown"
    FAIL = "failed"


class Finding(NamedTuple):
    """What was found on one device."""

    device: str
    outcome: Outcome
    at_ms: int | None
    """The deciding moment: where it first held, or was first violated."""
    seen: str
    """What was seen there."""
    nearest: str = ""
    """The nearest miss."""
    nearest_ms: int | None = None
    """When it came too late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of one expectation."""

    expectation: Expectation
    outcome: Outcome
    detail: str
    """One line for people."""
    passed: int
    """Devices on which it held."""
    failed: int
    unknown: int
    findings: tuple[Finding, ...]
    """Of the devices to blame (the deciding one where it held), at most ``MOST_FINDINGS``."""

    @property
    def held(self) -> bool:
        """Whether it counts as held."""
        return self.outcome is Outcome.PASS


def judge(expectation: Expectation, history: History) -> Verdict:
    """The verdict on one expectation."""
    return judge_all([expectation], history)[0]


def judge_all(expectations: Sequence[Expectation], history: History) -> list[Verdict]:
    """The verdicts on all expectations of a run, in their order."""
    index = Index(history, _fields(expectations))
    traffic = history.traffic
    return [
        measured(expectation, expectation.measure, index, traffic)
        if expectation.measure is not None
        else _Judge(expectation, index).verdict()
        for expectation in expectations
    ]


def _fields(expectations: Iterable[Expectation]) -> Iterable[str]:
    """Every field somebody asks about."""
    for expectation in expectations:
        yield from expectation.fields


class _Judge:
    """Judges one expectation."""

    __slots__ = ("expectation", "from_ms", "index", "reached", "until_ms")

    def __init__(self, expectation: Expectation, index: Index) -> None:
        self.expectation = expectation
        self.index = index
        self.from_ms = expectation.from_ms
        wanted = index.end_ms if expectation.until_ms is None else expectation.until_ms
        self.reached = wanted <= index.end_ms
        """The run went on until the window was over."""
        self.until_ms = min(wanted, index.end_ms)

    def verdict(self) -> Verdict:
        """The three-valued verdict over the devices meant."""
        quantifier = self.expectation.quantifier
        devices = quantifier.devices or self.index.names
        findings = [self._one(device) for device in devices]
        counts = dict.fromkeys(Outcome, 0)
        for finding in findings:
            counts[finding.outcome] += 1
        outcome = quantified(quantifier, counts)
        told = self._told(findings, outcome)
        return Verdict(
            expectation=self.expectation,
            outcome=outcome,
            detail=self._detail(outcome, counts, findings, told),
            passed=counts[Outcome.PASS],
            failed=counts[Outcome.FAIL],
            unknown=counts[Outcome.UNKNOWN],
            findings=told,
        )

    # --- one device ------------------------------------------------------------------------------

    def _one(self, device: str) -> Finding:
        """The finding on one device."""
        if self.from_ms > self.index.end_ms:
            return Finding(device, Outcome.UNKNOWN, None, "the run ended before the window")
        match self.expectation.kind:
            case "sequence":
                return self._sequence(device)
            case "eventually":
                return self._search(device, wanted=True, found=Outcome.PASS)
            case "always":
                return self._search(device, wanted=False, found=Outcome.FAIL)
            case "never":
                return self._search(device, wanted=True, found=Outcome.FAIL)
            case "measure":
                raise AssertionError("measures are judged by what they count")

    def _search(self, device: str, *, wanted: bool, found: Outcome) -> Finding:
        """``found`` if the condition is ever ``wanted`` in the window."""
        condition = self.expectation.condition
        for at_ms, holds in self.index.truth(device, condition, self.from_ms, self.until_ms):
            if holds is wanted:
                return Finding(device, found, at_ms, "")
        if not self.reached:
            return Finding(device, Outcome.UNKNOWN, None, "the run ended within the window")
        otherwise = Outcome.FAIL if found is Outcome.PASS else Outcome.PASS
        return Finding(device, otherwise, None, "")

    def _sequence(self, device: str) -> Finding:
        """Whether exactly the values of the list were seen, in their order."""
        name = self.expectation.sequence_field or ""
        rows = list(self.index.of(device, name).between(self.from_ms, self.until_ms))
        values = tuple(value for _, value in rows)
        wanted = self.expectation.sequence
        seen = f"saw {shown(list(values))}"
        if self.reached and values == wanted:
            return Finding(device, Outcome.PASS, rows[-1][0], seen)
        common = 0
        while common < min(len(values), len(wanted)) and values[common] == wanted[common]:
            common += 1
        if not self.reached and common == len(values):
            return Finding(device, Outcome.UNKNOWN, None, f"{seen} when the run ended")
        if common == len(values):
            nearest = f"{shown(wanted[common])} did not come"
            return Finding(device, Outcome.FAIL, rows[-1][0], seen, nearest)
        at_ms, value = rows[common]
        instead = f" instead of {shown(wanted[common])}" if common < len(wanted) else ""
        nearest = f"{shown(value)} came{instead} at {human(at_ms)}"
        return Finding(device, Outcome.FAIL, at_ms, seen, nearest)

    # --- all devices -----------------------------------------------------------------------------

    def _told(self, findings: Sequence[Finding], outcome: Outcome) -> tuple[Finding, ...]:
        """The findings worth telling, with what was seen and the nearest miss."""
        none_wanted = self.expectation.quantifier.mode == "none"
        if outcome is Outcome.PASS:
            deciding = [f for f in findings if f.at_ms is not None and f.outcome is Outcome.PASS]
            return (max(deciding, key=lambda f: f.at_ms or 0),) if deciding else ()
        blame = Outcome.PASS if outcome is Outcome.FAIL and none_wanted else outcome
        chosen = [finding for finding in findings if finding.outcome is blame]
        return tuple(self._explained(finding) for finding in chosen[:MOST_FINDINGS])

    def _explained(self, finding: Finding) -> Finding:
        """A finding with what was seen and the nearest miss."""
        if self.expectation.kind == "sequence" or self.from_ms > self.index.end_ms:
            return finding
        device = finding.device
        if finding.at_ms is not None:
            seen = f"{self._values(device, finding.at_ms)} at {human(finding.at_ms)}"
            wanted = self.expectation.kind != "always"
            until = self._until(device, finding.at_ms, holds=wanted)
            word = "held" if wanted else "did not hold"
            return finding._replace(seen=seen, nearest=f"it {word} {until}")
        last = self._values(device, self.until_ms)
        seen = f"{last} at {human(self.until_ms)}, the end of the window"
        if not self.reached:
            seen = f"{last} at {human(self.until_ms)}, the end of the run"
            return finding._replace(seen=seen)
        nearest, nearest_ms = self._nearest(device)
        return finding._replace(seen=seen, nearest=nearest, nearest_ms=nearest_ms)

    def _values(self, device: str, at_ms: int) -> str:
        """What the fields of the condition were."""
        names = self.expectation.condition
        return ", ".join(f"{n}: {shown(self.index.of(device, n).at(at_ms))}" for n in names)

    def _until(self, device: str, at_ms: int, *, holds: bool) -> str:
        """How long the condition stayed as it was at a moment."""
        condition = self.expectation.condition
        for since_ms, value in self.index.truth(device, condition, at_ms, self.index.end_ms):
            if value is not holds:
                return f"until {human(since_ms)} (for {human(since_ms - at_ms)})"
        return "until the end of the run"

    def _nearest(self, device: str) -> tuple[str, int | None]:
        """When the condition held, if not in the window, and the moment where it was late."""
        condition, end_ms = self.expectation.condition, self.index.end_ms
        for at_ms, holds in self.index.truth(device, condition, self.until_ms, end_ms):
            if holds:
                late = human(at_ms - self.until_ms)
                return f"reached at {human(at_ms)}, {late} late", at_ms
        held_until: int | None = None
        before = False
        for at_ms, holds in self.index.truth(device, condition, 0, self.from_ms):
            if before and not holds:
                held_until = at_ms
            before = holds
        if held_until is not None:
            early = human(self.from_ms - held_until)
            return f"held until {human(held_until)}, {early} before the window", None
        return f"at no moment of the run{self._partly(device)}", None

    def _partly(self, device: str) -> str:
        """Which part of a condition was always missing."""
        missing = [
            f"{name}: {shown(accepted[0] if len(accepted) == 1 else list(accepted))}"
            for name, accepted in self.expectation.condition.items()
            if not any(
                value in accepted
                for _, value in self.index.of(device, name).between(0, self.index.end_ms)
            )
        ]
        if not missing:
            return ", though each field had its value at times"
        return f"; {', '.join(missing)} never came" if len(self.expectation.condition) > 1 else ""

    # --- words -----------------------------------------------------------------------------------

    def _detail(
        self,
        outcome: Outcome,
        counts: dict[Outcome, int],
        findings: Sequence[Finding],
        told: Sequence[Finding],
    ) -> str:
        """The verdict in a line."""
        total = len(findings)
        if outcome is Outcome.PASS:
            words = "held" if total == 1 else f"held on {counts[Outcome.PASS]} of {total} devices"
            at_ms: Any = told[0].at_ms if told else None
            if at_ms is not None and self.expectation.kind == "eventually":
                after = human(at_ms - self.from_ms)
                words += f", {'at' if total == 1 else 'the last at'} {human(at_ms)} (+{after})"
            return words
        words = "cannot be said" if outcome is Outcome.UNKNOWN else "did not hold"
        if total > 1:
            bad = counts[outcome]
            if self.expectation.quantifier.mode == "none" and outcome is Outcome.FAIL:
                words = f"held on {counts[Outcome.PASS]} of {total} devices, none was wanted"
            else:
                words += f" on {bad} of {total} devices"
        if told:
            first = told[0]
            name = f"{first.device}: " if total > 1 else ""
            nearest = f"; {first.nearest}" if first.nearest else ""
            words += f": {name}{first.seen}{nearest}"
        return words


def quantified(quantifier: Quantifier, counts: Mapping[Outcome, int]) -> Outcome:
    """The outcome over all devices meant; ``counts``: how many devices had each."""
    passed, unknown = counts[Outcome.PASS], counts[Outcome.UNKNOWN]
    total = sum(counts.values())
    if quantifier.mode == "none":
        if passed:
            return Outcome.FAIL
        return Outcome.UNKNOWN if unknown else Outcome.PASS
    needed = total if quantifier.mode == "all" else 1
    if quantifier.mode == "at_least":
        needed = math.ceil(round(quantifier.fraction * total, 9))
    if passed >= needed:
        return Outcome.PASS
    return Outcome.UNKNOWN if passed + unknown >= needed else Outcome.FAIL


def measured(
    expectation: Expectation, measure: Measure, index: Index, traffic: Traffic | None
) -> Verdict:
    """The verdict on a comparison: of each device meant, or of all of them together."""
    from_ms = expectation.from_ms
    wanted = index.end_ms if expectation.until_ms is None else expectation.until_ms
    until_ms = max(from_ms, min(wanted, index.end_ms))
    window_ms = until_ms - from_ms
    quantifier = expectation.quantifier
    devices = quantifier.devices or index.names
    rows: list[tuple[float, Finding]] = []
    for together in [devices] if measure.of_fleet else [(name,) for name in devices]:
        name = "" if measure.of_fleet else together[0]
        counted = value_of(measure, index, traffic, together, from_ms, until_ms)
        if counted is None:
            seen = f"{measure.name} is not counted in this lab"
            rows.append((0.0, Finding(name, Outcome.UNKNOWN, None, seen)))
            continue
        value, at_ms = counted
        name_shown = f"total({measure.name})" if measure.total else measure.name
        seen = f"{name_shown} was {measure.shown(value, window_ms)}"
        seen += "" if at_ms is None else f" at {human(at_ms)}"
        if wanted > index.end_ms:
            rows.append((value, Finding(name, Outcome.UNKNOWN, None, f"{seen} when the run ended")))
        elif measure.holds(value, window_ms):
            rows.append((value, Finding(name, Outcome.PASS, None, seen)))
        else:
            nearest = measure.missed_by(value, window_ms)
            rows.append((value, Finding(name, Outcome.FAIL, None, seen, nearest)))
    counts = dict.fromkeys(Outcome, 0)
    for _, finding in rows:
        counts[finding.outcome] += 1
    outcome = quantified(Quantifier() if measure.of_fleet else quantifier, counts)
    # the one nearest to the bound, or furthest over it, first
    rows.sort(key=lambda row: row[0], reverse=measure.operator in ("<", "<=", "=="))
    blame = Outcome.PASS if quantifier.mode == "none" and outcome is Outcome.FAIL else outcome
    told = tuple(finding for _, finding in rows if finding.outcome is blame)[:MOST_FINDINGS]
    words = {Outcome.PASS: "held", Outcome.FAIL: "did not hold", Outcome.UNKNOWN: "cannot be said"}
    many = f" on {counts[blame]} of {len(rows)} devices" if len(rows) > 1 else ""
    first = f": {told[0].device + ': ' if len(rows) > 1 else ''}{told[0].seen}" if told else ""
    nearest = f", {told[0].nearest}" if told and told[0].nearest else ""
    return Verdict(
        expectation=expectation,
        outcome=outcome,
        detail=f"{words[outcome]}{many}{first}{nearest}",
        passed=counts[Outcome.PASS],
        failed=counts[Outcome.FAIL],
        unknown=counts[Outcome.UNKNOWN],
        findings=told,
    )


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of several outcomes; PASS of none."""
    order = tuple(Outcome)
    return max(outcomes, key=order.index, default=Outcome.PASS)
