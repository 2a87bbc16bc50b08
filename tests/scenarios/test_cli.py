"""The command as people use it: exit statuses, selections, what is printed where."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from click.testing import CliRunner, Result

from scenarios.cli.group import COMMANDS, fieldbeat
from scenarios.errors import LabError
from scenarios.running import run_scenario

if TYPE_CHECKING:
    from scenarios.model import Scenario
    from scenarios.results import ScenarioResult

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
SCHEMAS = ROOT / "scenarios" / "schemas"
HOLDS = """\
scenario: Quick look
tags: [quick, power]
timeline:
  - {at: 0s, do: power_on}
  - {at: 1h, do: end}
expect:
  - eventually: {overall_status: operational}
    within: 2m
"""
FAILS = HOLDS.replace("operational", "frozen").replace("Quick", "Slow").replace("quick", "slow")


def says(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(fieldbeat, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "quick.scenario.yaml").write_text(HOLDS)
    (tmp_path / "slow.scenario.yaml").write_text(FAILS)
    return tmp_path


def test_the_library_holds() -> None:
    result = says("run")
    assert result.exit_code == 0, result.output
    assert "all" in result.stdout.splitlines()[-1]
    assert "expectations held" in result.stdout


def test_an_expectation_that_does_not_hold_is_exit_1_and_tells_how_to_see_it_again(
    folder: Path,
) -> None:
    result = says("run", folder)
    assert result.exit_code == 1
    assert "ok      Quick look" in result.stdout
    assert "FAILED  Slow look" in result.stdout
    assert f"again: fieldbeat run {folder}/slow.scenario.yaml --seed 1" in result.stdout


@pytest.mark.parametrize("arguments", [["--nope"], ["frob"], ["run", "--devices", "0"]])
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    result = says(*arguments)
    assert result.exit_code == 2
    assert result.stderr


def test_a_lab_that_is_not_there_is_exit_3_and_says_what_to_do() -> None:
    result = says("run", "--lab", "boards")
    assert result.exit_code == 3
    assert "the boards lab is not in this version" in result.stderr
    assert "--lab virtual" in result.stderr


def test_a_misspelt_command_is_suggested() -> None:
    assert "did you mean 'replay'?" in says("rplay").stderr


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("quick", ["Quick look"]),
        ("nobody", []),
        ("look", ["Quick look", "Slow look"]),
        ("power and not slow", ["Quick look"]),
        ("(quick or slow) and look", ["Quick look", "Slow look"]),
    ],
)
def test_k_selects_by_name_and_tag(expression: str, names: list[str], folder: Path) -> None:
    result = says("run", folder, "-k", expression, "--json", "-", "-q")
    if not names:
        assert result.exit_code == 2
        assert "selects none of 2 scenarios" in result.stderr
        return
    assert [found["name"] for found in json.loads(result.stdout)["scenarios"]] == names


@pytest.mark.parametrize("expression", ["", "and", "(quick", "quick)", "not", "quick and"])
def test_a_bad_expression_is_told(expression: str, folder: Path) -> None:
    result = says("run", folder, "-k", expression)
    assert result.exit_code == 2
    assert "-k" in result.stderr


def test_outputs_are_written_and_folders_made(folder: Path) -> None:
    out = folder / "a" / "b"
    result = says(
        "run", folder, "--json", out / "r.json", "--junit", out / "r.xml", "--report", out / "page"
    )
    assert result.exit_code == 1
    assert json.loads((out / "r.json").read_text())["version"] == 1
    assert (out / "r.xml").read_text().startswith("<?xml")
    assert "<svg" in (out / "page" / "index.html").read_text()


def test_json_on_stdout_is_nothing_but_json(folder: Path) -> None:
    result = says("run", folder, "--json", "-")
    assert json.loads(result.stdout)["passed"] is False
    assert "FAILED" in result.stderr


REMARKED = """
scenario: Remarked
fleet: {devices: 3}
timeline:
  - {at: 0s, do: power_on, note: by the caretaker}
  - {at: 5m, do: end}
expect:
  - measure: peak_heartbeats_per_second < 1
  - eventually: {overall_status: operational}
    note: the shop opens then
