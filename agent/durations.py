"""Durations in the words of a supervisor's log."""

from __future__ import annotations


def pretty(duration_ms: int) -> str:
    """A duration as the supervisor writes it in a line: its largest unit, ``32s`` or ``2m``."""
    for unit, length_ms in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if duration_ms >= length_ms:
            return f"{duration_ms // length_ms}{unit}"
    return f"{duration_ms}ms"
