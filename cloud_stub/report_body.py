"""State reports as they arrive: types, lengths and limits of a body (``STATUS.md §8``).

Nothing here looks at rows.  ``parse_v3`` and ``parse_v2`` give values ready to be stored, or refuse
the body: 400 for a wrong type, which leaves nothing stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .answers import BAD_REQUEST, Refusal, plain
from .model import METRICS
from .status import UpdateStatus

INTEGER_MAX = 2_147_483_647
"""Of the database's integer columns."""
SERVER_ERROR = plain(500, "Server error")

Kind = Literal["text", "number", "flag"]
_KINDS: dict[Kind, type | tuple[type, ...]] = {
    "text": str,
    "number": (int, float),
    "flag": bool,
}
_FIELDS: dict[str, tuple[Kind, bool]] = {
    # name: (kind, may be null)
    "name": ("text", False),
    "status": ("text", False),
    "is_online": ("flag", False),
    "note": ("text", False),
    "os_version": ("text", False),
    "os_variant": ("text", False),
    "supervisor_version": ("text", False),
    "provisioning_state": ("text", True),
    "provisioning_progress": ("number", True),
    "ip_address": ("text", False),
    "mac_address": ("text", False),
    "api_port": ("number", False),
    "api_secret": ("text", True),
    "logs_channel": ("text", True),
    "is_undervolted": ("flag", False),
    "cpu_usage": ("number", True),
    "memory_usage": ("number", True),
    "memory_total": ("number", True),
    "storage_usage": ("number", True),
    "storage_total": ("number", True),
    "storage_block_device": ("text", True),
    "cpu_temp": ("number", True),
    "cpu_id": ("text", True),
}
_CUT = {
    "status": 50,
    "os_version": 70,
    "supervisor_version": 20,
    "api_secret": 64,
    "note": 1_000_000,
}
_CUT_AT_BLANK = {"ip_address": 2_000, "mac_address": 900}
_REFUSED_BEYOND = {"provisioning_state": 255, "cpu_id": 255}
_OS_VARIANTS = ("dev", "prod")
_PRINTABLE = range(0x20, 0x7F)

_UPDATE_STATUSES = frozenset(status.value for status in UpdateStatus)
SERVICE_STATUSES = frozenset(
    (
        *("Downloading", "Downloaded", "Installing", "Installed", "Starting", "Running", "Idle"),
        *("Handing over", "Awaiting handover", "Stopping", "Stopped", "exited", "Deleting"),
        *("deleted", "Dead", "paused", "restarting", "removing", "configuring", "Unknown"),
    )
)
"""Any other is ignored, and the row keeps what it had."""


class ServiceReport(NamedTuple):
    """What a report says of one image."""

    image: str
    """v3: its reference; v2: its id."""
    status: str
    download_progress: int | None


class ReleaseReport(NamedTuple):
    """What a report says of one release of an app; v2 names it by id."""

    commit: str
    update_status: str | None
    services: tuple[ServiceReport, ...]


class AppReport(NamedTuple):
    """What a report says of one app: its uuid (v3) or id (v2)."""

    app: str
    running: str | None
    """``release_uuid``."""
    releases: tuple[ReleaseReport, ...]


@dataclass(slots=True, kw_only=True)
class Report:
    """A body that holds no wrong type, its values cut and capped."""

    values: dict[str, Any] = field(default_factory=dict)
    """Columns but metrics."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """As sent; ``stored_metrics`` makes them ready."""
    apps: tuple[AppReport, ...] | None = None
    """``None``: the report does not speak of apps."""
    running: str | None = None
    """v2's ``is_on__commit``."""


def parse_v3(body: dict[str, Any]) -> Report:
    """The part of a v3 body that belongs to one device."""
    report = _columns(body)
    report.values.pop("device_name", None)  # v3 accepts the key and ignores it
    if "apps" in body:
        apps = _object(body["apps"])
        report.apps = tuple(_app(name, _object(app)) for name, app in apps.items())
    return report


def parse_v2(local: dict[str, Any]) -> Report:
    """``local`` of a v2 body, the only report that sets a device's own download progress."""
    report = _columns(local)
    if "download_progress" in local:
        progress = _typed(local["download_progress"], "number", nullable=True)
        report.values["download_progress"] = _integer(progress)
    report.running = _optional_text(local, "is_on__commit")
    if "apps" in local:
        apps = _object(local["apps"])
        report.apps = tuple(_app_v2(name, _object(app)) for name, app in apps.items())
    return report