"""


def test_a_page_of_a_measure_of_the_whole_fleet_that_fails_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "remarked.scenario.yaml"
    file.write_text(REMARKED)
    told = says("run", file, "--report", tmp_path / "page")
    assert told.exit_code == 1, told.output
    page = (tmp_path / "page" / "index.html").read_text()
    assert "peak_heartbeats_per_second was" in page
    assert "device-1" in page


def test_a_page_shows_what_people_noted_at_steps_and_expectations(tmp_path: Path) -> None:
    file = tmp_path / "remarked.scenario.yaml"
    file.write_text(REMARKED.replace("< 1", "< 100"))
    told = says("run", file, "--report", tmp_path / "page")
    assert told.exit_code == 0, told.output
    page = (tmp_path / "page" / "index.html").read_text()
    assert "by the caretaker" in page
    assert "the shop opens then" in page


def test_a_file_whose_name_is_no_utf_8_is_run_and_reported(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.scenario.yaml")
    (tmp_path / name).write_text(HOLDS)
    out = tmp_path / "out"
    made = ("--json", out / "r.json", "--junit", out / "r.xml", "--report", out)
    assert says("run", tmp_path, *made).exit_code == 0
    document = json.loads((out / "r.json").read_text())
    assert document["scenarios"][0]["file"].endswith(name)
    assert "caf\\udce9.scenario.yaml" in (out / "index.html").read_text(encoding="utf-8")
    assert "Quick look" in (out / "r.xml").read_text(encoding="utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["list"], ["run", "--json", "-"]])
def test_an_output_that_takes_no_more_is_told(arguments: list[str], folder: Path) -> None:
    command = [sys.executable, "-m", "scenarios", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, check=False, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    told = "the output cannot be written: no space left on device"
    assert done.stderr.splitlines()[-1] == told


def test_quiet_prints_what_failed_and_nothing_else(folder: Path) -> None:
    result = says("run", folder, "-q")
    assert "Quick look" not in result.stdout
    assert "Slow look" in result.stdout


def test_devices_makes_the_fleet_larger(folder: Path) -> None:
    result = says("run", folder / "quick.scenario.yaml", "--devices", "12", "--json", "-", "-q")
    assert json.loads(result.stdout)["scenarios"][0]["devices"] == 12


SPREAD = """
scenario: One by one
fleet: {devices: 30}
timeline:
  - {at: 0s, do: power_on}
  - {at: 10h, do: power_off, spread: 10h, on: all but device-7, id: cut}
  - {at: 12h, do: undervolt, state: on, on: device-7}
  - {at: 21h, do: end}
expect:
  - eventually: {is_undervolted: true}
    for: device-7
  - eventually: {api_heartbeat_state: offline}
    for: all but device-7
