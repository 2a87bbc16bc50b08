"""Update locks as files, where user code looks for them (``SUPERVISOR.md §4``).

``<root>/services/<app id>/<service>/updates.lock`` and, for old code, ``resin-updates.lock``.  A
lock is held when the path is there, whatever made it: a file, a folder, a dangling link.  Ours hold
a line of our own, and as root they belong to uid 65534, as the real supervisor's do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from ..events import LocksRefused, LocksTaken
from .files import point

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ..effects import TakeLocks

NAMES = ("updates.lock", "resin-updates.lock")
OWNER = 65_534
_OURS = b"fieldbeat\n"


class Locks:
    """The lock files of a device."""

    def __init__(self, root: Path) -> None:
        self._root = root / "services"

    def folder(self, app_id: int, service: str) -> Path:
        """Where user code of a service puts its lock; made if it is not there."""
        folder = self._root / str(app_id) / service
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            folder.chmod(0o1777)
        return folder

    def take(self, effect: TakeLocks, app_id: int) -> LocksTaken | LocksRefused:
        """All files of all services, or none."""
        taken: list[Path] = []
        for service in effect.services:
            folder = self.folder(app_id, service)
            for name in NAMES:
                path = folder / name
                if not self._take(path, force=effect.force):
                    for own in taken:
                        _remove(own)
                    return LocksRefused(attempt=effect.attempt, app=effect.app, service=service)
                taken.append(path)
        return LocksTaken(attempt=effect.attempt)

    def _take(self, path: Path, *, force: bool) -> bool:
        if os.path.lexists(path):
            if not (force or _is_ours(path)):
                return False
            _remove(path)
        point("lock")
        try:
            # user code may win the race: then it is theirs
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, _OURS)
            if os.geteuid() == 0:
                os.fchown(descriptor, OWNER, -1)
        finally:
            os.close(descriptor)
        point("locked")
        return True

    def release(self, app_id: int) -> None:
        """Remove ours; a user's stays."""
        for path in self._files(self._root / str(app_id)):
            if _is_ours(path):
                _remove(path)

    def release_all(self) -> None:
        """Remove what an earlier run of ours left."""
        for folder in self._folders(self._root):
            self.release(int(folder.name) if folder.name.isdigit() else 0)

    def prepare(self, apps: Mapping[int, Iterable[str]]) -> None:
        """Make the folders of these services."""
        for app_id, services in apps.items():
            for service in services:
                self.folder(app_id, service)

    def _files(self, folder: Path) -> list[Path]:
        return [
            service / name
            for service in self._folders(folder)
            for name in NAMES
            if os.path.lexists(service / name)
        ]

    @staticmethod
    def _folders(folder: Path) -> list[Path]:
        return sorted(path for path in folder.iterdir()) if folder.is_dir() else []


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        if path.stat().st_uid == OWNER:
            return True
        return path.read_bytes()[: len(_OURS) + 1] == _OURS
    except OSError:
        return False


def _remove(path: Path) -> None:
    point("unlock")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    point("unlocked")
