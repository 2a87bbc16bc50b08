"""What a supervisor writes into a device's log about images and services (``SUPERVISOR.md §4``).

Its words for what it begins (effects) and what has come of it (events).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import effects as do
from .events import ContainerChanged, ImageRemoved, PullFailed, PullFinished

if TYPE_CHECKING:
    from .effects import Effect
    from .events import Event
    from .mirror import Mirror


def begins(effect: Effect, mirror: Mirror) -> str | None:
    """The line of something that is begun."""
    match effect:
        case do.PullImage():
            return f"Downloading image '{effect.image}'"
        case do.RemoveImage():
            return f"Deleting image '{effect.image}'"
        case do.CreateContainer():
            return f"Installing service '{effect.service} {effect.image}'"
        case do.StartContainer():
            return _of(mirror, effect.name, "Starting service")
        case do.StopContainer():
            return _of(mirror, effect.name, "Killing service")
        case do.Note():
            return effect.log
        case do.Reboot():
            return "Rebooting"
        case do.ShutDown():
            return "Shutting down"
        case _:
            return None


def came(event: Event, mirror: Mirror) -> str | None:
    """The line of what has happened; asked before the supervisor takes the event."""
    match event:
        case PullFinished():
            return f"Downloaded image '{event.image}'"
        case PullFailed():
            return f"Failed to download image '{event.image}' due to '{event.reason}'"
        case ImageRemoved():
            return f"Deleted image '{event.image}'"
        case ContainerChanged():
            return _changed(event, mirror)
        case _:
            return None


def _changed(event: ContainerChanged, mirror: Mirror) -> str | None:
    box = mirror.find(event.name)
    if box is None:
        return None
    words = {
        ("created", "creating"): "Installed service",
        ("running", "starting"): "Started service",
        ("running", None): "Restarting service",
        ("exited", "stopping"): "Killed service",
        ("exited", None): "Service exited",
    }.get((event.state, box.doing))
    return None if words is None else _of(mirror, event.name, words)


def _of(mirror: Mirror, name: str, words: str) -> str | None:
    box = mirror.find(name)
    return None if box is None else f"{words} '{box.service} {box.image}'"
