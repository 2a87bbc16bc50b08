"""Writing files so that a power cut leaves the old one or the new one, never half of one.

Every point at which the disk changes is announced to ``on_write_point``; tests kill there.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _nothing(_name: str) -> None:
    return


on_write_point: Callable[[str], None] = _nothing
"""Told before and after each step of a write; a crash test puts its own here."""


def point(name: str) -> None:
    """The disk is about to change, or has changed."""
    on_write_point(name)


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file: written aside, flushed to the disk, then renamed over the old one.

    Args:
        path: of the file.
        data: all of it.
        mode: of a new file; it may hold keys.

    Raises:
        OSError: the disk takes nothing; the old file is as it was.
    """
    aside = path.with_name(f".{path.name}.new")
    point("create")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(descriptor, data[: len(data) // 2])
        point("half written")
        view = memoryview(data)[len(data) // 2 :]
        while view:
            view = view[os.write(descriptor, view) :]
        point("written")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    settle(aside, path)


def settle(aside: Path, path: Path) -> None:
    """Rename a file that is whole and flushed, and have the folder remember it."""
    point("rename")
    aside.replace(path)
    point("renamed")
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    point("folder flushed")


def write_json(path: Path, value: Any, *, mode: int = 0o600) -> None:
    """The same for a JSON value.

    Raises:
        OSError: the disk takes nothing; the old file is as it was.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, default=dict)
    write_whole(path, text.encode() + b"\n", mode=mode)


def remove(path: Path) -> None:
    """Delete a file that may be gone already."""
    point("unlink")
    path.unlink(missing_ok=True)
    point("unlinked")
