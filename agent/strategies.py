"""The next steps from what runs to what should run: a pure function of both.

One rule per update strategy (``SUPERVISOR.md §5``).  A step that touches what users' code may
guard carries ``locks``: it waits until the app's update locks are taken (§4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from .mirror import Box, Mirror
    from .target import TargetApp, TargetService

StepKind = Literal["fetch", "kill", "relabel", "install", "start", "hand over", "wait"]


class Step(NamedTuple):
    """One thing to do; several of a round are done at once."""

    kind: StepKind
    app: str
    service: TargetService | None = None
    box: Box | None = None
    locks: bool = False


def next_steps(app: TargetApp, mirror: Mirror, *, handover_locks: bool) -> list[Step]:
    """What to do next for one app, every service in the order of its name."""
    wanted = {service.name: service for service in app.services}
    running = {box.service for box in mirror.of(app.uuid)}
    all_here = all(mirror.has(service.image) for service in app.services)
    steps: list[Step] = []
    for name in sorted({*wanted, *running}):
        boxes = mirror.of(app.uuid, name)
        service = wanted.get(name)
        if any(box.doing is not None for box in boxes):
            steps.append(Step("wait", app.uuid, service))
        elif service is None:
            steps += [Step("kill", app.uuid, None, box, locks=True) for box in boxes]
        else:
            steps += _service(app, service, boxes, mirror, all_here, handover_locks=handover_locks)
    return steps


def _service(
    app: TargetApp,
    service: TargetService,
    boxes: list[Box],
    mirror: Mirror,
    all_here: bool,
    *,
    handover_locks: bool,
) -> list[Step]:
    dead = [box for box in boxes if box.state == "dead"]
    if dead:
        return [Step("kill", app.uuid, service, box) for box in dead]
    new = [box for box in boxes if box.fits(service)]
    old = [box for box in boxes if not box.fits(service)]
    if new and (old or len(new) > 1):
        # what an interrupted hand-over left behind
        return [Step("kill", app.uuid, service, box, locks=True) for box in (*old, *new[:-1])]
    if new:
        return _in_place(app, service, new[0], all_here)
    if old:
        return _update(app, service, old, mirror, all_here, handover_locks=handover_locks)
    if not mirror.has(service.image):
        return [Step("fetch", app.uuid, service)]
    if not all_here:
        return [Step("wait", app.uuid, service)]
    return [Step("install", app.uuid, service, locks=True)]


def _in_place(app: TargetApp, service: TargetService, box: Box, all_here: bool) -> list[Step]:
    """The right container is there: perhaps another release's, perhaps not started."""
    if box.commit != app.commit:
        if not all_here:
            return [Step("wait", app.uuid, service)]
        return [Step("relabel", app.uuid, service, box, locks=True)]
    if box.state == "created" and not box.waits_reboot:
        return [Step("start", app.uuid, service, box)]
    return []


def _update(
    app: TargetApp,
    service: TargetService,
    old: list[Box],
    mirror: Mirror,
    all_here: bool,
    *,
    handover_locks: bool,
) -> list[Step]:
    """Another image's container runs, or one set up otherwise: what the strategy says."""
    kills = [Step("kill", app.uuid, service, box, locks=True) for box in old]
    if service.strategy in ("kill-then-download", "delete-then-download"):
        return kills
    if not mirror.has(service.image):
        return [Step("fetch", app.uuid, service)]
    if not all_here:
        return [Step("wait", app.uuid, service)]
    if service.strategy == "hand-over" and old[-1].state == "running":
        return [Step("hand over", app.uuid, service, old[-1], locks=handover_locks)]
    return kills


def removable_images(apps: tuple[TargetApp, ...], mirror: Mirror) -> list[str]:
    """Images nobody needs: no container, not wanted, and no longer the base of a download.

    An old image stays until the new ones are here, except under ``delete-then-download``.
    """
    wanted = {service.image for app in apps for service in app.services}
    used = {box.image for box in mirror.boxes}
    all_here = all(mirror.has(image) for image in sorted(wanted))
    deletes = {
        (app.uuid, service.name)
        for app in apps
        for service in app.services
        if service.strategy == "delete-then-download"
    }
    found = [
        row.image
        for row in mirror.rows
        if row.image not in wanted
        and row.image not in used
        and row.image not in mirror.removing
        and (all_here or (row.app, row.service) in deletes)
    ]
    return sorted(set(found))
