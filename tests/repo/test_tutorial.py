"""The tutorial runs: its files as they stand, its commands in order, its outputs as printed."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from scenarios.cli.group import fieldbeat

PAGE = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
FILES = {
    text.split("\n", 1)[0].removeprefix("# "): text.split("\n", 1)[1]
    for kind, text in BLOCKS
    if kind == "yaml"
}
COMMANDS = [
    line.removeprefix("$ ")
    for kind, text in BLOCKS
    if kind == "console"
    for line in text.splitlines()
]
FIRST = "router-off-at-night.scenario.yaml"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("line", [line for line in COMMANDS if FIRST not in line])
def test_a_command_of_the_tutorial_works(line: str, place: Path) -> None:
    program, *arguments = shlex.split(line)
    assert program == "fieldbeat"
    if arguments[0] == "new":
        shutil.move(place / FIRST, place / "aside")
    result = CliRunner().invoke(fieldbeat, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", [name for name in FILES if name != FIRST])
def test_a_file_of_the_tutorial_holds(name: str, place: Path) -> None:
    result = CliRunner().invoke(fieldbeat, ["run", name])
    assert result.exit_code == 0, result.output


def test_the_first_file_fails_as_told_and_holds_once_mended(place: Path) -> None:
    failed = CliRunner().invoke(fieldbeat, ["run", FIRST])
    assert failed.exit_code == 1
    (shown,) = [text for kind, text in BLOCKS if kind == "text"]
    printed = " ".join(failed.output.split())
    for line in shown.splitlines():
        assert " ".join(line.split()) in printed
    text = (place / FIRST).read_text()
    (place / FIRST).write_text(text.replace("within: 1m", "within: poll_interval + 1m"))
    held = CliRunner().invoke(fieldbeat, ["run", FIRST])
    assert held.exit_code == 0, held.output
