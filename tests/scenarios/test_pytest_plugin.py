"""The pytest plugin, in processes of its own: scenarios as tests, and the examples of its page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = {
    text.split("\n", 1)[0].removeprefix("# "): text
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
}
NIGHT = """\
scenario: Night
tags: [power]
spec: [status/disconnected]
params: {off: [3m, 1h]}
timeline:
  - {at: 0s, do: power_on}
  - {at: 2h, do: power_off, id: cut}
  - {at: "cut + ${off}", do: power_on, id: back}
  - {at: 5h, do: end}
expect:
  - never: {overall_status: disconnected}
    from: 5m
  - eventually: {overall_status: operational}
    after: back
    within: 5m
"""


def pytest_says(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def night(tmp_path: Path) -> Path:
    (tmp_path / "night.scenario.yaml").write_text(NIGHT)
    return tmp_path


def test_a_scenario_file_is_a_test_for_each_variant(night: Path) -> None:
    said = pytest_says(night, "-q")
    assert said.returncode == 1
    assert "1 failed, 1 passed" in said.stdout


def test_a_failure_shows_the_story_and_no_traceback(night: Path) -> None:
    text = pytest_says(night).stdout
    assert "FAILED night.scenario.yaml:11: never: {overall_status: disconnected}" in text
    assert "the whole run, to scale" in text
    assert "again: fieldbeat run" in text
    assert "-p off=1h" in text
    assert "Traceback" not in text
    assert "plugin.py" not in text


def test_a_parameter_and_a_word_choose_tests(night: Path) -> None:
    assert "1 passed" in pytest_says(night, "--fieldbeat-param", "off=3m").stdout
    assert "1 failed, 1 deselected" in pytest_says(night, "-k", "power and 1h").stdout


def test_junit_has_the_scenario_and_the_expectation_that_failed(night: Path) -> None:
    pytest_says(night, "--junitxml", "out.xml")
    cases = ET.parse(night / "out.xml").getroot().iter("testcase")
    found = {
        case.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        for case in cases
    }
    failed = found["Night [off=1h]"]
    assert failed["expectation"].startswith("never: {overall_status: disconnected}")
    assert (failed["line"], failed["seed"], failed["spec"]) == ("11", "1", "status/disconnected")
    assert "expectation" not in found["Night [off=3m]"]


def test_a_malformed_file_is_one_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "x.scenario.yaml").write_text("scenario: X\ntimeline: [{at: 0s, do: powr_on}]\n")
    said = pytest_says(tmp_path)
    assert said.returncode == 2
    assert "x.scenario.yaml:2:25: unknown verb 'powr_on'" in said.stdout
    assert "Traceback" not in said.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_page_passes(name: str, night: Path) -> None:
    text = (night / "night.scenario.yaml").read_text().replace("never", "eventually", 1)
    (night / "night.scenario.yaml").write_text(text.replace("3m, ", "3m, 20m, "))
    (night / name).write_text(EXAMPLES[name])
    said = pytest_says(night, name)
    assert said.returncode == 0, said.stdout
