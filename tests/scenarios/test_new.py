"""``fieldbeat new``: a file that holds as it is, and the schema that editors complete from."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from scenarios.cli.group import fieldbeat
from scenarios.file_schema import file_schema, schema_text
from scenarios.fmt import formatted
from scenarios.yaml_text import parse_document

ROOT = Path(__file__).parents[2] / "scenarios"
VALIDATOR = jsonschema.Draft202012Validator(file_schema())
LIBRARY = sorted((ROOT / "library").rglob("*.scenario.yaml"))
PACKAGED = ROOT / "schemas" / "scenario.schema.json"


def says(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(fieldbeat, list(arguments))
    return result.exit_code, result.output


def test_a_new_scenario_holds_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert says("new", "Night outage: Bern")[0] == 0
    path = tmp_path / "night-outage-bern.scenario.yaml"
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=scenario.schema.json\n")
    assert yaml.safe_load(text)["scenario"] == "Night outage: Bern"
    assert formatted(text, path) == text
    assert json.loads((tmp_path / "scenario.schema.json").read_text()) == file_schema()
    status, said = says("run", path.name)
    assert status == 0, said


def test_one_begins_with_a_scenario_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says("new", "sub/mine.scenario.yaml", "--from", "power-loss")[0] == 0
    text = (tmp_path / "sub" / "mine.scenario.yaml").read_text()
    assert text.splitlines()[:2] == [
        "# yaml-language-server: $schema=scenario.schema.json",
        "scenario: mine",
    ]
    assert says("run", "sub")[0] == 0


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    says("new", "Mine")
    (tmp_path / "mine.scenario.yaml").write_text("kept")
    (tmp_path / "scenario.schema.json").write_text("kept")
    status, text = says("new", "Mine")
    assert status == 2
    assert "mine.scenario.yaml: the file is there already" in text
    says("new", "Other")
    assert (tmp_path / "mine.scenario.yaml").read_text() == "kept"
    assert (tmp_path / "scenario.schema.json").read_text() == "kept"


def test_a_name_of_signs_is_refused() -> None:
    status, text = says("new", "???")
    assert status == 2
    assert "is no name" in text


def test_the_packaged_schema_is_what_the_program_prints() -> None:
    remedy = "run: fieldbeat schema > scenarios/schemas/scenario.schema.json"
    assert PACKAGED.read_text(encoding="utf-8") == schema_text(), remedy


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name.split(".")[0])
def test_a_file_of_the_library_points_to_the_schema_and_satisfies_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    pointer = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / pointer).resolve() == PACKAGED.resolve()
    # editors read YAML 1.2, where a bare ``on`` is a word
    VALIDATOR.validate(parse_document(text, path).data)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"at": "1h", "do": "powr_on"}, "is not one of"),
        ({"at": "1h", "do": "network", "state": "sideways"}, "is not valid under any"),
        ({"at": "1h", "do": "network", "stat": "up"}, "'stat' was unexpected"),
        ({"do": "reboot"}, "'at' is a required property"),
        ({"every": "1d", "repeat": 2, "steps": [{"at": "1h", "do": "x"}]}, "is not one of"),
    ],
)
def test_the_schema_complains_about_the_step_that_was_meant(step: object, said: str) -> None:
    errors = VALIDATOR.iter_errors({"scenario": "x", "timeline": [step]})
    assert any(said in error.message for error in errors)
