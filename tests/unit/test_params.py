"""Parameters: variants, substitution, and every mistake told with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scenarios.compile import compile_text, compile_variants
from scenarios.errors import InputErrors

if TYPE_CHECKING:
    from pathlib import Path

    from scenarios.model import Scenario

TEXT = """\
scenario: Firewall
params:
{params}
timeline:
  - {{at: 0s, do: power_on}}
  - {{at: 30m, do: firewall, block: vpn, mode: "${{mode}}", id: cut}}
  - {{at: 1h, do: end}}
expect:
  - eventually: {{overall_status: reduced-functionality}}
    after: cut
    within: {within}
"""


def variants(tmp_path: Path, params: str, *, within: str = "5m", **given: str) -> list[Scenario]:
    path = tmp_path / "x.scenario.yaml"
    path.write_text(TEXT.format(params=params, within=within))
    return compile_variants(path, given={name: (value,) for name, value in given.items()})


def refused(text: str) -> str:
    with pytest.raises(InputErrors) as caught:
        compile_text(text, name="x.scenario.yaml")
    return str(caught.value)


def test_a_list_makes_the_file_a_scenario_for_each_value(tmp_path: Path) -> None:
    made = variants(tmp_path, "  mode: [drop, reject]")
    assert [s.name for s in made] == ["Firewall [mode=drop]", "Firewall [mode=reject]"]
    assert [s.steps[1].action.mode for s in made] == ["drop", "reject"]  # type: ignore[union-attr]


def test_lists_multiply(tmp_path: Path) -> None:
    made = variants(tmp_path, "  mode: [drop, reject]\n  wait: [4m, 5m]", within="${wait}")
    assert [tuple(s.params.values()) for s in made] == [
        ("drop", "4m"),
        ("drop", "5m"),
        ("reject", "4m"),
        ("reject", "5m"),
    ]
    windows = [(s.expectations[0].until_ms or 0) - s.expectations[0].from_ms for s in made]
    assert windows == [240_000, 300_000, 240_000, 300_000]


def test_named_cases_keep_values_together(tmp_path: Path) -> None:
    cases = "  mode: reject\n  case: {slow: {wait: 5m}, quick: {wait: 2s}}"
    made = variants(tmp_path, cases, within="${case.wait} + 1s")
    assert [s.name for s in made] == ["Firewall [case=slow]", "Firewall [case=quick]"]
    assert [(s.expectations[0].until_ms or 0) - 1_800_000 for s in made] == [301_000, 3_000]


def test_a_given_value_replaces_the_list(tmp_path: Path) -> None:
    made = variants(tmp_path, "  mode: [drop, reject]", mode="reject")
    assert [s.name for s in made] == ["Firewall [mode=reject]"]


def test_a_parameter_alone_keeps_its_type() -> None:
    text = "scenario: S\nparams: {n: 3}\nfleet: {devices: '${n}'}\ntimeline: [{at: 0s, do: end}]\n"
    assert len(compile_text(text).devices) == 3


def test_a_doubled_dollar_is_a_plain_one() -> None:
    text = "scenario: A $${b}\ntimeline: [{at: 0s, do: end}]\n"
    assert compile_text(text).name == "A ${b}"


def test_keys_can_be_parameters_and_keep_their_place() -> None:
    text = (
        "scenario: S\nparams: {field: overal_status}\ntimeline: [{at: 1m, do: end}]\n"
        "expect:\n  - never: {'${field}': disconnected}\n"
    )
    assert "x.scenario.yaml:5:13: unknown field 'overal_status'" in refused(text)


@pytest.mark.parametrize(
    ("params", "use", "said"),
    [
        ("{mode: drop}", "${mod}", "there is no parameter 'mod' (did you mean 'mode'?)"),
        ("{c: {a: {w: 1s}}}", "${c.v}", "case 'a' of c has no 'v'"),
        ("{c: a}", "${c.v}", "c has no parts"),
        ("{c: []}", "x", "the list of values is empty"),
        ("{c: [[1]]}", "x", "a value of a list is one word"),
        ("{c: {a: 1}}", "x", "a case is a mapping of values"),
        ("{1c: a}", "x", "'1c' is no name"),
        ("[a]", "x", "a mapping (name: value) is needed"),
    ],
)
def test_a_mistake_is_told(params: str, use: str, said: str) -> None:
    text = f"scenario: S\nabout: '{use}'\nparams: {params}\ntimeline: [{{at: 0s, do: end}}]\n"
    assert said in refused(text)


def test_an_unknown_case_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputErrors, match=r"case has no case 'slwo'.*did you mean 'slow'"):
        variants(tmp_path, "  mode: drop\n  case: {slow: {a: 1}}", case="slwo")


def test_too_many_variants_are_refused() -> None:
    many = ", ".join(str(n) for n in range(15))
    text = f"scenario: S\nparams: {{a: [{many}], b: [{many}]}}\ntimeline: [{{at: 0s, do: end}}]\n"
    assert "the parameters multiply to 225 scenarios" in refused(text)
