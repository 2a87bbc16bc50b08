"""What is on a board's card, as values that boards share."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from agent.config import Persisted
    from agent.events import Container

DiskState = Literal["ok", "full", "read_only", "forgets"]
"""``forgets``: it accepts writes and loses them with the power."""


class Card(NamedTuple):
    """A copy of a card, without power: no container runs."""

    persisted: Persisted | None
    images: tuple[str, ...]
    containers: tuple[Container, ...]
    stopped: tuple[str, ...]
    """Containers the engine does not start at boot."""


@lru_cache(maxsize=1024)
def shared(images: tuple[str, ...]) -> tuple[str, ...]:
    """One value for all boards with the same images."""
    return images


@lru_cache(maxsize=1024)
def shared_boxes(boxes: tuple[Container, ...]) -> tuple[Container, ...]:
    """One value for all boards with the same containers."""
    return boxes


def without_power(boxes: tuple[Container, ...]) -> tuple[Container, ...]:
    """The containers once nothing runs any more."""
    return tuple(replace(box, state="exited") if box.state == "running" else box for box in boxes)
