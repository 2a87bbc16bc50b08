"""Delays that double: after failed polls and reports, after locks, after failed pulls."""

from __future__ import annotations

DOUBLINGS_MAX = 40
"""Beyond any cap; keeps the arithmetic small after a week of failures."""


def backoff_ms(failures: int, *, first_ms: int, cap_ms: int) -> int:
    """``min(cap, first × 2^failures)`` milliseconds, without jitter (``SUPERVISOR.md`` §1, §2, §4).

    ``failures`` counts from 0 for the first delay.
    """
    doublings: int = 1 << min(failures, DOUBLINGS_MAX)
    return min(cap_ms, first_ms * doublings)
