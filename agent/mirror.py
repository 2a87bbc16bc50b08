"""The supervisor's picture of the container engine: containers, images, running pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from .config import ImageRow, shared_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .events import ContainerState, EngineSnapshot
    from .target import TargetApp, TargetService

Doing = Literal["creating", "starting", "stopping", "removing"]


class Use(NamedTuple):
    """What an image is for: a row says so of an image on the disk, a target of one to come."""

    image: str
    app: str
    service: str
    commit: str


class Box:
    """One container, and what the supervisor is doing to it."""

    __slots__ = (
        "app",
        "commit",
        "doing",
        "image",
        "name",
        "service",
        "setup",
        "state",
        "waits_reboot",
    )

    def __init__(self, name: str, use: Use, state: ContainerState, setup: str = "") -> None:
        self.name = name
        self.setup = setup
        """What it was created with, as a digest; empty where that is not known."""
        self.image, self.app, self.service, self.commit = use
        self.state: ContainerState = state
        self.doing: Doing | None = None
        self.waits_reboot = False
        """Created, and may only start after a reboot (``requires-reboot``)."""

    def fits(self, service: TargetService) -> bool:
        """It is what the target wants of the service, but for the release's name."""
        return self.image == service.image and self.setup in ("", service.setup)


class Mirror:
    """Containers and images; small lists, as a device has few of either."""

    __slots__ = ("boxes", "pulls", "removing", "rows")

    def __init__(self) -> None:
        self.boxes: tuple[Box, ...] = ()
        self.rows: tuple[ImageRow, ...] = ()
        """Images on the disk, whole."""
        self.pulls: dict[str, int] | None = None
        """Image → percent of the pulls that run."""
        self.removing: tuple[str, ...] = ()
        """Images being deleted."""

    def attach(
        self, engine: EngineSnapshot, known: tuple[ImageRow, ...], apps: Iterable[TargetApp]
    ) -> None:
        """Read the engine at start; an image without a row is known if the target names it."""
        self.boxes = tuple(
            Box(
                found.name,
                Use(found.image, found.app, found.service, found.commit),
                found.state,
                found.setup,
            )
            for found in engine.containers
        )
        rows = {row: None for row in known if row.image in engine.images}
        named = {row.image for row in rows}
        for use in uses_of(apps):
            if use.image in engine.images and use.image not in named:
                rows[ImageRow(*use)] = None
        self.rows = shared_rows(tuple(sorted(rows)))

    def has(self, image: str) -> bool:
        """Whether the image is on the disk, whole and not being deleted."""
        return image not in self.removing and any(row.image == image for row in self.rows)

    def find(self, name: str) -> Box | None:
        """The container of that name."""
        return next((box for box in self.boxes if box.name == name), None)

    def of(self, app: str, service: str | None = None) -> list[Box]:
        """The containers of an app, or of one of its services, oldest first."""
        return [
            box
            for box in self.boxes
            if box.app == app and (service is None or box.service == service)
        ]

    def add_box(self, box: Box) -> None:
        """A container was asked for."""
        self.boxes = (*self.boxes, box)

    def drop_box(self, box: Box) -> None:
        """A container is gone."""
        self.boxes = tuple(other for other in self.boxes if other is not box)

    def add_rows(self, rows: Iterable[ImageRow]) -> None:
        """An image is on the disk; it has a row for each use."""
        self.rows = shared_rows(tuple(sorted({*self.rows, *rows})))

    def drop_image(self, image: str) -> None:
        """An image was deleted."""
        self.removing = tuple(other for other in self.removing if other != image)
        self.rows = shared_rows(tuple(row for row in self.rows if row.image != image))

    @property
    def working(self) -> bool:
        """Whether the engine is doing something for the supervisor."""
        return bool(self.pulls or self.removing) or any(box.doing is not None for box in self.boxes)


def uses_of(apps: Iterable[TargetApp]) -> list[Use]:
    """Every service of every release of a target, as a use of its image."""
    return [
        Use(service.image, app.uuid, service.name, app.commit)
        for app in apps
        if app.commit is not None
        for service in app.services
    ]
