"""A device's disk that can be full, read-only or forgetful: a file system of its own in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

from ..errors import LabError
from .disk import wipe
from .netns import run

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1024**3
"""Bytes at most; memory is taken by what is written."""
LEFT = 64 * 1024
"""Bytes that a full card has left: not for an image, but for what a supervisor writes down."""
TRIES, AGAIN_S = 50, 0.1
"""A file system with a file open for writing does not become read-only."""


class Card:
    """Mounted on a folder."""

    def __init__(self, folder: Path) -> None:
        """Mount it on a folder, which is made.

        Raises:
            LabError: it cannot be mounted.
        """
        folder.mkdir()
        self.folder = folder
        self._remembered: Path | None = None
        """What it was when it began to forget."""
        options = f"size={SIZE},mode=700"
        run("mount", "-t", "tmpfs", "-o", options, "fieldbeat", str(folder))

    async def change(self, state: str) -> None:
        """``full``: no image fits any more; ``read_only``: nothing is written; ``forgets``: what is
        written from now on goes with the power; ``ok``: as before.

        Raises:
            LabError: the kernel refuses, as while a file is being written.
        """
        self._forget(state == "forgets")
        found = os.statvfs(self.folder)
        used = max(1, (found.f_blocks - found.f_bfree) * found.f_frsize)
        way = "ro" if state == "read_only" else "rw"
        size = used + LEFT if state == "full" else SIZE
        for left in reversed(range(TRIES)):
            try:
                run("mount", "-o", f"remount,{way},size={size}", str(self.folder))
                if way == "ro":
                    # the file system is, not this mount of it: a program that starts now has a
                    # copy of the mount, which nobody makes writable again
                    run("mount", "-o", "remount,bind,rw", str(self.folder))
                return
            except LabError:
                if not left:
                    raise
                await asyncio.sleep(AGAIN_S)

    def _forget(self, begins: bool) -> None:
        if self._remembered is not None:
            shutil.rmtree(self._remembered)
        self._remembered = self.folder.with_name(f"{self.folder.name}.then") if begins else None
        if self._remembered is not None:
            shutil.copytree(self.folder, self._remembered, symlinks=True)

    def power_gone(self) -> None:
        """What a forgetful one holds is what it held when it began to forget."""
        if self._remembered is not None:
            wipe(self.folder)
            shutil.copytree(self._remembered, self.folder, symlinks=True, dirs_exist_ok=True)

    def close(self, *, keep: bool) -> None:
        """Unmount it; ``keep``: what lay on it lies in the folder."""
        aside = self.folder.with_name(f"{self.folder.name}.kept")
        if keep:
            shutil.copytree(self.folder, aside, symlinks=True)
        run("umount", "--lazy", str(self.folder))
        if keep:
            self.folder.rmdir()
            aside.rename(self.folder)
