"""Holding the status rules against recorded rows: ``fieldbeat truth-table FILE.csv``.

A row is one combination of inputs and the two computed fields a running open-source API returned
for it (``STATUS.md §9``); the ``open-balena`` profile is the one held against them.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cloud_stub.status import (
    HeartbeatState,
    Install,
    StatusInputs,
    overall_progress,
    overall_status,
)

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

T = TypeVar("T")

COLUMNS = (
    "is_connected_to_vpn",
    "api_heartbeat_state",
    "last_connectivity_event",
    "provisioning_state",
    "provisioning_progress",
    "device_status",
    "device_download_progress",
    "image_installs",
    "vpn_control",
    "overall_status",
    "overall_progress",
)
MISMATCHES_KEPT = 20
"""How many mismatches a result describes; all are counted."""

_INSTALL = re.compile(
    r"(?P<release>OldRelease|Current)?(?P<status>[A-Za-z ]+?)(?P<progress>\d+|null)"
)
_FLAGS = {"t": True, "f": False}
_EVENTS = {"set": True, "null": False}
_VPN_CONTROLS = {
    "unset": False,
    "device_true": False,
    "device_false": True,
    "fleet_true": False,
    "fleet_false": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A recorded row that the rules do not give."""

    line: int
    row: Mapping[str, str]
    """As written in the file."""
    status: str
    """What the rules give."""
    progress: int | None

    def __str__(self) -> str:
        """Inputs, then recorded against given."""
        inputs = ", ".join(f"{name} {self.row[name]}" for name in COLUMNS[:-2])
        recorded = f"{self.row['overall_status']} {self.row['overall_progress']}"
        given = f"{self.status} {'null' if self.progress is None else self.progress}"
        return f"line {self.line}: recorded {recorded}, the rules give {given} for {inputs}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthTableResult:
    """How many rows of a file hold."""

    file: str
    held: int
    total: int
    mismatches: tuple[Mismatch, ...]
    """The first ones."""

    @property
    def passed(self) -> bool:
        """Every row holds."""
        return self.held == self.total


def check_truth_table(path: str | Path) -> TruthTableResult:
    """Hold every row of a file.

    Raises:
        InputError: the file cannot be read, or a row is not one; it names the line.
    """
    file = Path(path)
    held = total = 0
    mismatches: list[Mismatch] = []
    for line, row in _rows(file):
        total += 1
        inputs = _inputs(row, file, line)
        status = overall_status(inputs, "open-balena").value
        progress = overall_progress(inputs, "open-balena")
        expected = _integer(row, "overall_progress", file, line)
        if (status, progress) == (row["overall_status"], expected):
            held += 1
        elif len(mismatches) < MISMATCHES_KEPT:
            mismatches.append(Mismatch(line=line, row=row, status=status, progress=progress))
    if not total:
        raise InputError("the file holds no rows", file)
    return TruthTableResult(file=str(path), held=held, total=total, mismatches=tuple(mismatches))


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            yield from _read(lines, file)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", file) from error


def _read(lines: Iterable[str], file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            hint = f"the first line must name {', '.join(COLUMNS)}"
            raise InputError(f"has no column {missing[0]}", file, 1, hint=hint)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                text = f"{len(cells)} cells under {len(header)} columns"
                raise InputError(text, file, reader.line_num)
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(f"is not CSV: {error}", file, reader.line_num) from error


def _inputs(row: Mapping[str, str], file: Path, line: int) -> StatusInputs:
    states = {state.value: state for state in HeartbeatState}
    return StatusInputs(
        heartbeat=_choice(row, "api_heartbeat_state", states, file, line),
        is_connected_to_vpn=_choice(row, "is_connected_to_vpn", _FLAGS, file, line),
        ever_connected=_choice(row, "last_connectivity_event", _EVENTS, file, line),
        vpn_disabled=_choice(row, "vpn_control", _VPN_CONTROLS, file, line),
        provisioning_state=_text(row["provisioning_state"]),
        provisioning_progress=_integer(row, "provisioning_progress", file, line),
        status=_text(row["device_status"]),
        download_progress=_integer(row, "device_download_progress", file, line),
        installs=_installs(row["image_installs"], file, line),
    )


def _text(cell: str) -> str | None:
    return None if cell == "null" else cell


def _choice(
    row: Mapping[str, str], name: str, choices: Mapping[str, T], file: Path, line: int
) -> T:
    if row[name] not in choices:
        hint = f"one of {', '.join(choices)}"
        raise InputError(f"{name} is {row[name]!r}", file, line, hint=hint)
    return choices[row[name]]


def _integer(row: Mapping[str, str], name: str, file: Path, line: int) -> int | None:
    cell = row[name]
    if cell == "null":
        return None
    try:
        return int(cell)
    except ValueError:
        hint = "a whole number or null"
        raise InputError(f"{name} is {cell!r}", file, line, hint=hint) from None


def _installs(cell: str, file: Path, line: int) -> tuple[Install, ...]:
    if cell == "none":
        return ()
    installs = []
    for word in cell.split("+"):
        found = _INSTALL.fullmatch(word)
        if found is None:
            hint = "none, or statuses with their progress, as Downloading40+Downloadednull"
            raise InputError(f"image_installs has {word!r}", file, line, hint=hint)
        progress = found["progress"]
        installs.append(
            Install(
                status=found["status"],
                download_progress=None if progress == "null" else int(progress),
                of_target=found["release"] != "OldRelease",
            )
        )
    return tuple(installs)
