"""``fieldbeat coverage``: every sentence of the specification is pinned, and by whom."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

import jsonschema
import pytest
from click.testing import CliRunner, Result

from scenarios.cli.group import fieldbeat
from scenarios.spec import sentences

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = json.loads(
    (resources.files("scenarios") / "schemas" / "coverage.schema.json").read_text("utf-8")
)
PINS_TWO = """\
scenario: Quick look
spec: [status/operational, update/done]
timeline:
  - {at: 0s, do: power_on}
  - {at: 1h, do: end}
expect:
  - eventually: {overall_status: operational}
    within: 2m
"""


def says(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(fieldbeat, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result


def lines_of(result: Result, sentence: str) -> list[str]:
    """What is printed about one sentence."""
    blocks = [block.splitlines() for block in result.stdout.split("\n\n")]
    return next(
        block for block in blocks if any(line.split()[1:2] == [sentence] for line in block[:2])
    )


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    file = tmp_path / "quick.scenario.yaml"
    file.write_text(PINS_TWO)
    return file


def test_the_library_pins_every_sentence_and_holds() -> None:
    result = says("coverage", "-q")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""


def test_a_sentence_shows_its_words_and_the_scenarios_that_pin_it(quick: Path) -> None:
    block = lines_of(says("coverage", quick), "status/operational")
    assert block[-1].split(maxsplit=1) == ["held", "Quick look"]
    assert any("Heartbeat and cloudlink both work" in line for line in block)


def test_a_sentence_without_a_scenario_is_exit_1(quick: Path) -> None:
    result = says("coverage", quick)
    assert result.exit_code == 1
    assert lines_of(result, "status/frozen")[-1].strip() == "no scenario pins it"
    assert result.stdout.splitlines()[-1].startswith(f"2 of {len(sentences())} sentences are")


def test_a_scenario_that_fails_shows_at_its_sentences(quick: Path) -> None:
    quick.write_text(PINS_TWO.replace("operational}", "frozen}"))
    result = says("coverage", quick)
    assert result.exit_code == 1
    assert "FAILED  Quick look" in lines_of(result, "update/done")[-1]
    assert "1 of which failed" in result.stdout.splitlines()[-1]


def test_an_unknown_id_is_exit_1_with_its_place_and_a_suggestion(quick: Path) -> None:
    quick.write_text(PINS_TWO.replace("status/operational", "status/operationl"))
    result = says("coverage", quick)
    assert result.exit_code == 1
    place = f"{quick}:2:8: the specification has no sentence 'status/operationl'"
    assert f"{place} (did you mean 'status/operational'?)" in result.stdout


@pytest.mark.parametrize("spec", ["spec: status/operationl", "spec:\n  - status/operationl"])
def test_check_hints_at_an_unknown_id_with_its_place(quick: Path, spec: str) -> None:
    quick.write_text(PINS_TWO.replace("spec: [status/operational, update/done]", spec))
    result = says("check", quick)
    assert result.exit_code == 0
    (line,) = [text for text in result.stdout.splitlines() if text.startswith("hint: ")]
    assert str(quick) in line
    assert "did you mean 'status/operational'?" in line


def test_people_have_sentences_of_their_own(quick: Path) -> None:
    own = quick.parent / "own.yaml"
    own.write_text(
        "- document: Contract\n  sentences: {update/done: Ends., status/operational: Up.}\n"
    )
    assert says("coverage", "--spec", own, quick).exit_code == 0
    other = quick.parent / "other.yaml"
    other.write_text("- document: Contract\n  sentences: {sla/1: Never down.}\n")
    assert says("coverage", "--spec", other, quick).exit_code == 1


@pytest.mark.parametrize(
    "text", ["- 5\n", "- {document: X}\n", "- {document: X, sentences: {a: 1}}\n"]
)
def test_a_malformed_list_of_sentences_is_told(quick: Path, text: str) -> None:
    own = quick.parent / "own.yaml"
    own.write_text(text)
    result = says("coverage", "--spec", own, quick)
    assert result.exit_code == 2
    assert f"{own}:1:" in result.stderr


def test_check_takes_known_ids_and_files_without_any(quick: Path) -> None:
    assert says("check", quick).exit_code == 0
    quick.write_text(PINS_TWO.replace("spec: [status/operational, update/done]\n", ""))
    assert says("check", quick).exit_code == 0


def test_a_scenario_that_pins_nothing_is_named(quick: Path) -> None:
    (quick.parent / "loose.scenario.yaml").write_text(
        PINS_TWO.replace("spec: [status/operational, update/done]\n", "").replace("Quick", "Loose")
    )
    assert "pin no sentence: Loose look" in says("coverage", quick.parent).stdout


def test_the_json_document_is_as_its_schema_says_and_comes_alone_on_stdout(quick: Path) -> None:
    result = says("coverage", "--json", "-", quick)
    matrix = json.loads(result.stdout)
    jsonschema.validate(matrix, SCHEMA)
    by_id = {row["id"]: row for row in matrix["sentences"]}
    assert by_id["update/done"]["scenarios"] == [
        {"name": "Quick look", "file": quick.as_posix(), "passed": True}
    ]
    assert not by_id["update/aborted"]["pinned"]
    assert not matrix["complete"]


def test_the_json_document_goes_to_a_file(quick: Path, tmp_path: Path) -> None:
    says("coverage", "-q", "--json", tmp_path / "out" / "matrix.json", quick)
    jsonschema.validate(json.loads((tmp_path / "out" / "matrix.json").read_text()), SCHEMA)


def test_explain_prints_a_sentence_beside_its_id(quick: Path) -> None:
    said = says("explain", quick).stdout
    assert f"  update/done\n      {sentences()['update/done'].words}\n" in said


def test_the_sentences_are_short_and_their_ids_are_words() -> None:
    for sentence in sentences().values():
        assert len(sentence.words) <= 150, sentence.id
        assert sentence.words.endswith("."), sentence.id
        assert sentence.id.replace("/", "").replace("-", "").isalnum(), sentence.id
