"""What a simulated board's sensors read: memory, storage, processor and temperature.

A sample is taken when the supervisor starts and when containers change.  Any two neighbouring
samples of a board differ by more than the supervisor's noise filter, so they ride along with the
report of what happened, as on a real device; that is what moves the update status duration after a
reboot or a restart of a service (``STATUS.md §2``).  In between the readings stand still: reports
of metrics alone change no status.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..streams import Stream

SAMPLES = 64
"""Different samples; devices share them."""


@cache
def sample(number: int, *, undervolted: bool) -> Mapping[str, Any]:
    """One of the samples; each is in a memory bucket of its own (10 MB)."""
    return MappingProxyType(
        {
            "cpu_usage": 4 + number % 5 * 20,
            "memory_usage": 250 + 10 * number,
            "memory_total": 1_849,
            "storage_usage": 2_100 + number,
            "storage_total": 14_190,
            "storage_block_device": "/dev/mmcblk0p6",
            "cpu_temp": 41 + number % 7 * 5,
            "is_undervolted": undervolted,
        }
    )


def following(number: int, draws: Stream) -> int:
    """The number of the next sample, never the same again."""
    return (number + 1 + draws.upto(SAMPLES - 2)) % SAMPLES
