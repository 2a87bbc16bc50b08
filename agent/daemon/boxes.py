"""A container as the process engine keeps it: what runs in it, and its file."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..events import Container
from .files import write_json
from .processes import python

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .processes import Process

_log = logging.getLogger("fieldbeat.engine")
COMMAND_LABEL = "io.fieldbeat.command"
"""Of a service: the command to run, as in a shell but without one."""
START_LABEL = "io.fieldbeat.start-time"
"""Of a service: seconds the engine takes to start it, as with volumes to fill; else 0."""
ALWAYS = "always"
_FIELDS = ("name", "app", "service", "commit", "image", "setup", "state")


@dataclass(slots=True)
class Box:
    """A container, and its process."""

    known: Container
    app_id: int
    command: tuple[str, ...]
    environment: dict[str, str]
    process: Process | None = None
    mark: str = ""
    """Its name when it was made: a hand-over gives it another."""
    service_id: int | None = None
    wanted: bool = False
    """It should run; the restart policy sees to it."""
    crashes: int = 0
    started_s: float = 0.0
    again: asyncio.TimerHandle | None = None
    """When it is started: after a crash, or once the engine is through with it."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    restart: str = ALWAYS
    """As in a composition: ``always``, ``unless-stopped``, ``on-failure`` or ``no``."""
    start_s: float = 0.0
    """What the engine takes to start it."""

    def comes_back(self, status: int | None) -> bool:
        """Whether the restart policy starts it again; ``status``: how it ended, where known."""
        if self.restart == "on-failure":
            return status != 0
        return self.restart != "no"


def made(known: Container, service: Mapping[str, Any], mark: str) -> Box:
    """A new one.

    Args:
        known: what the supervisor asked for.
        service: its part of the target state.
        mark: its name for its processes.
    """
    labels = service.get("labels") or {}
    text = labels.get(COMMAND_LABEL)
    try:
        command = shlex.split(text) if isinstance(text, str) else []
    except ValueError as error:
        _log.error("%s of service %s: %s", COMMAND_LABEL, known.service, error)
        command = []
    given = service.get("environment") or {}
    composition = service.get("composition") or {}
    return Box(
        known,
        int(service.get("app_id", 0)),
        tuple(command or (*python(), "-m", "agent.daemon.workload")),
        {str(name): str(value) for name, value in given.items()},
        mark=mark,
        service_id=service.get("id"),
        restart=str(composition.get("restart", ALWAYS)),
        start_s=_seconds(labels.get(START_LABEL)),
    )


def _seconds(text: Any) -> float:
    try:
        seconds = float(text or 0)
    except (TypeError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def read(path: Path) -> Box | None:
    """A stored one; ``None`` where the file cannot be used."""
    try:
        value = json.loads(path.read_text())
        return Box(
            Container(**value["container"]),
            value["app_id"],
            tuple(value["command"]),
            value["environment"],
            mark=value["mark"],
            service_id=value.get("service_id"),
            wanted=value["wanted"],
            restart=value.get("restart", ALWAYS),
            start_s=value.get("start_s", 0.0),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.error("%s cannot be read (%s) and is left out", path, error)
        return None


def store(path: Path, box: Box) -> None:
    """Write its file.

    Raises:
        OSError: the disk takes nothing.
    """
    write_json(
        path,
        {
            "container": {name: getattr(box.known, name) for name in _FIELDS},
            "app_id": box.app_id,
            "command": box.command,
            "environment": box.environment,
            "process": None if box.process is None else list(box.process.known),
            "mark": box.mark,
            "service_id": box.service_id,
            "wanted": box.wanted,
            "restart": box.restart,
            "start_s": box.start_s,
        },
    )
