"""Malformed files: one readable message for each mistake, with its place and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.compile import compile_file, compile_text
from scenarios.errors import InputError, InputErrors
from scenarios.verbs import Config, Pin
from scenarios.yaml_text import parse_document

BAD = Path(__file__).resolve().parents[1] / "data" / "bad"

MESSAGES = {
    "a_list": ["1:1: a scenario is a mapping (start with"],
    "after_the_end": ["5:10: power_off at 2h 00m 00s comes after the end at 1h 00m 00s (move"],
    "alias_bomb": ["too many values (aliases repeat"],
    "alias_of_itself": ["2:17: *all contains itself"],
    "alias_to_nothing": ["1:11: *name refers to nothing"],
    "ambiguous_anchor": ["9:12: 'power_on' names several moments: line 3 at 0s, line 5 at 20m 00s"],
    "binary": ["2:1: the file is binary"],
    "block_and_allow": ["4:5: firewall: say either block or allow"],
    "colon_in_text": ["1:14: not valid YAML"],
    "cyclic_include": ["two.yaml:1:11: the include is cyclic: one.yaml → two.yaml → one.yaml"],
    "duplicate_id": ["5:33: the id 'cut' is taken"],
    "duplicate_key": ["6:1: 'tags' is written twice (first in line 5)"],
    "empty": ["1:1: the file is empty"],
    "flag_as_word": ["6:39: is_connected_to_vpn is never on (true or false)"],
    "id_of_a_product_name": ["3:32: 'poll_interval' is a duration of the product"],
    "latin1": ["1:12: the file is not UTF-8 (save it as UTF-8)"],
    "missing_include": ["2:10: there is no file 'fragments/nowhere.yaml'"],
    "missing_parameter": ["4:5: network needs 'state'"],
    "misspelt_field": ["6:18: unknown field 'overal_status' (did you mean 'overall_status'?)"],
    "misspelt_key_of_an_anchor": ["4:19: unknown verb 'netwrk' (did you mean 'network'?)"],
    "misspelt_parameter": ["4:29: firewall has no 'blok' (did you mean 'block'?)"],
    "misspelt_service_key": ["4:58: release (services.main) has no 'sise' (did you mean 'size'?)"],
    "misspelt_status": ["6:34: overall_status is never Reduced Functionality (did you mean 'red"],
    "misspelt_strategy": ["4:68: release: services.main.strategy cannot be handover (did you mean"],
    "misspelt_value": ["4:36: firewall: block cannot be vnp (did you mean 'vpn'?)"],
    "mistake_in_a_fragment": ["fragments/wrong.yaml:2:18: unknown verb 'rebot' (did you mean 'reb"],
    "negative_time": ["3:10: -5m is before the run starts"],
    "no_kind": ["6:5: an expectation has no 'eventualy' (did you mean 'eventually'?)"],
    "no_name": ["1:1: the file needs 'scenario'"],
    "no_time": ["3:5: power_on needs 'at'"],
    "no_timeline": ["1:1: the timeline is empty"],
    "no_verb": ["3:5: a step needs 'do'"],
    "only_a_comment": ["1:1: the file is empty"],
    "primitive_without_script": ["4:18: heartbeat is for scripted devices (say so in the file: fl"],
    "python_tag": ["1:11: tag tag:yaml.org,2002:python/object/apply:os.system is not used"],
    "quantifier_typo": ["8:10: no device is called 'eny' (did you mean 'any'?)"],
    "repeating_sequence": ["6:46: operational follows itself"],
    "sequence_of_two_fields": ["6:15: a sequence speaks of one field"],
    "several_mistakes": [
        "2:1: a scenario has no 'tag' (did you mean 'tags'?)",
        "4:28: power_on has no 'one' (did you mean 'on'?)",
        "5:32: lock: state cannot be held (did you mean 'hold'?)",
        "8:34: overall_status is never operationl (did you mean 'operational'?)",
        "9:12: unknown anchor or name 'power_off' (did you mean 'power_on'?)",
    ],
    "share_without_percent": [
        "4:33: impair: loss: a share lies between 0% and 100%, 20 does not: w"
    ],
    "size_without_sense": ["4:64: release: services.main.size: 'big' is not a size: write 20 MB"],
    "tab_indentation": ["3:1: a tab in the indentation (indent with blanks)"],
    "time_without_unit": ["4:10: power_off: at: 30 needs a unit: write 30s"],
    "too_many_devices": ["2:18: fleet: devices: it must be at most 1000000, not 2000000"],
    "two_documents": ["3:1: a second document"],
    "two_ends": ["5:18: a second 'end'"],
    "two_kinds": ["6:5: an expectation: say exactly one of eventually, always, never, sequence"],
    "unclosed_bracket": ["the bracket opened in line 3 is not closed"],
    "unit_as_word": ["4:10: unknown unit 'min' in '30min' (write 30m)"],
    "unknown_anchor": ["8:12: unknown anchor or name 'bloked' (did you mean 'blocked'?)"],
    "unknown_device": ["4:32: no device is called 'alfa' (did you mean 'alpha'?)"],
    "unknown_name": ["7:13: unknown name 'vpn_server_timout' (did you mean 'vpn_server_timeout'?)"],
    "unknown_profile": [
        "2:18: cloud: profile cannot be balenacloud (did you mean 'balena-cloud'?)"
    ],
    "unknown_section": ["2:1: a scenario has no 'timelines' (did you mean 'timeline'?)"],
    "unknown_service": ["6:18: no release has a service 'mian' (did you mean 'main'?)"],
    "unknown_verb": ["3:18: unknown verb 'poweron' (did you mean 'power_on'?)"],
    "window_backwards": ["9:12: the window ends (0s) before it starts (30m 00s)"],
}
"""File → a part of each of its messages."""


def mistakes(path: Path) -> list[str]:
    try:
        compile_file(path)
    except InputError as error:
        return [str(error)]
    except InputErrors as several:
        return [str(error) for error in several.errors]
    return []


def mistakes_in(text: str) -> list[str]:
    try:
        compile_text(text, name="x.scenario.yaml")
    except InputError as error:
        return [str(error)]
    except InputErrors as several:
        return [str(error) for error in several.errors]
    return []


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_each_mistake_gives_one_message_with_place_and_remedy(name: str) -> None:
    found = mistakes(BAD / f"{name}.scenario.yaml")
    assert len(found) == len(MESSAGES[name]), found
    for message, part in zip(found, MESSAGES[name], strict=True):
        assert part in message
        assert message.startswith(str(BAD))
        assert "\n" not in message


def test_every_malformed_file_is_in_the_table() -> None:
    assert {path.name.split(".")[0] for path in BAD.glob("*.scenario.yaml")} == set(MESSAGES)


def test_a_file_of_ten_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.scenario.yaml"
    path.write_bytes(b"scenario: x\n" + b"# padding\n" * 1_048_576)
    assert mistakes(path) == [f"{path}: the file is larger than 1 MiB (is it a scenario?)"]


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    assert "no such file" in mistakes(tmp_path / "nothing.scenario.yaml")[0]
    assert "directory" in mistakes(tmp_path)[0]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 5_000])
def test_deep_nesting_is_refused_without_a_crash(text: str) -> None:
    assert "nested deeper" in mistakes_in(text)[0]


def test_words_that_yaml_1_1_took_for_flags_are_words() -> None:
    data = parse_document("[on, off, yes, no, true, null, 0x10, 1e3, 0777, '12']", Path("x")).data
    assert data == ["on", "off", "yes", "no", True, None, 16, 1000.0, 777, "12"]


def test_a_number_keeps_its_spelling_where_text_is_meant() -> None:
    scenario = compile_text(
        "scenario: Numbers\n"
        "timeline:\n"
        "  - {at: 0, do: config, name: RESIN_SUPERVISOR_POLL_INTERVAL, value: 0900000}\n"
        "  - {at: 1s, do: pin, commit: 1e5}\n"
        "  - {at: 1h, do: end}\n"
    )
    config, pin, _ = (step.action for step in scenario.steps)
    assert isinstance(config, Config)
    assert config.value == "0900000"
    assert isinstance(pin, Pin)
    assert pin.commit == "1e5"


def test_an_alias_repeats_a_value() -> None:
    scenario = compile_text(
        "scenario: Alias\n"
        "timeline:\n"
        "  - {at: 0s, do: power_on}\n"
        "  - &cut {at: 1m, do: firewall, block: [vpn, api]}\n"
        "  - {at: 1h, do: end}\n"
        "tags: [&word power]\n"
        "spec: [*word]\n"
    )
    assert scenario.tags == scenario.spec == ("power",)
