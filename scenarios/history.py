"""What happened in a run: field changes, marks of the timeline, and notes of the machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Change(NamedTuple):
    """A field of a device changed in the cloud's view."""

    at_ms: int
    device: str
    field: str
    old: Any
    new: Any
    cause: str


class Mark(NamedTuple):
    """A step of the timeline was carried out."""

    at_ms: int
    id: str
    text: str
    devices: tuple[str, ...]


class Note(NamedTuple):
    """A machine said something worth a line (``poll failed: timeout, next in 15 s``)."""

    at_ms: int
    device: str
    text: str


class Unmet(NamedTuple):
    """What a step itself expected (``action … expect``) did not come."""

    at_ms: int
    device: str
    text: str
    line: int


class History:
    """A recorded run, in the order it happened; times never go backwards."""

    __slots__ = ("changes", "end_ms", "heartbeats", "initial", "marks", "notes", "unmet")

    def __init__(self, devices: Mapping[str, Mapping[str, Any]]) -> None:
        self.initial: dict[str, Mapping[str, Any]] = dict(devices)
        """device name → every field at time 0."""
        self.changes: list[Change] = []
        self.marks: list[Mark] = []
        self.notes: list[Note] = []
        self.unmet: list[Unmet] = []
        self.heartbeats = 0
        self.end_ms = 0