def stored_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as they are stored; a fraction is only noticed when they are."""
    stored: dict[str, Any] = {}
    for name, value in metrics.items():
        if _FIELDS[name][0] == "number" and value is not None:
            stored[name] = _integer(min(value, INTEGER_MAX))
        elif name == "cpu_id" and value is not None:
            if all(ord(char) in _PRINTABLE for char in value):
                stored[name] = _limited(name, value.lower())
        else:
            stored[name] = value
    return stored


# --- fields -------------------------------------------------------------------------------------


def _columns(body: dict[str, Any]) -> Report:
    report = Report()
    for name, (kind, nullable) in _FIELDS.items():
        if name not in body:
            continue
        value = _typed(body[name], kind, nullable=nullable)
        if name in METRICS:
            report.metrics[name] = value
        elif name == "name":
            report.values["device_name"] = value
        elif name != "os_variant" or value in _OS_VARIANTS:
            report.values[name] = _stored(name, value)
    return report


def _typed(value: Any, kind: Kind, *, nullable: bool) -> Any:
    """The value, if it is of that JSON type."""
    if value is None:
        if nullable:
            return None
        raise Refusal(BAD_REQUEST)
    wrong_flag = isinstance(value, bool) and kind != "flag"
    if wrong_flag or not isinstance(value, _KINDS[kind]):
        raise Refusal(BAD_REQUEST)
    return value


def _stored(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _limited(name, value)
    if isinstance(value, bool) or value is None:
        return value
    return _integer(value)


def _limited(name: str, text: str) -> str:
    if len(text) > _REFUSED_BEYOND.get(name, len(text)):
        raise Refusal(BAD_REQUEST)
    if name in _CUT_AT_BLANK:
        return cut_at_blank(text, _CUT_AT_BLANK[name])
    return text[: _CUT.get(name, len(text))]


def cut_at_blank(text: str, limit: int) -> str:
    """At most ``limit`` characters, without half a word where a blank allows it."""
    if len(text) <= limit:
        return text
    head, blank, _ = text[: limit + 1].rpartition(" ")
    return head if blank else text[:limit]


def _integer(value: float | None) -> int | None:
    """A number for an integer column; the real API falls over one that does not fit."""
    if value is None:
        return None
    if isinstance(value, float):
        if not value.is_integer():
            raise Refusal(BAD_REQUEST)
        value = int(value)
    if abs(value) > INTEGER_MAX:
        raise Refusal(SERVER_ERROR)
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refusal(BAD_REQUEST)
    return value


def _optional_text(body: dict[str, Any], name: str) -> str | None:
    return _typed(body[name], "text", nullable=False) if name in body else None


# --- apps ---------------------------------------------------------------------------------------


def _app(name: str, app: dict[str, Any]) -> AppReport:
    releases = _object(app.get("releases", {}))
    return AppReport(
        app=name,
        running=_optional_text(app, "release_uuid"),
        releases=tuple(_release(commit, _object(body)) for commit, body in releases.items()),
    )


def _release(commit: str, body: dict[str, Any]) -> ReleaseReport:
    update_status = _optional_text(body, "update_status")
    if update_status is not None and update_status not in _UPDATE_STATUSES:
        raise Refusal(BAD_REQUEST)
    services = _object(body.get("services", {}))
    return ReleaseReport(
        commit=commit,
        update_status=update_status,
        services=tuple(
            _service(_typed(_object(service).get("image"), "text", nullable=False), service)
            for service in services.values()
        ),
    )


def _service(image: str, body: dict[str, Any]) -> ServiceReport:
    progress = _typed(body.get("download_progress"), "number", nullable=True)
    status = _typed(body.get("status"), "text", nullable=False)
    return ServiceReport(image=image, status=status, download_progress=_integer(progress))


def _app_v2(name: str, app: dict[str, Any]) -> AppReport:
    releases: dict[str, list[ServiceReport]] = {}
    for image_id, service in _object(app.get("services", {})).items():
        body = _object(service)
        release = _integer(_typed(body.get("releaseId"), "number", nullable=False))
        releases.setdefault(str(release), []).append(_service(image_id, body))
    return AppReport(
        app=name,
        running=None,
        releases=tuple(
            ReleaseReport(commit=release, update_status=None, services=tuple(services))
            for release, services in releases.items()
        ),
    )
