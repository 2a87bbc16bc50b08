"""Malformed files: one readable message for each mistake, its place, its remedy, and exit 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scenarios.cli.group import fieldbeat

ROOT = Path(__file__).parents[2]
BAD = ROOT / "tests" / "data" / "bad"
EXPECTED: dict[str, list[str]] = json.loads((BAD / "expected.json").read_text(encoding="utf-8"))
"""File → its messages, one for each mistake; written by hand-checking what is printed."""
GOOD = "scenario: Good\ntimeline:\n  - {at: 0s, do: power_on}\n  - {at: 1h, do: end}\n"


def fieldbeat_says(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(fieldbeat, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result


def messages(result: Result) -> list[str]:
    return result.stderr.strip().splitlines()


def test_every_malformed_file_is_in_the_table() -> None:
    files = {path.name.removesuffix(".scenario.yaml") for path in BAD.glob("*.scenario.yaml")}
    assert files == set(EXPECTED)
    assert len(files) >= 30


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_malformed_file_is_told_where_and_what_to_do(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BAD)
    path = f"{name}.scenario.yaml"
    checked = fieldbeat_says("check", path)
    assert checked.exit_code == 2
    assert messages(checked)[:-1] == EXPECTED[name]
    ran = fieldbeat_says("run", path)
    assert ran.exit_code == 2
    assert messages(ran) == EXPECTED[name]
    assert ran.stdout == ""


def test_one_mistake_is_one_message_naming_the_place() -> None:
    for name, lines in EXPECTED.items():
        for line in lines:
            file, number, column, _ = line.split(":", 3)
            assert file.endswith(".yaml"), name
            assert int(number) >= 1
            assert int(column) >= 1


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"scenario: Big\nabout: " + b"x" * 10_000_000, "the file is larger than 1 MiB"),
        (b"\x00\x01\x02\xff" * 100, "the file is binary"),
        (b"scenario: \xff\xfe\n", "is not UTF-8"),
        (b"[" * 100_000, "nested"),
        (b"a: " * 5_000, "not valid YAML"),
        (b"", "the file is empty"),
        (b"include: [self.scenario.yaml]\n" + GOOD.encode(), "the include is cyclic"),
        (b"!!python/object/apply:os.system ['true']\n", "is not used in scenarios"),
        (GOOD.replace("1h", "99999999999999999999h").encode(), "too long"),
    ],
    ids=["10 MB", "binary", "latin", "deep", "colons", "empty", "cyclic", "object", "endless"],
)
def test_a_hostile_file_is_one_message(content: bytes, part: str, tmp_path: Path) -> None:
    path = tmp_path / "self.scenario.yaml"
    path.write_bytes(content)
    result = fieldbeat_says("run", path)
    assert result.exit_code == 2
    assert len(messages(result)) == 1
    assert part in messages(result)[0], messages(result)
    assert str(path) in messages(result)[0]


def test_a_path_that_is_not_there_or_holds_nothing_is_told(tmp_path: Path) -> None:
    missing = fieldbeat_says("run", tmp_path / "nowhere")
    empty = fieldbeat_says("run", tmp_path)
    assert (missing.exit_code, empty.exit_code) == (2, 2)
    assert "no such file or folder" in missing.stderr
    assert "no *.scenario.yaml in this folder" in empty.stderr


def test_a_file_that_cannot_be_read_is_told() -> None:
    # reading one's own memory from its start is refused, also to root
    result = fieldbeat_says("run", "/proc/self/mem")
    assert result.exit_code == 2
    assert len(messages(result)) == 1
    assert "/proc/self/mem: cannot be read" in result.stderr


def test_the_mistakes_of_all_files_are_told_at_once_and_nothing_runs() -> None:
    result = fieldbeat_says("run", BAD)
    assert result.exit_code == 2
    assert len(messages(result)) == sum(len(lines) for lines in EXPECTED.values())
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("option", "place", "reason"),
    [
        ("--json", "good.scenario.yaml/below/a.json", "good.scenario.yaml is not a directory"),
        ("--junit", ".", "is a directory"),
        ("--report", "good.scenario.yaml", "good.scenario.yaml is not a directory"),
        ("--json", "a" * 300, "file name too long"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_anything_runs(
    tmp_path: Path, option: str, place: str, reason: str
) -> None:
    path = tmp_path / "good.scenario.yaml"
    path.write_text(GOOD)
    result = fieldbeat_says("run", path, option, tmp_path / place)
    assert (result.exit_code, result.stdout) == (2, "")
    (message,) = messages(result)
    assert "cannot be written: " in message
    assert message.endswith(reason)


def test_an_output_that_nobody_may_write_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "good.scenario.yaml"
    path.write_text(GOOD)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may do everything
    result = fieldbeat_says("run", path, "--json", tmp_path / "new" / "a.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"no permission to write in {tmp_path}" in result.stderr


def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    command = [sys.executable, "-m", "scenarios", "list"]
    reader, writer = os.pipe()
    os.close(reader)  # before it says anything
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (141, "")
