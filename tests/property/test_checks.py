"""The checks against a sampler that looks at every millisecond."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.checks import Outcome, judge
from scenarios.model import Expectation, Quantifier
from tests.histories import history

if TYPE_CHECKING:
    from scenarios.history import History

DEVICES = ("a", "b", "c")
FIELDS = ("s", "n")
VALUES = st.integers(0, 2)
END_MS = 12
CHANGES = st.lists(
    st.tuples(st.integers(0, END_MS), st.sampled_from(DEVICES), st.sampled_from(FIELDS), VALUES),
    max_size=12,
).map(lambda rows: sorted(rows, key=lambda row: row[0]))
QUANTIFIERS = st.one_of(
    st.builds(
        Quantifier,
        mode=st.sampled_from(["all", "any", "none"]),
        devices=st.sampled_from([(), ("a",), ("b", "c")]),
    ),
    st.builds(Quantifier, mode=st.just("at_least"), fraction=st.sampled_from([0.3, 0.5, 2 / 3, 1])),
)
EXPECTATIONS = st.builds(
    Expectation,
    kind=st.sampled_from(["eventually", "always", "never"]),
    text=st.just(""),
    condition=st.dictionaries(
        st.sampled_from(FIELDS), st.lists(VALUES, min_size=1, max_size=2).map(tuple), min_size=1
    ),
    from_ms=st.integers(0, END_MS),
    until_ms=st.one_of(st.none(), st.integers(0, END_MS + 4)),
    quantifier=QUANTIFIERS,
)


def sampled(run: History, device: str) -> list[dict[str, Any]]:
    """Every field at every millisecond, after the changes of that millisecond."""
    current = dict(run.initial[device])
    rows, changes = [], list(run.changes)
    for now_ms in range(END_MS + 1):
        for change in changes:
            if change.at_ms == now_ms and change.device == device:
                current[change.field] = change.new
        rows.append(dict(current))
    return rows


def judged(run: History, wanted: Expectation, device: str) -> Outcome:
    until_ms = END_MS if wanted.until_ms is None else wanted.until_ms
    window = sampled(run, device)[wanted.from_ms : min(until_ms, END_MS) + 1]
    reached = until_ms <= END_MS
    if wanted.kind == "sequence":
        folded: list[Any] = []
        for row in window:
            value = row[wanted.sequence_field or ""]
            if not folded or folded[-1] != value:
                folded.append(value)
        if reached:
            return Outcome.PASS if tuple(folded) == wanted.sequence else Outcome.FAIL
        begun = tuple(folded) == wanted.sequence[: len(folded)]
        return Outcome.UNKNOWN if begun else Outcome.FAIL
    truth = [all(row[f] in values for f, values in wanted.condition.items()) for row in window]
    if wanted.kind == "eventually" and any(truth):
        return Outcome.PASS
    if wanted.kind == "always" and not all(truth):
        return Outcome.FAIL
    if wanted.kind == "never" and any(truth):
        return Outcome.FAIL
    if not reached:
        return Outcome.UNKNOWN
    return Outcome.FAIL if wanted.kind == "eventually" else Outcome.PASS


def quantified(outcomes: list[Outcome], quantifier: Quantifier) -> Outcome:
    """The outcome that stands however the unknown ones would have ended; else UNKNOWN."""

    def holds(passed: int) -> bool:
        match quantifier.mode:
            case "all":
                return passed == len(outcomes)
            case "any":
                return passed > 0
            case "none":
                return passed == 0
            case "at_least":
                return passed >= math.ceil(round(quantifier.fraction * len(outcomes), 9))

    passed, unknown = outcomes.count(Outcome.PASS), outcomes.count(Outcome.UNKNOWN)
    possible = {holds(passed + more) for more in range(unknown + 1)}
    if len(possible) > 1:
        return Outcome.UNKNOWN
    return Outcome.PASS if possible == {True} else Outcome.FAIL


def expected(run: History, wanted: Expectation) -> Outcome:
    devices = wanted.quantifier.devices or DEVICES
    return quantified([judged(run, wanted, device) for device in devices], wanted.quantifier)


INITIAL = {device: {"s": 0, "n": 0} for device in DEVICES}


def nonempty(wanted: Expectation) -> bool:
    return wanted.until_ms is None or wanted.until_ms >= wanted.from_ms


@settings(max_examples=400)
@given(CHANGES, EXPECTATIONS.filter(nonempty))
def test_conditions_agree_with_a_sampler(rows: Any, wanted: Expectation) -> None:
    run = history(INITIAL, rows, END_MS)
    assert judge(wanted, run).outcome is expected(run, wanted)


@settings(max_examples=400)
@given(
    CHANGES,
    st.builds(
        Expectation,
        kind=st.just("sequence"),
        text=st.just(""),
        sequence_field=st.sampled_from(FIELDS),
        sequence=st.lists(VALUES, min_size=1, max_size=4).map(tuple),
        from_ms=st.integers(0, END_MS),
        until_ms=st.one_of(st.none(), st.integers(0, END_MS + 4)),
        quantifier=QUANTIFIERS,
    ).filter(nonempty),
)
def test_sequences_agree_with_a_sampler(rows: Any, wanted: Expectation) -> None:
    run = history(INITIAL, rows, END_MS)
    assert judge(wanted, run).outcome is expected(run, wanted)
