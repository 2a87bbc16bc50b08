"""What carries out the supervisor's wishes about images and containers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from .. import effects as do
from ..events import Container, ContainerChanged, EngineSnapshot, ImageRemoved, PullFinished

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..events import Event
    from .output import Output

EngineEffect = (
    do.PullImage
    | do.CancelPull
    | do.RemoveImage
    | do.CreateContainer
    | do.StartContainer
    | do.StopContainer
    | do.RemoveContainer
    | do.RelabelContainer
)


class Engine(Protocol):
    """A container engine, as much of it as a supervisor needs."""

    def attach(self, tell: Callable[[Event], None]) -> None:
        """From now on tell what happens here."""
        ...

    def snapshot(self) -> EngineSnapshot:
        """What there is."""
        ...

    def app_id(self, app: str) -> int | None:
        """The number of an app, by its uuid, that has containers."""
        ...

    def carry_out(self, effect: EngineEffect, service: Mapping[str, Any]) -> None:
        """Begin what an effect says; its end is told.

        Args:
            effect: what to do.
            service: of a container to be created, its part of the target state.
        """
        ...

    def output(self) -> list[Output]:
        """What services have written since the last call."""
        ...

    async def stop_all(self) -> None:
        """Stop every container: the board goes down in order."""
        ...

    async def close(self) -> None:
        """Give up what is under way."""
        ...


class MemoryEngine:
    """Images and containers by name only: for thousands of devices in one process."""

    def __init__(self) -> None:
        self._images: set[str] = set()
        self._boxes: dict[str, Container] = {}
        self._tell: Callable[[Event], None] = lambda _: None

    def attach(self, tell: Callable[[Event], None]) -> None:
        """From now on tell what happens here."""
        self._tell = tell

    def snapshot(self) -> EngineSnapshot:
        """What there is."""
        return EngineSnapshot(
            images=frozenset(self._images), containers=tuple(self._boxes.values())
        )

    def app_id(self, app: str) -> int | None:  # noqa: ARG002
        """Not known: what is in memory has no lock files."""
        return None

    def carry_out(self, effect: EngineEffect, service: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Do it; it is told as soon as the loop comes round."""
        match effect:
            case do.PullImage():
                self._images.add(effect.image)
                self._soon(PullFinished(image=effect.image))
            case do.CancelPull():
                pass
            case do.RemoveImage():
                self._images.discard(effect.image)
                self._soon(ImageRemoved(image=effect.image))
            case do.CreateContainer():
                self._boxes[effect.name] = Container.made_by(effect)
                self._soon(ContainerChanged(name=effect.name, state="created"))
            case do.StartContainer():
                self._set(effect.name, "running")
            case do.StopContainer():
                self._set(effect.name, "exited")
            case do.RemoveContainer():
                self._boxes.pop(effect.name, None)
                self._soon(ContainerChanged(name=effect.name, state="removed"))
            case do.RelabelContainer():
                box = self._boxes.pop(effect.name, None)
                if box is not None:
                    new = replace(box, name=effect.new_name, commit=effect.commit)
                    self._boxes[effect.new_name] = new

    def _set(self, name: str, state: Any) -> None:
        if name in self._boxes:
            self._boxes[name] = replace(self._boxes[name], state=state)
            self._soon(ContainerChanged(name=name, state=state))

    def _soon(self, event: Event) -> None:
        asyncio.get_running_loop().call_soon(self._tell, event)

    def output(self) -> list[Output]:
        """A name writes nothing."""
        return []

    async def stop_all(self) -> None:
        """Stop every container."""
        self._boxes = {name: replace(box, state="exited") for name, box in self._boxes.items()}

    async def close(self) -> None:
        """Nothing is under way."""
