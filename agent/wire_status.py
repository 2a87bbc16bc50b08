"""``apps`` of a state report: service statuses and ``update_status`` (``SUPERVISOR.md §2``)."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .mirror import Box, Mirror
    from .target import TargetApp

SHARED_REPORTS = 1024
_DOING = {
    "creating": "Installing",
    "starting": "Starting",
    "stopping": "Stopping",
    "removing": "Stopping",
}
_STATES = {"created": "Installed", "running": "Running", "exited": "exited", "dead": "Dead"}
_APPLYING = frozenset(("Installing", "Installed", "Awaiting handover"))

Services = dict[str, dict[str, Any]]


def update_status(services: Services) -> str:
    """The ``update_status`` of one release, by its precedence."""
    found = list(services.values())
    statuses = {service["status"] for service in found}
    if "Aborted" in statuses:
        return "aborted"
    if any(service.get("download_progress", 100) != 100 for service in found):
        return "downloading"
    if "Downloaded" in statuses:
        return "downloaded"
    if statuses & _APPLYING:
        return "applying changes"
    return "done"


def documented_status(services: Services, *, of_target: bool, changing: bool) -> str:
    """As documented (``STATUS.md §5``): while containers go and come, changes are applied.

    Images that another release has left on the disk say nothing about the update.
    """
    status = update_status(services)
    if of_target and changing and status in ("downloaded", "done"):
        return "applying changes"
    return "done" if status == "downloaded" and not of_target else status


def apps_report(
    apps: tuple[TargetApp, ...],
    rejected: tuple[str, ...],
    mirror: Mirror,
    settled: Mapping[str, str],
    changing: tuple[str, ...] | None = None,
) -> Mapping[str, Any]:
    """``apps`` of a state report; equal reports are one shared value, never to be changed.

    Args:
        apps: the target; only its apps are reported.
        rejected: uuids of apps whose contract is not met.
        mirror: the engine as the supervisor sees it.
        settled: app uuid → commit, reported as ``release_uuid``.
        changing: uuids of apps whose containers are being changed; ``None``: the status follows
            from the services alone.
    """
    body: dict[str, Any] = {}
    for app in apps:
        releases = _releases(app, mirror)
        if app.uuid in rejected:
            described: dict[str, Any] = {
                commit: {"update_status": "rejected"} for commit in releases
            }
        else:
            described = {
                commit: {
                    "update_status": update_status(services)
                    if changing is None
                    else documented_status(
                        services, of_target=commit == app.commit, changing=app.uuid in changing
                    ),
                    "services": services,
                }
                for commit, services in releases.items()
            }
        entry: dict[str, Any] = {}
        if app.uuid in settled:
            entry["release_uuid"] = settled[app.uuid]
        if described:
            entry["releases"] = described
        if entry:
            body[app.uuid] = entry
    return _shared(json.dumps(body))


@lru_cache(maxsize=SHARED_REPORTS)
def _shared(text: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = json.loads(text)
    return value


def _releases(app: TargetApp, mirror: Mirror) -> dict[str, Services]:
    releases: dict[str, Services] = {}
    boxes = mirror.of(app.uuid)
    for row in mirror.rows:
        if row.app == app.uuid:
            gone = row.image in mirror.removing
            releases.setdefault(row.commit, {})[row.service] = {
                "image": row.image,
                "status": "Deleting" if gone else "Downloaded",
            }
    for box in boxes:
        services = releases.setdefault(box.commit, {})
        services[box.service] = {"image": box.image, "status": status_of(box, boxes)}
    if app.commit is not None:
        target = releases.setdefault(app.commit, {})
        for service in app.services:
            known = target.get(service.name)
            if known is None or (mirror.pulls and service.image in mirror.pulls):
                target[service.name] = {
                    "image": service.image,
                    "status": "Downloading",
                    "download_progress": (mirror.pulls or {}).get(service.image, 0),
                }
    return dict(sorted(releases.items()))


def status_of(box: Box, boxes: list[Box]) -> str:
    """A container's status in the words of the wire; ``boxes`` are those of its app."""
    if box.doing is not None:
        return _DOING[box.doing]
    if box.state == "running":
        others = [
            other
            for other in boxes
            if other.service == box.service
            and other.state == "running"
            # one that is being stopped is no longer Running (recorded: d5, hand-over)
            and other.doing is None
            and other.commit != box.commit
        ]
        if others:
            newest = boxes.index(box) > max(boxes.index(other) for other in others)
            return "Awaiting handover" if newest else "Handing over"
    return _STATES[box.state]
