"""What services write: two files for each container, read as they grow, never larger than a bound.

Files, not pipes: a service outlives an agent that is killed, and must not die of a closed pipe.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .files import remove

if TYPE_CHECKING:
    from pathlib import Path

FILE_MAX = 1024 * 1024
"""A file that is longer, and has been read, is emptied."""
READ_MAX = 256 * 1024
"""Bytes taken at one look."""
LINE_MAX = 64 * 1024
"""Bytes of a line without an end that are waited for."""
LAST_MAX = 100
"""Last words of processes that are kept until somebody looks."""


class Output(NamedTuple):
    """Lines of a service since the last look."""

    service_id: int | None
    """Of the target state that it was made for."""
    lines: tuple[str, ...]
    stderr: bool


def open_output(path: Path) -> int:
    """A descriptor for a process to write to; what is in the file stays."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


class Tail:
    """Follows one file."""

    __slots__ = ("_at", "_path", "_rest")

    def __init__(self, path: Path, *, at_end: bool = False) -> None:
        """Read from its beginning, or only what comes from now on."""
        self._path = path
        self._at = path.stat().st_size if at_end and path.exists() else 0
        self._rest = b""

    def lines(self) -> tuple[str, ...]:
        """Whole lines since the last call; a file that is gone has none."""
        try:
            size = self._path.stat().st_size
            if size == self._at:
                return ()
            with self._path.open("rb") as file:
                file.seek(self._at if size >= self._at else 0)
                data = file.read(READ_MAX)
                self._at = file.tell()
            if self._at == size and size > FILE_MAX:
                os.truncate(self._path, 0)
                self._at = 0
        except OSError:
            return ()
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX:
            whole.append(self._rest)
            self._rest = b""
        return tuple(line.decode("utf-8", "replace").rstrip("\r") for line in whole)

    def last(self) -> tuple[str, ...]:
        """What is left: the process has ended, a line without an end is one."""
        found = self.lines()
        rest, self._rest = self._rest, b""
        return (*found, rest.decode("utf-8", "replace")) if rest else found


class Outputs:
    """The files of a device's containers, by the name a container was made with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._followed: dict[str, tuple[int | None, tuple[Tail, Tail]]] = {}
        self._last: list[Output] = []
        """What processes that have ended wrote last."""

    def files(self, mark: str) -> tuple[Path, Path]:
        """Of what a container writes, and of its errors."""
        return self._folder / f"{mark}.out", self._folder / f"{mark}.err"

    def follow(self, mark: str, service_id: int | None) -> None:
        """Tell what a container writes from now on."""
        if mark not in self._followed:
            out, error = self.files(mark)
            self._followed[mark] = service_id, (Tail(out, at_end=True), Tail(error, at_end=True))

    def ended(self, mark: str) -> None:
        """Its process is over: its last words stay."""
        self._last = [*self._last, *self._written(mark, ended=True)][-LAST_MAX:]

    def forget(self, mark: str) -> None:
        """The container is gone."""
        self._followed.pop(mark, None)
        for path in self.files(mark):
            remove(path)

    def take(self) -> list[Output]:
        """What was written since the last call."""
        found, self._last = self._last, []
        for mark in self._followed:
            found += self._written(mark, ended=False)
        return found

    def _written(self, mark: str, *, ended: bool) -> list[Output]:
        if mark not in self._followed:
            return []
        service_id, tails = self._followed[mark]
        told = [tail.last() if ended else tail.lines() for tail in tails]
        return [
            Output(service_id, lines, stderr)
            for lines, stderr in zip(told, (False, True), strict=True)
            if lines
        ]
