"""The JUnit report: a suite for each scenario, a case for each expectation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import junitparser

from .checks import Outcome
from .report_text import row_story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .results import Row, ScenarioResult

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
_junit: Any = junitparser
"""Typed in part only, and differently by its versions."""
_NOT_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_text(results: Sequence[ScenarioResult], not_run: Sequence[str] = ()) -> str:
    """The report as XML text; ``not_run``: scenarios that the run did not come to, or through."""
    report = _junit.JUnitXml("fieldbeat")
    for result in results:
        report.add_testsuite(_suite(result))
    for name in not_run:
        suite, case = _junit.TestSuite(_clean(name)), _junit.TestCase("run", classname=_clean(name))
        case.result = [_junit.Error("the run was ended before", "not run")]
        suite.add_testcase(case)
        report.add_testsuite(suite)
    report.update_statistics()
    raw = report.tostring()
    text = raw.decode("utf-8") if isinstance(raw, bytes) else str(raw)
    return text if text.startswith("<?xml") else f"{_DECLARATION}{text}\n"


def _suite(result: ScenarioResult) -> Any:
    """A scenario."""
    scenario = result.scenario
    suite = _junit.TestSuite(_clean(scenario.name))
    for name, value in (
        ("file", scenario.file.as_posix()),
        ("lab", result.lab),
        ("seed", str(result.seed)),
        ("devices", str(len(scenario.devices))),
        ("simulated_seconds", f"{result.history.end_ms / 1_000:g}"),
        ("spec", " ".join(scenario.spec)),
        ("tags", " ".join(scenario.tags)),
        ("again", result.command),
    ):
        suite.add_property(name, _clean(value))
    for row in result.rows:
        suite.add_testcase(_case(result, row))
    if result.rows:
        for case in suite:
            case.time = round(result.wall_seconds / len(result.rows), 6)
    return suite


def _case(result: ScenarioResult, row: Row) -> Any:
    """An expectation."""
    case = _junit.TestCase(_clean(row.text), classname=_clean(result.scenario.name))
    properties = _junit.Properties()
    for name, value in (
        ("kind", row.kind),
        ("file", result.scenario.file.as_posix()),
        ("line", str(row.line)),
    ):
        properties.add_property(_junit.Property(name, _clean(value)))
    case.append(properties)
    if not row.passed:
        kind = _junit.Failure if row.outcome is Outcome.FAIL else _junit.Error
        problem = kind(_clean(f"line {row.line}: {row.detail}"), row.outcome.value)
        story = [*row_story(result, row), f"  again: {result.command}"]
        problem.text = _clean("\n".join(story))
        case.result = [problem]
    return case


def _clean(text: str) -> str:
    """Without the characters XML cannot hold."""
    return _NOT_XML.sub("�", text)
