"""What a device forgets when its power goes: the tmpfs of a supervisor.

``<folder>/services`` (locks and hand-over files), the last report sent, and the mark that a reboot
is due.  The folder remembers the boot it belongs to, so that on a disk it forgets at a reboot too.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .locks import Locks

if TYPE_CHECKING:
    from collections.abc import Sequence

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HANDOVER_FILES = ("handover-complete", "resin-kill-me")


class Volatile:
    """One device's volatile folder."""

    def __init__(self, folder: Path, *, boot_id: str | None = None) -> None:
        """Open it; what is left of an earlier boot goes.

        Args:
            folder: made if it is not there.
            boot_id: of this boot; the kernel's where not given.
        """
        self.folder = folder
        self._boot_id = boot_id or _boot_id()
        self._boot = folder / "boot-id"
        self._report = folder / "state-report-cache"
        self._reboot = folder / "reboot-after-apply"
        folder.mkdir(parents=True, exist_ok=True)
        self.cold_boot = not self._boot.is_file() or self._boot.read_text() != self._boot_id
        if self.cold_boot:
            self.forget()
        self.locks = Locks(folder)
        if not self.cold_boot:
            self.locks.release_all()

    def forget(self) -> None:
        """The board reboots: all of it is gone."""
        shutil.rmtree(self.folder / "services", ignore_errors=True)
        self._report.unlink(missing_ok=True)
        self._reboot.unlink(missing_ok=True)
        self._boot.write_text(self._boot_id)
        self.cold_boot = True

    def report_cache(self) -> Sequence[Any] | None:
        """The last report sent, or ``None`` where none is left."""
        try:
            found = json.loads(self._report.read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, list) else None

    def cache_report(self, report: Sequence[Any]) -> None:
        """Keep the last report sent."""
        aside = self._report.with_name("state-report-cache.new")
        aside.write_text(json.dumps(list(report), default=dict))
        aside.replace(self._report)

    @property
    def reboot_needed(self) -> bool:
        """Something was applied that works only after a reboot."""
        return self._reboot.exists()

    def mark_reboot_needed(self) -> None:
        """Remember it until the reboot."""
        self._reboot.touch()

    def handover_signalled(self, app_id: int, service: str) -> bool:
        """The old or new container of a service said that the hand-over is complete."""
        folder = self.locks.folder(app_id, service)
        found = [folder / name for name in HANDOVER_FILES if (folder / name).exists()]
        for path in found:
            path.unlink(missing_ok=True)
        return bool(found)


class Forgetful:
    """The same for a device in memory, where nobody can hold a lock."""

    def __init__(self) -> None:
        self.cold_boot = True
        self.locks = None
        self.reboot_needed = False
        self._report: Sequence[Any] | None = None

    def forget(self) -> None:
        """The board reboots."""
        self.reboot_needed, self._report = False, None

    def report_cache(self) -> Sequence[Any] | None:
        """The last report sent."""
        return self._report

    def cache_report(self, report: Sequence[Any]) -> None:
        """Keep the last report sent."""
        self._report = report

    def mark_reboot_needed(self) -> None:
        """Remember it until the reboot."""
        self.reboot_needed = True

    def handover_signalled(self, app_id: int, service: str) -> bool:  # noqa: ARG002
        """A service by name only is there at once."""
        return True


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
