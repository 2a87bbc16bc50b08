"""A device's disk that can be full for real: a file system of its own in memory, made smaller."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from .netns import run

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1024**3
"""Bytes at most; memory is taken by what is written."""


class Card:
    """Mounted on a folder."""

    def __init__(self, folder: Path) -> None:
        """Mount it on a folder, which is made.

        Raises:
            LabError: it cannot be mounted.
        """
        folder.mkdir()
        self.folder = folder
        options = f"size={SIZE},mode=700"
        run("mount", "-t", "tmpfs", "-o", options, "fieldbeat", str(folder))

    def change(self, *, full: bool) -> None:
        """Not another byte fits on it, or there is room again.

        Raises:
            LabError: the kernel refuses.
        """
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        run("mount", "-o", f"remount,size={max(used, 1) if full else SIZE}", str(self.folder))

    def close(self, *, keep: bool) -> None:
        """Unmount it; ``keep``: what lay on it lies in the folder."""
        aside = self.folder.with_name(f"{self.folder.name}.kept")
        if keep:
            shutil.copytree(self.folder, aside, symlinks=True)
        run("umount", "--lazy", str(self.folder))
        if keep:
            self.folder.rmdir()
            aside.rename(self.folder)
