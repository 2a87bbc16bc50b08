"""The image, the compose file and the systemd unit: linted, and started with flags there are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from scenarios.cli.group import fieldbeat
from scenarios.health import healthy

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNIT = (ROOT / "packaging" / "fieldbeat-agent.service").read_text()
STARTS = {
    name: service["command"] for name, service in COMPOSE["services"].items() if name != "broker"
}
STARTS["unit"] = re.findall(r"^ExecStart=\S+/fieldbeat (.*)$", UNIT, re.MULTILINE)[0].split()


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [program, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", STARTS)
def test_what_is_started_has_flags_that_there_are(name: str) -> None:
    command, *rest = STARTS[name]
    shown = CliRunner().invoke(fieldbeat, [command, "--help"]).output
    flags = [word for word in rest if word.startswith("--")]
    assert flags
    assert [flag for flag in flags if flag not in shown] == []


def test_every_agent_of_the_compose_file_has_files_of_its_own() -> None:
    agents = [service for name, service in COMPOSE["services"].items() if "agent" in name]
    assert len(agents) == 3
    assert len({agent["command"][2] for agent in agents}) == 3
    assert len({agent["volumes"][1] for agent in agents}) == 3


def test_the_image_copies_what_the_wheel_is_made_of() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for package in ("agent", "cloud_stub", "scenarios"):
        assert f"COPY {package} {package}" in text
        assert f"!{package}\n" in (ROOT / ".dockerignore").read_text()


def test_where_nobody_listens_nothing_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.health.PLACES", ("http://127.0.0.1:9/healthz",))
    assert not healthy()
