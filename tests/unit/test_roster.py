"""Fleets, groups, and what on: and for: mean by a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scenarios.compile import compile_text
from scenarios.errors import InputErrors

if TYPE_CHECKING:
    from scenarios.model import Scenario

TEXT = """\
scenario: S
fleets:
  canary: {{devices: 3, release: c1}}
  rest: {{names: [shop, depot], behaviour: supervisor-19}}
groups:
  north: [canary-1, shop]
  half: 50% of canary
  all-north: [north, depot]
timeline:
  - {{at: 0s, do: power_on, on: {on}}}
  - {{at: 1h, do: end}}
expect:
  - {{never: {{is_frozen: true}}, for: {for_}}}
"""


def made(on: str = "all", for_: str = "all") -> Scenario:
    return compile_text(TEXT.format(on=on, for_=for_))


def refused(on: str = "all", for_: str = "all") -> str:
    with pytest.raises(InputErrors) as caught:
        made(on, for_)
    return str(caught.value)


def test_devices_are_named_after_their_fleet() -> None:
    assert [(d.name, d.fleet) for d in made().devices] == [
        ("canary-1", "canary"),
        ("canary-2", "canary"),
        ("canary-3", "canary"),
        ("shop", "rest"),
        ("depot", "rest"),
    ]


def test_each_fleet_has_its_release_and_behaviour() -> None:
    scenario = made()
    commits = {name: release.commit for name, release in scenario.releases.items()}
    assert commits == {"canary": "c1", "rest": "r1"}
    assert {d.behaviour for d in scenario.devices if d.fleet == "rest"} == {"supervisor-19"}


@pytest.mark.parametrize(
    ("on", "devices"),
    [
        ("canary", ("canary-1", "canary-2", "canary-3")),
        ("north", ("canary-1", "shop")),
        ("half", ("canary-1", "canary-2")),
        ("all-north", ("canary-1", "shop", "depot")),
        ("[depot, canary-2]", ("canary-2", "depot")),
        ("50% of rest", ("shop",)),
        ("40%", ("canary-1", "canary-2")),
        ("0%", ()),
        ("all but shop", ("canary-1", "canary-2", "canary-3", "depot")),
        ("all but north but depot", ("canary-2", "canary-3")),
        ("canary but north", ("canary-2", "canary-3")),
        ("100% of canary but canary-2", ("canary-1", "canary-3")),
        ("[canary, depot, but north]", ("canary-2", "canary-3", "depot")),
        ("[but canary, but shop]", ("depot",)),
        ("[canary but canary-1, north]", ("canary-1", "canary-2", "canary-3", "shop")),
    ],
)
def test_a_step_acts_on_the_devices_its_words_mean(on: str, devices: tuple[str, ...]) -> None:
    assert made(on=on).steps[0].devices == devices


@pytest.mark.parametrize(
    ("for_", "mode", "devices"),
    [
        ("any", "any", ()),
        ("any of north", "any", ("canary-1", "shop")),
        ("all but north", "all", ("canary-2", "canary-3", "depot")),
        ("none of canary", "none", ("canary-1", "canary-2", "canary-3")),
        ("80% of rest", "at_least", ("shop", "depot")),
        ("rest", "all", ("shop", "depot")),
    ],
)
def test_an_expectation_speaks_of_the_devices_its_words_mean(
    for_: str, mode: str, devices: tuple[str, ...]
) -> None:
    quantifier = made(for_=for_).expectations[0].quantifier
    assert (quantifier.mode, quantifier.devices) == (mode, devices)


def test_an_unknown_word_is_told() -> None:
    assert "no device or group is called 'nroth' (did you mean 'north'?)" in refused(on="nroth")
    assert "no device or group is called 'nroth'" in refused(for_="any of nroth")


def test_leaving_everybody_out_is_a_mistake() -> None:
    """An expectation for nobody would be one for all."""
    assert "'all but canary but rest' leaves no device" in refused(for_="all but canary but rest")
    assert "leaves no device" in refused(on="[north, but north]")
    assert "no device or group is called 'nroth'" in refused(on="all but nroth")


def test_a_device_may_have_a_name_with_but_in_it() -> None:
    fleet = "scenario: S\nfleet: {names: [all but one, one]}\n"
    step = "timeline: [{at: 0s, do: power_on, on: all but one}]\n"
    assert compile_text(fleet + step).steps[0].devices == ("all but one",)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ("groups: {device-1: [device-1]}", "'device-1' is taken"),
        ("groups: {north: [device-7]}", "no device is called 'device-7'"),
        ("groups: {north: {a: 1}}", "a group is a list of devices"),
        ("fleets: {a: {devices: 0}}", "it must be at least 1"),
        ("fleets: {a: {}, b: {}}\nfleet: {devices: 2}", "say either fleet or fleets"),
        ("fleets: {a: {names: [x]}, b: {names: [x]}}", "two devices have one name"),
        ("fleets: [a, b]", "fleets must be a mapping"),
    ],
)
def test_a_mistake_in_a_section_is_told(sections: str, said: str) -> None:
    with pytest.raises(InputErrors) as caught:
        compile_text(f"scenario: S\n{sections}\ntimeline: [{{at: 0s, do: end}}]\n")
    assert said in str(caught.value)


def test_a_release_names_a_fleet_that_is_there() -> None:
    text = TEXT.format(on="all", for_="all").replace(
        "timeline:\n", "timeline:\n  - {at: 1m, do: release, commit: c2, fleet: cnary}\n"
    )
    with pytest.raises(InputErrors, match=r"there is no fleet 'cnary'.*did you mean 'canary'"):
        compile_text(text)


def test_the_size_of_several_fleets_is_not_overridden() -> None:
    with pytest.raises(InputErrors, match="--devices sets the size of one fleet"):
        compile_text(TEXT.format(on="all", for_="all"), devices=5)