"""


def test_a_spread_is_one_line_for_people_and_every_step_for_machines(tmp_path: Path) -> None:
    file = tmp_path / "spread.scenario.yaml"
    file.write_text(SPREAD)
    told = says("explain", file)
    (line,) = [line for line in told.stdout.splitlines() if "power off" in line]
    assert "29 devices, one by one: power off" in line
    assert re.search(r"10h \S+ \S+ … 19h \S+ \S+  29 devices", line), line
    ran = says("run", file, "--report", tmp_path / "page", "--json", tmp_path / "run.json")
    assert ran.exit_code == 0, ran.output
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("power off") == 2  # in the list, and at its mark
    (whole,) = json.loads((tmp_path / "run.json").read_text())["scenarios"]
    gone = {e["device"] for e in whole["timeline"] if e["to"] == "offline"}
    assert len(gone) == 29


def test_a_field_that_is_judged_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "spread.scenario.yaml"
    file.write_text(SPREAD)
    says("run", file, "--report", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text()
    assert "is undervolted<title>is_undervolted</title>" in page
    assert "is frozen" not in page


def test_list_and_explain_speak_of_the_library() -> None:
    listed = says("list")
    assert listed.exit_code == 0
    assert "Firewall blocks VPN" in listed.stdout
    told = says("explain", "Firewall blocks VPN")
    assert told.exit_code == 0
    assert "connectivity/heartbeat-only" in told.stdout
    assert "30m 00s" in told.stdout
    assert says("explain", "Firewall blcks VPN").exit_code == 2


def test_explain_takes_the_name_that_the_variants_of_a_file_share() -> None:
    told = says("explain", "One in a hundred shown wrong")
    assert told.exit_code == 0, told.output
    assert "[fault=off]" in told.stdout
    assert "[fault=on]" in told.stdout


def test_explain_names_each_scenario_once_where_a_word_fits_several() -> None:
    told = says("explain", "stale")
    assert told.exit_code == 2
    assert told.output.count("stale-disconnect-of-a-fleet") == 1


def test_check_says_that_there_is_no_mistake() -> None:
    result = says("check")
    assert result.exit_code == 0
    assert "no mistake" in result.stdout


def test_replay_prints_a_line_for_each_trace_and_none_differs() -> None:
    result = says("replay", DATA / "traces")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-1] == f"{len(lines) - 1} traces, 0 differ"
    assert all(line.endswith("ok") for line in lines[:-1])


def test_replay_names_the_fields_that_differ(tmp_path: Path) -> None:
    trace = json.loads((DATA / "traces" / "heartbeat_only.json").read_text())
    changed = json.dumps(trace).replace('"online"', '"offline"')
    path = tmp_path / "wrong.json"
    path.write_text(changed)
    result = says("replay", path)
    assert result.exit_code == 1
    assert "api_heartbeat_state" in result.stdout


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"steps": 5}', '{"settings": {}, "steps": []}']
)
def test_a_trace_that_is_none_is_told(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    result = says("replay", path)
    assert result.exit_code == 2
    assert str(path) in result.stderr


def test_every_recorded_row_of_the_truth_table_holds() -> None:
    result = says("truth-table", DATA / "truth_table.csv")
    assert result.exit_code == 0
    held, total = result.stdout.split()[0], result.stdout.split()[2]
    assert held == total


def test_a_row_that_does_not_hold_is_exit_1(tmp_path: Path) -> None:
    lines = (DATA / "truth_table.csv").read_text().splitlines()[:50]
    wrong = [line.replace("configuring", "operational") for line in lines[1:]]
    path = tmp_path / "wrong.csv"
    path.write_text("\n".join([lines[0], *wrong]))
    result = says("truth-table", path)
    assert result.exit_code == 1


def test_the_schema_is_one_and_refuses_a_misspelt_section() -> None:
    schema = json.loads(says("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"scenario": "x", "timelines": []}, schema)


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    code = (
        "import sys; sys.argv = ['fieldbeat', '--help']\n"
        "from scenarios.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'yaml', 'jinja2', 'scenarios.virtual'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert name in done.stdout


def test_a_fault_of_our_own_is_one_line(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("scenarios.virtual.run_virtual", broken)
    result = says("run", folder)
    assert result.exit_code == 70
    assert "fieldbeat itself failed: RuntimeError: a bug" in result.stderr


def test_a_scenario_the_cloud_refuses_is_exit_3(tmp_path: Path) -> None:
    path = tmp_path / "twice.scenario.yaml"
    path.write_text(
        HOLDS.replace("  - {at: 1h", "  - {at: 30m, do: release, commit: r1}\n  - {at: 1h")
    )
    result = says("run", path)
    assert result.exit_code in (2, 3)
    assert "r1" in result.stderr


def test_an_interrupt_is_not_a_failed_expectation(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scenarios.virtual.run_virtual", interrupted)
    result = says("run", folder)
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(("ends", "status"), [(LabError("gone"), 3), (KeyboardInterrupt(), 130)])
def test_what_was_run_before_the_run_ended_is_in_its_documents(
    monkeypatch: pytest.MonkeyPatch, folder: Path, ends: BaseException, status: int
) -> None:
    def second_ends(scenario: Scenario, **more: Any) -> ScenarioResult:
        if scenario.name == "Slow look":
            raise ends
        return run_scenario(scenario, **more)

    monkeypatch.setattr("scenarios.cli.run.run_scenario", second_ends)
    papers = (folder / "result.json", folder / "result.xml", folder / "report")
    result = says("run", folder, "--json", papers[0], "--junit", papers[1], "--report", papers[2])
    assert result.exit_code == status
    found = json.loads(papers[0].read_text())
    jsonschema.validate(found, json.loads((SCHEMAS / "result.schema.json").read_text()))
    names = [scenario["name"] for scenario in found["scenarios"]]
    assert (found["passed"], names, found["not_run"]) == (False, ["Quick look"], ["Slow look"])
    suites = ET.fromstring(papers[1].read_text()).findall("testsuite")
    assert [(suite.get("name"), suite.get("errors")) for suite in suites] == [
        ("Quick look", "0"),
        ("Slow look", "1"),
    ]
    page = (papers[2] / "index.html").read_text()
    assert "1 not run" in page
    assert "ended before these were through: Slow look." in page
