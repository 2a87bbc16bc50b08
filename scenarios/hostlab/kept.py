"""Folders of a run: where ``--keep`` leaves its things, and what a device's own are called."""

from __future__ import annotations

import re
import shutil
from itertools import count
from typing import TYPE_CHECKING

from ..errors import InputError, LabError
from .netns import is_left, own_prefix, unmount_below

if TYPE_CHECKING:
    from pathlib import Path

    from ..model import Scenario

MARK = ".fieldbeat"
"""In a folder that a run has kept: whose it is. What has none is nobody's to replace."""
NAME_MAX = 60
"""Characters; a file system takes 255 bytes, and something is put behind it."""
OF_THE_LAB = frozenset({"preload", "tls"})
_PLAIN = re.compile(rf"[\w-][\w -]{{,{NAME_MAX - 1}}}")


def device_folder(number: int, name: str) -> str:
    """What a device's folder is called: as it is, where that can be, and nothing else is called so.

    Args:
        number: of its site, from 1.
        name: as the scenario says.
    """
    plain = _PLAIN.fullmatch(name) is not None and name not in OF_THE_LAB
    return name if plain else f"device.{number}"


def kept_folder(keep: Path, scenario: Scenario) -> Path:
    """An empty folder for what a run leaves; what an earlier run has left there is replaced.

    Raises:
        InputError: it cannot be made, or what lies there is not of a run.
        LabError: a run that is under way has it.
    """
    folder = _free(keep, scenario)
    owner = _owner(folder)
    try:
        if folder.is_dir():
            if owner is None and any(folder.iterdir()):
                raise InputError(
                    "holds what no run has kept there, and would be replaced",
                    folder,
                    hint="another --keep",
                )
            if owner is not None and not is_left(owner):
                raise LabError(f"a run that is under way keeps its things in {folder}")
            unmount_below(folder)
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (folder / MARK).write_text(_own())
    except OSError as error:
        raise InputError(f"cannot be written: {(error.strerror or '').lower()}", folder) from None
    return folder


def _free(keep: Path, scenario: Scenario) -> Path:
    """Of the scenario's name; another one of that name in the same run has a number."""
    words = (scenario.file.name.partition(".")[0] or "scenario", *scenario.params.values())
    name = re.sub(r"[^\w.-]+", "-", "-".join(words))[:NAME_MAX]
    folders = (keep / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(folder for folder in folders if _owner(folder) != _own())


def _own() -> str:
    return f"{own_prefix()}-kept"


def _owner(folder: Path) -> str | None:
    try:
        return (folder / MARK).read_text()
    except (OSError, ValueError):
        return None
