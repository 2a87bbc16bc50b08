"""How a lab of real processes is to be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """Speed, tunnel, and what to keep."""

    speed: float = 1.0
    """How much faster than real time."""
    tunnel: str = "inprocess"
    """What the ends of cloudlink are made of: inprocess, userspace or kernel."""
    keep: Path | None = None
    """A folder for logs and disks; a folder in it of the scenario's name is replaced."""
