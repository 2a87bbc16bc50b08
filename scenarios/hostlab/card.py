"""A device's disk that can be full, read-only or forgetful: a file system of its own in memory."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
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
MS_RDONLY, MS_REMOUNT, MS_BIND = 0x1, 0x20, 0x1000
_LIBC = ctypes.CDLL(None, use_errno=True)
TRIES, AGAIN_S = 50, 0.1
"""A file system with a file open for writing does not become read-only."""


def _what_is_there(source: str, to: str) -> None:
    """Copy a file of a disk that is written to meanwhile: one may be renamed or removed."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, to)


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
        size = used + LEFT if state == "full" else SIZE
        for left in reversed(range(TRIES)):
            try:
                self._remount(MS_RDONLY if state == "read_only" else 0, f"size={size}")
                if state == "read_only":
                    # the file system is, not this mount of it: a program that starts now has a
                    # copy of the mount, which nobody makes writable again
                    self._remount(MS_BIND)
                return
            except OSError as error:
                if not left:
                    raise LabError(
                        f"{self.folder} is not to be {state}: {error.strerror}"
                    ) from error
                await asyncio.sleep(AGAIN_S)

    def _remount(self, flags: int, options: str = "") -> None:
        """As ``mount -o remount``, which says again whose it is: in a user's namespace, whose root
        is root of nothing else, that is a number of nobody, and the kernel refuses it."""
        words = os.fsencode(self.folder), options.encode()
        if _LIBC.mount(None, words[0], None, ctypes.c_ulong(MS_REMOUNT | flags), words[1]):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def _forget(self, begins: bool) -> None:
        if self._remembered is not None:
            shutil.rmtree(self._remembered)
        self._remembered = self.folder.with_name(f"{self.folder.name}.then") if begins else None
        if self._remembered is not None:
            shutil.copytree(
                self.folder, self._remembered, symlinks=True, copy_function=_what_is_there
            )

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
