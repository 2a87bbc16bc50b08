"""``fieldbeat fmt``: one shape, the same meaning, comments kept, nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from scenarios.cli.group import fieldbeat
from scenarios.errors import InputError
from scenarios.fmt import formatted
from scenarios.yaml_text import parse_document

LIBRARY = sorted((Path(__file__).parents[2] / "scenarios" / "library").rglob("*.scenario.yaml"))
HERE = Path("x.scenario.yaml")
UNTIDY = """\
# why this file is here
scenario:   Night


timeline:
- do: network   # the switch
  at: 1h
  state: down
- {id: back, at: 2h, do: network,
   state: up}
- do: config
  name: X
  value: null
  at: 90m
- at: 3h
  do: end
expect:
- within: 5m
  after: back
  eventually:
    overall_status: operational
- {never: {is_frozen: true}}
"""
TIDY = """\
# why this file is here
scenario: Night

timeline:
  - do: network # the switch
    at: 1h
    state: down
  - {at: 2h, do: network, state: up, id: back}
  - {at: 90m, do: config, name: X, value: null}
  - {at: 3h, do: end}

expect:
  - eventually: {overall_status: operational}
    after: back
    within: 5m
  - never: {is_frozen: true}
"""


def test_a_file_is_brought_into_shape_with_its_comments() -> None:
    assert formatted(UNTIDY, HERE) == TIDY


def test_what_is_in_shape_stays() -> None:
    assert formatted(TIDY, HERE) == TIDY


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name.split(".")[0])
def test_the_library_is_in_shape(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert formatted(text, path) == text, f"run: fieldbeat fmt {path}"


WORDS = st.text(alphabet="abc #:,{}[]&*!|>'\"%@`-?10\n", max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@example(
    {
        "about": {
            "%-'`*%@&*|b]": "1#&-!c![a*#c",
            ']"0&*': {'"': -4, " ": {}, "*#,a`": [None, True, False]},
            "a%\ncab\n}0a,|": [[None], {",#": 5}],
        }
    }
)
@given(st.dictionaries(st.sampled_from(["timeline", "expect", "about", "x"]), VALUES, min_size=1))
def test_any_file_keeps_its_meaning_or_is_refused(data: dict[str, object]) -> None:
    import yaml

    text = yaml.safe_dump(data)
    try:
        after = formatted(text, HERE)
    except InputError:
        return
    assert parse_document(after, HERE).data == parse_document(text, HERE).data
    assert formatted(after, HERE) == after


def says(*arguments: str, stdin: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(fieldbeat, ["fmt", *arguments], input=stdin)
    return result.exit_code, result.output


def test_check_changes_nothing_and_says_what_would_change(tmp_path: Path) -> None:
    path = tmp_path / "x.scenario.yaml"
    path.write_text(UNTIDY)
    status, text = says("--check", str(tmp_path))
    assert (status, path.read_text()) == (1, UNTIDY)
    assert f"{path}: would change" in text
    assert says(str(path))[0] == 0
    assert path.read_text() == TIDY
    assert says("--check", str(path))[0] == 0


def test_standard_input_is_written_to_standard_output() -> None:
    assert says("-", stdin=UNTIDY) == (0, TIDY)


def test_one_file_that_cannot_be_read_leaves_all_as_they_are(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.scenario.yaml", tmp_path / "b.scenario.yaml"
    good.write_text(UNTIDY)
    bad.write_text("scenario: [\n")
    status, text = says(str(tmp_path))
    assert status == 2
    assert "b.scenario.yaml:2:1: not valid YAML" in text
    assert good.read_text() == UNTIDY


def test_a_key_written_twice_is_told_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'scenario' is written twice"):
        formatted("scenario: A\nscenario: B\n", HERE)
