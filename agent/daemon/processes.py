"""Processes of services: started in a session of their own, watched by pidfd, ended in order.

A process outlives an agent that is killed, as a container outlives its supervisor; the next agent
knows it by pid and start time and watches on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .output import open_output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def python() -> tuple[str, ...]:
    """This interpreter, for a program of ours: a file of somebody's in the working directory is no
    module of it, unless the working directory is where this program itself comes from."""
    here = Path(__file__).resolve().parents[2]
    try:
        ours = Path.cwd() == here
    except OSError:  # it has been removed
        ours = False
    return (sys.executable,) if ours else (sys.executable, "-P")


class Identity(NamedTuple):
    """A process, told from a later one of the same number."""

    pid: int
    started: int
    """Clock ticks after the boot."""


def identity(pid: int) -> Identity | None:
    """Of a living process; ``None`` where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]))


def marked(mark: str) -> dict[str, Identity]:
    """The living session leaders whose environment has ``MARK=<mark>/<name>``, by name.

    What one agent started the next one finds, wherever the first was killed.
    """
    begin = f"{MARK}={mark}/".encode()
    found: dict[str, Identity] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            leader = os.getsid(int(folder.name)) == int(folder.name)
        except OSError:
            continue
        known = identity(int(folder.name))
        for variable in variables if leader and known is not None else ():
            if variable.startswith(begin) and known is not None:
                found[variable[len(begin) :].decode("utf-8", "replace")] = known
    return found


MARK = "FIELDBEAT_CONTAINER"
"""In the environment of every process: its engine's folder and its container."""


class Process:
    """One running process."""

    def __init__(self, known: Identity, ended: Callable[[Process], None]) -> None:
        """Watch a process; must be called in a running loop.

        Args:
            known: which.
            ended: told once, when it is gone.

        Raises:
            ProcessLookupError: it is gone already.
        """
        self.known = known
        self._ended = ended
        self._child: subprocess.Popen[bytes] | None = None
        self._kill: asyncio.TimerHandle | None = None
        self.status: int | None = None
        """How it ended; ``None`` where it is not this program's child."""
        self._descriptor = os.pidfd_open(known.pid)
        if identity(known.pid) != known and identity(known.pid) is not None:
            os.close(self._descriptor)
            raise ProcessLookupError(known.pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._gone)

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: tuple[Path, Path],
        ended: Callable[[Process], None],
    ) -> Process:
        """Start a command; ``output`` are the files of what it writes, and of its errors.

        Raises:
            OSError: there is no such program, or it may not be run.
        """
        descriptors = [open_output(path) for path in output]
        try:
            child = subprocess.Popen(  # noqa: S603  # the release says what runs
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptors[0],
                stderr=descriptors[1],
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        # until it is waited for, even a process that ended at once is there
        started = _started(child.pid)
        process = cls(Identity(child.pid, started), ended)
        process._child = child
        return process

    def _gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        if self._kill is not None:
            self._kill.cancel()
        if self._child is not None:
            self.status = self._child.wait()
        self._ended(self)

    def stop(self, grace_s: float) -> None:
        """SIGTERM to all of its session, and SIGKILL after the grace."""
        self._signal(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        self._kill = loop.call_later(grace_s, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.known.pid, number)


def _started(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[19])


def service_environment(**more: str) -> dict[str, str]:
    """What a service sees of the board's environment, and what a supervisor adds."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    return {**kept, "BALENA": "1", **more}
