"""Applying a state report: rows, throttles, and what writes nothing (``STATUS.md §5, §8``).

First everything that a report names is looked up, so that a refused report leaves no trace; then it
is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .answers import BAD_REQUEST, OK, UNAUTHORIZED, Refusal
from .auth import own_device, with_api_key
from .columns import differs
from .model import ImageInstall
from .report_body import SERVICE_STATUSES, Report, parse_v2, parse_v3, stored_metrics
from .status import first_update_status

if TYPE_CHECKING:
    from .messages import Request, Response
    from .model import Device, Fleet, Image, Release
    from .report_body import AppReport, ReleaseReport
    from .state import State

CAUSE = "state report"
_COMPLETE = 100
_DELETED = "deleted"


class _Named(NamedTuple):
    """An image a report names, found."""

    image: Image
    release: Release
    status: str
    download_progress: int | None


class _Found(NamedTuple):
    """Everything a report names, found."""

    columns: dict[str, Any]
    images: list[_Named] | None
    """``None``: the report does not speak of apps."""


def patch_v3(state: State, request: Request, *, now_ms: int) -> Response:
    """``PATCH /device/v3/state``: one body, one or more devices of the caller."""
    caller = with_api_key(state, request, now_ms=now_ms)
    body = request.body
    if not isinstance(body, dict) or not any(isinstance(part, dict) for part in body.values()):
        raise Refusal(UNAUTHORIZED)
    parts = [(own_device(caller, uuid), part) for uuid, part in body.items()]
    reports = []
    for device, part in parts:
        if not isinstance(part, dict):
            raise Refusal(BAD_REQUEST)
        reports.append((device, parse_v3(part)))
    found = [(device, report, _look_up(state, device, report)) for device, report in reports]
    for device, report, named in found:
        state.contact(device, now_ms=now_ms)
        _store(state, device, report, named, now_ms=now_ms)
    return OK


def patch_v2(state: State, request: Request, uuid: str, *, now_ms: int) -> Response:
    """``PATCH /device/v2/<uuid>/state``; for a device that is gone or frozen it does nothing."""
    caller = with_api_key(state, request, now_ms=now_ms)
    known = state.devices.get(uuid)
    if known is None or known.is_frozen:
        return OK
    device = own_device(caller, uuid)
    body = request.body
    if not isinstance(body, dict) or not isinstance(body.get("local"), dict):
        raise Refusal(BAD_REQUEST)
    report = parse_v2(body["local"])
    named = _look_up_v2(device, report)
    state.contact(device, now_ms=now_ms)
    _store(state, device, report, named, now_ms=now_ms)
    return OK


# --- looking up ---------------------------------------------------------------------------------


def _look_up(state: State, device: Device, report: Report) -> _Found:
    """Find every release and image by app, commit and location; any that is not there: 401."""
    columns: dict[str, Any] = {}
    if report.apps is None:
        return _Found(columns, None)
    images: list[_Named] = []
    for app in report.apps:
        fleet = state.fleets_by_uuid.get(app.app)
        if app.running is not None:
            running = _release(fleet, app.running)
            if fleet is device.fleet:
                columns["is_running__release"] = running
        for part in app.releases:
            release = _release(fleet, part.commit)
            images.extend(_images(release, part))
        if fleet is device.fleet:
            _update_status(app, columns)
    return _Found(columns, images)


def _release(fleet: Fleet | None, commit: str) -> Release:
    release = fleet.releases.get(commit) if fleet is not None else None
    if release is None:
        raise Refusal(UNAUTHORIZED)
    return release


def _images(release: Release, part: ReleaseReport) -> list[_Named]:
    named = []
    for service in part.services:
        image = release.image(service.image)
        if image is None:
            raise Refusal(UNAUTHORIZED)
        named.append(_Named(image, release, service.status, service.download_progress))
    return named


def _update_status(app: AppReport, columns: dict[str, Any]) -> None:
    reported = [part.update_status for part in app.releases if part.update_status is not None]
    first = first_update_status(reported)
    if first is not None:
        columns["update_status"] = first


def _look_up_v2(device: Device, report: Report) -> _Found:
    """The same by ids; v2 knows the device's own app only."""
    columns: dict[str, Any] = {}
    if report.running is not None:
        columns["is_running__release"] = _release(device.fleet, report.running)
    if report.apps is None:
        return _Found(columns, None)
    by_id = {str(release.id): release for release in device.fleet.releases.values()}
    images: list[_Named] = []
    for app in report.apps:
        for part in app.releases:
            release = by_id.get(part.commit) if app.app == str(device.fleet.id) else None
            if release is None:
                raise Refusal(UNAUTHORIZED)
            with_ids = {str(image.id): image for image in release.images.values()}
            for service in part.services:
                image = with_ids.get(service.image)
                if image is None:
                    raise Refusal(UNAUTHORIZED)
                images.append(_Named(image, release, service.status, service.download_progress))
    return _Found(columns, images)


# --- storing ------------------------------------------------------------------------------------


def _store(state: State, device: Device, report: Report, found: _Found, *, now_ms: int) -> None:
    columns = report.values | found.columns
    gap_over = (
        device.metrics_written_ms is None
        or now_ms - device.metrics_written_ms >= state.settings.metrics_gap_ms
    )
    # metrics ride along with any other column, and alone at most every so often
    with_metrics = bool(report.metrics) and (bool(columns) or gap_over)
    if with_metrics:
        columns |= stored_metrics(report.metrics)
    # one write for all: if one value differs, all of them and their events are written
    if differs(device, columns):
        state.write(device, columns, CAUSE, now_ms=now_ms)
        if with_metrics:
            device.metrics_written_ms = now_ms
    if found.images is not None:
        _store_installs(state, device, found.images, now_ms=now_ms)


def _store_installs(state: State, device: Device, images: list[_Named], *, now_ms: int) -> None:
    rows = {row.image.id: row for row in device.installs}
    named: set[int] = set()
    new: list[ImageInstall] = []
    for part in images:
        named.add(part.image.id)
        row = rows.get(part.image.id)
        if part.status not in SERVICE_STATUSES:
            continue
        if row is None:
            row = ImageInstall(
                part.image, part.release, part.status, part.download_progress, now_ms
            )
            rows[part.image.id] = row
            new.append(row)
        elif _worth_writing(row, part, state.settings.progress_gap_ms, now_ms):
            state.touch(device, CAUSE)
            row.release = part.release
            row.status = part.status
            row.download_progress = part.download_progress
            row.written_ms = now_ms
    for row in device.installs:
        gone = row.image.id not in named
        if gone and (row.status != _DELETED or row.download_progress is not None):
            state.touch(device, CAUSE)
            row.status = _DELETED
            row.download_progress = None
            row.written_ms = now_ms
    if new:
        state.touch(device, CAUSE)
        device.installs = (*device.installs, *new)


def _worth_writing(row: ImageInstall, part: _Named, gap_ms: int, now_ms: int) -> bool:
    """Progress alone is written every so often; what people wait for, at once."""
    if row.status != part.status or row.release is not part.release:
        return True
    old, new = row.download_progress, part.download_progress
    if old == new:
        return False
    return old is None or new is None or new == _COMPLETE or now_ms - row.written_ms >= gap_ms
