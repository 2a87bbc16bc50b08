"""What a run keeps and where: nothing of anybody else is replaced, nothing stays mounted there."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.compile import compile_text
from scenarios.errors import InputError, LabError
from scenarios.hostlab import netns
from scenarios.hostlab.fleets import app_name
from scenarios.hostlab.kept import MARK, device_folder, kept_folder
from tests.hostlab.lab import needs_host

EMPTY = "scenario: x\ntimeline:\n  - {at: 0s, do: power_on}\n  - {at: 1m, do: end}\n"
SCENARIO = replace(compile_text(EMPTY), file=Path("case.scenario.yaml"))
OF_A_DEAD_RUN = "fieldbeat-1-0-kept"


def _kept_by(owner: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / MARK).write_text(owner)
    (folder / "cloud.log").touch()


def test_what_an_earlier_run_has_kept_is_replaced(tmp_path: Path) -> None:
    _kept_by(OF_A_DEAD_RUN, tmp_path / "case")
    folder = kept_folder(tmp_path, SCENARIO)
    assert (folder, [path.name for path in folder.iterdir()]) == (tmp_path / "case", [MARK])


def test_what_no_run_has_kept_is_not_replaced(tmp_path: Path) -> None:
    thesis = tmp_path / "case" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.touch()
    with pytest.raises(InputError, match="case: holds what no run has kept there"):
        kept_folder(tmp_path, SCENARIO)
    assert thesis.exists()


def test_what_a_run_under_way_keeps_is_not_replaced(tmp_path: Path) -> None:
    _kept_by(f"fieldbeat-1-{netns._started(1)}-kept", tmp_path / "case")
    with pytest.raises(LabError, match="a run that is under way keeps its things in"):
        kept_folder(tmp_path, SCENARIO)


def test_runs_of_one_command_keep_theirs_apart(tmp_path: Path) -> None:
    variants = [replace(SCENARIO, params={"mode": mode}) for mode in ("drop", "a/b")]
    files = [replace(SCENARIO, file=Path(folder) / SCENARIO.file) for folder in ("a", "b", "c")]
    names = [kept_folder(tmp_path, scenario).name for scenario in (*variants, *files)]
    assert names == ["case-drop", "case-a-b", "case", "case-2", "case-3"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_cannot_be_written_is_a_mistake_of_the_person(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="case: cannot be written: not a directory"):
        kept_folder(tmp_path / place, SCENARIO)


def test_a_card_that_a_killed_run_left_in_it_is_taken_out(tmp_path: Path) -> None:
    needs_host()
    keep = tmp_path / "two words\tand more"
    _kept_by(OF_A_DEAD_RUN, keep / "case")
    card = keep / "case" / "device-1"
    card.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "fieldbeat", str(card)], check=True)
    try:
        assert list(kept_folder(keep, SCENARIO).iterdir()) == [keep / "case" / MARK]
        assert not card.is_mount()
    finally:
        if card.is_mount():
            subprocess.run(["umount", "--lazy", str(card)], check=True)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("device-1", "device-1"),
        ("Gerät 7", "Gerät 7"),
        ("☃", "device.3"),
        ("x" * 61, "device.3"),
        ("cloud.log", "device.3"),
        ("device-1.host", "device.3"),
        ("..", "device.3"),
        ("preload", "device.3"),
        ("tls", "device.3"),
    ],
)
def test_a_devices_folder_is_called_as_it_is_where_that_can_be(name: str, folder: str) -> None:
    assert device_folder(3, name) == folder


def test_a_fleet_may_have_a_name_that_the_cloud_would_refuse() -> None:
    assert app_name("plant-7") == "plant-7"
    others = [app_name(name) for name in ("b", "Plant-7", "Süd 1", "x" * 101)]
    assert len({*others, "plant-7"}) == 5
    assert all(name.isascii() and 4 <= len(name) <= 100 for name in others)
