"""The README's commands run as they stand, and the pages keep in step with the program."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from scenarios.cli.group import COMMANDS, fieldbeat
from scenarios.reference import reference
from tests.mutation_table import HEADING, mutation_table
from tests.stub_cloud import EMAIL, PASSWORD, running
from tests.unit.test_reports import STORY

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SET_UP = [text.strip() for kind, text in BLOCKS if kind == "sh"]
"""Run by ``.ci/run``: they make the environment these tests run in."""
COMMAND_LINES = [
    line.removeprefix("$ ")
    for kind, text in BLOCKS
    if kind == "console"
    for line in text.splitlines()
]
SCENARIO = next(text for kind, text in BLOCKS if kind == "yaml")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the reader has it: a checkout with the README's own scenario."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "tests" / "data", folder / "tests" / "data")
    (folder / "my.scenario.yaml").write_text(SCENARIO, encoding="utf-8")
    return folder


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_of_the_readme_works(line: str, place: Path) -> None:
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/fieldbeat"
    code = "import sys; from scenarios.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=place,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_set_up_commands_are_those_that_ci_runs() -> None:
    assert SET_UP == [
        "bash .ci/setup && .venv/bin/fieldbeat run",
        "bash .ci/setup dev && .venv/bin/pytest",
        "bash .ci/setup cloud && .venv/bin/fieldbeat cloud",
    ]
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_python_of_the_readme_works_against_the_stub(tmp_path: Path) -> None:
    pytest.importorskip("balena")
    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    with running(tmp_path) as stub:
        for said, meant in (
            ("http://127.0.0.1:8080", stub.url),
            ("admin@fieldbeat.local", EMAIL),
            ("the one that was printed", PASSWORD),
        ):
            assert said in code
            code = code.replace(said, meant)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "inactive\n"), done.stderr


def test_the_readme_names_every_command() -> None:
    for name in COMMANDS:
        assert f"fieldbeat {name}" in README, name


def test_the_failure_in_the_readme_is_what_is_printed() -> None:
    shown = next(text for kind, text in BLOCKS if kind == "text" and "nearest" in text)
    for line in shown.splitlines():
        assert " ".join(line.split()) in " ".join(STORY.split())


def test_every_file_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_reference_page_is_what_the_program_prints() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert page == reference(), "run: fieldbeat schema --markdown > docs/reference.md"
    assert CliRunner().invoke(fieldbeat, ["schema", "--markdown"]).stdout == page


def test_the_mutation_page_has_the_rows_of_the_tests() -> None:
    page = (ROOT / "docs" / "mutation.md").read_text(encoding="utf-8")
    _, below = page.split(f"{HEADING}\n")
    table = below[below.index("| Without:") :]
    assert table == mutation_table(), "print the rows with: python -m tests.mutation_table"
