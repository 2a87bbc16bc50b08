"""Recorded rows against the status rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.errors import InputError
from scenarios.truth_table import COLUMNS, check_truth_table

RECORDED = Path(__file__).parents[1] / "data" / "truth_table.csv"
GOOD = "f,unknown,null,null,null,Idle,null,none,unset,configuring,null"


def write(folder: Path, *lines: str) -> Path:
    file = folder / "table.csv"
    file.write_text("\n".join((",".join(COLUMNS), *lines, "")), encoding="utf-8")
    return file


def test_every_recorded_row_holds() -> None:
    result = check_truth_table(RECORDED)
    assert (result.held, result.total, result.mismatches) == (4_310, 4_310, ())
    assert result.passed


def test_a_row_that_does_not_hold_is_told_with_its_line(tmp_path: Path) -> None:
    wrong = GOOD.replace("configuring", "operational")
    result = check_truth_table(write(tmp_path, GOOD, wrong, GOOD))
    assert (result.held, result.total, result.passed) == (2, 3, False)
    [mismatch] = result.mismatches
    assert mismatch.line == 3
    assert "recorded operational null, the rules give configuring null" in str(mismatch)
    assert "api_heartbeat_state unknown" in str(mismatch)


def test_any_changed_cell_of_the_results_is_noticed(tmp_path: Path) -> None:
    lines = RECORDED.read_text(encoding="utf-8").splitlines()[1::97]
    for line in lines:
        cells = line.split(",")
        for column, other in ((-2, "frozen"), (-1, "77")):
            changed = [*cells]
            changed[column] = other
            assert not check_truth_table(write(tmp_path, ",".join(changed))).passed


def test_only_the_first_mismatches_are_described(tmp_path: Path) -> None:
    wrong = GOOD.replace("configuring", "operational")
    result = check_truth_table(write(tmp_path, *[wrong] * 50))
    assert (result.held, result.total, len(result.mismatches)) == (0, 50, 20)


def test_installs_are_read_with_their_release_and_progress(tmp_path: Path) -> None:
    head = "t,online,set,null,null,Idle,null"
    rows = (
        f"{head},OldReleaseDownloading41+CurrentRunningnull,unset,updating,71",
        f"{head},Downloading40+Downloadednull,unset,updating,70",
        f"{head},Handing over5+Downloading0,unset,updating,3",
    )
    result = check_truth_table(write(tmp_path, *rows))
    assert result.passed, result.mismatches


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (GOOD.replace("unknown", "asleep"), "api_heartbeat_state is 'asleep'"),
        (GOOD.replace("f,", "no,", 1), "is_connected_to_vpn is 'no'"),
        (GOOD.replace("none", "Downloading"), "image_installs has 'Downloading'"),
        (GOOD.replace("unset", "off"), "vpn_control is 'off'"),
        (GOOD + "x", "overall_progress is 'nullx'"),
        ("f,unknown", "2 cells under 11 columns"),
        ('"f', "is not CSV"),
    ],
)
def test_a_row_that_is_none_is_named_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(InputError, match=r"table\.csv:3: ") as caught:
        check_truth_table(write(tmp_path, GOOD, line))
    assert words in str(caught.value)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    with pytest.raises(InputError, match="cannot be read"):
        check_truth_table(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        check_truth_table(file)
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no column is_connected_to_vpn"):
        check_truth_table(file)
    file.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="has no column"):
        check_truth_table(file)
    with pytest.raises(InputError, match="holds no rows"):
        check_truth_table(write(tmp_path))
