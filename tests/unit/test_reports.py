"""What people and machines read of a run: terminal, JSON, JUnit, HTML page."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import jsonschema
import pytest

from scenarios import report_text
from scenarios.history import Note
from scenarios.junit import junit_text
from scenarios.report_html import render
from scenarios.results import ScenarioResult, document, dump
from tests.histories import result

SCHEMA: dict[str, Any] = json.loads(
    (resources.files("scenarios") / "schemas" / "result.schema.json").read_text(encoding="utf-8")
)

STORY = """
  FAILED lights.scenario.yaml:9: eventually: {overall_status: disconnected}, after: cut, within: 5m
    window    10m 00s … 15m 00s
    expected  at some moment overall_status: disconnected
    seen      overall_status: operational at 15m 00s, the end of the window
    nearest   reached at 15m 04.2s, 4.2s late
    what led to it
       10m 00s ▶ power_off
       10m 01s   a note <of> the machine
      15m 04.2s · overall_status became disconnected (test)
    around 15m 00s on device-1
              0s ▶ power_on
         10m 00s ▶ power_off
         10m 01s   a note <of> the machine
        15m 04.2s · overall_status operational → disconnected  (test)
    the whole run, to scale
      overall_status |operational----|disconnected-----------------------------------|
      window                   └─────┘

  again: fieldbeat run lights.scenario.yaml --seed 1
"""


@pytest.fixture
def made() -> ScenarioResult:
    return result()


def squeezed(text: str) -> list[str]:
    """Lines with single blanks: the widths of columns are not what is tested."""
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def test_a_failure_tells_the_whole_story(made: ScenarioResult) -> None:
    assert squeezed("\n".join(report_text.failure(made))) == squeezed(STORY)


def test_the_headline_and_the_summary_count(made: ScenarioResult) -> None:
    assert report_text.headline(made) == (
        "FAILED  Lights <&> go out: 1 of 2 expectations held (1h 00m 00s in 250 ms)"
    )
    assert report_text.summary([made, made], 7) == (
        "2 of 2 scenarios failed: 2 of 4 expectations did not hold (seed 7)"
    )


def test_the_document_keeps_its_schema_and_its_bytes(made: ScenarioResult) -> None:
    whole = document([made], lab="virtual", seed=1)
    jsonschema.validate(whole, SCHEMA)
    assert dump([made], lab="virtual", seed=1) == dump([result()], lab="virtual", seed=1)
    (scenario,) = whole["scenarios"]
    assert not whole["passed"]
    assert scenario["simulated_seconds"] == 3600
    assert scenario["heartbeats"] == 3
    assert [row["passed"] for row in scenario["expectations"]] == [False, True]
    assert [row["line"] for row in scenario["expectations"]] == [9, 12]
    assert scenario["timeline"] == [
        {
            "at": 904.2,
            "device": "device-1",
            "field": "overall_status",
            "from": "operational",
            "to": "disconnected",
            "cause": "test",
        }
    ]


@pytest.mark.parametrize("broken", ["version", "scenarios"])
def test_the_schema_refuses_a_document_without_its_parts(made: ScenarioResult, broken: str) -> None:
    whole = document([made], lab="virtual", seed=1)
    del whole[broken]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(whole, SCHEMA)


def test_junit_has_a_case_for_each_expectation_with_its_line_and_story(
    made: ScenarioResult,
) -> None:
    root = ET.fromstring(junit_text([made]))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    properties = {p.get("name"): p.get("value") for p in suite.findall("properties/property")}
    assert properties["again"] == "fieldbeat run lights.scenario.yaml --seed 1"
    assert properties["spec"] == "status/disconnected"
    failed, held = suite.findall("testcase")
    failure = failed.find("failure")
    assert failure is not None
    assert "line 9" in (failure.get("message") or "")
    assert "4.2s late" in (failure.text or "")
    assert held.find("failure") is None


class Page(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_stands_alone_and_escapes_what_people_wrote(made: ScenarioResult) -> None:
    text = render([made], lab="virtual", seed=1)
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe")]
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
    assert "url(" not in text
    words = " ".join(" ".join(page.words).split())
    assert "Lights <&> go out" in words
    assert "reached at 15m 04.2s, 4.2s late" in words
    assert "fieldbeat run lights.scenario.yaml --seed 1" in words
    assert [tag for tag, _ in page.tags].count("svg") >= 1


def test_the_page_is_the_same_for_the_same_run(made: ScenarioResult) -> None:
    assert render([made], lab="virtual", seed=1) == render([result()], lab="virtual", seed=1)


def test_what_the_lab_saw_is_on_the_page_and_in_the_document(made: ScenarioResult) -> None:
    made.history.notes.append(Note(780_000, "device-1", "the firewall met <37> packets", True))
    text = render([made], lab="host", seed=1)
    assert "What the lab saw" in text
    assert "<time>13m 00s</time><span>the firewall met &lt;37&gt; packets</span>" in text
    assert "a note &lt;of&gt;" not in text.partition("What the lab saw")[2].partition("<table>")[0]
    (told,) = document([made], lab="host", seed=1)["scenarios"]
    seen = {"at": 780.0, "device": "device-1", "text": "the firewall met <37> packets"}
    assert told["notes"] == [seen]


def test_a_page_tells_twenty_notes_and_how_many_there_are_more(made: ScenarioResult) -> None:
    made.history.notes.extend(Note(n, "device-1", f"note {n}", True) for n in range(23))
    text = render([made], lab="host", seed=1)
    assert "note 19<" in text
    assert "note 20<" not in text
    assert "and 3 more lines in the result document" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0744, "74 ms"), (2.36, "2.36 s"), (59.0, "59.00 s"), (191.6, "3m 11.6s")],
)
def test_real_time_is_told_in_a_unit_that_can_be_read(seconds: float, words: str) -> None:
    assert report_text.took(seconds) == words
