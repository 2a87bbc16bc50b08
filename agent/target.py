"""Target states as the cloud sends them, read into values that devices of a fleet share."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from .contracts import Requirement, requirements_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Strategy = Literal["download-then-kill", "kill-then-download", "delete-then-download", "hand-over"]
STRATEGIES: tuple[Strategy, ...] = (
    "download-then-kill",
    "kill-then-download",
    "delete-then-download",
    "hand-over",
)
STRATEGY_LABEL = "io.balena.update.strategy"
HANDOVER_LABEL = "io.balena.update.handover-timeout"
REBOOT_LABEL = "io.balena.update.requires-reboot"
SETUP = ("composition", "environment", "labels")
"""Of a service in a target state: what its container is created with."""
SETUP_DIGITS = 16
OPTIONAL_LABEL = "io.balena.features.optional"
SHARED_TARGETS = 256


class TargetError(ValueError):
    """A target state that no supervisor can act on; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetService:
    """One service of the release the device should run."""

    name: str
    image: str
    setup: str = ""
    """Digest of what its container is created with besides the image: environment, labels and
    composition.  Another one asks for another container (``SUPERVISOR.md §13``)."""
    strategy: Strategy = "download-then-kill"
    handover_timeout_ms: int | None = None
    """``None``: the supervisor's default."""
    requires_reboot: bool = False
    requires: tuple[Requirement, ...] = ()
    optional: bool = False
    """Left out, not a reason to reject the release, where a requirement is not met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetApp:
    """One app of the target state; ``commit`` is ``None`` where it has no release."""

    uuid: str
    id: int
    commit: str | None
    services: tuple[TargetService, ...]


def parse_apps(part: Mapping[str, Any]) -> tuple[TargetApp, ...]:
    """The apps of a device's part of a target state, without host apps; equal ones are shared.

    Raises:
        TargetError: the shape is not ``SUPERVISOR.md §1``'s.
    """
    apps = part.get("apps")
    if not isinstance(apps, dict):
        raise TargetError("it has no apps")
    return _parsed(json.dumps(apps, sort_keys=True, default=dict))


@lru_cache(maxsize=SHARED_TARGETS)
def _parsed(text: str) -> tuple[TargetApp, ...]:
    apps = json.loads(text)
    return tuple(
        _app(uuid, _object(app, f"app {uuid}"))
        for uuid, app in sorted(apps.items())
        if not (isinstance(app, dict) and app.get("is_host"))
    )


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TargetError(f"{what} is not an object")
    return value


def _app(uuid: str, app: dict[str, Any]) -> TargetApp:
    releases = _object(app.get("releases", {}), f"releases of app {uuid}")
    number = app.get("id", 0)
    if not isinstance(number, int):
        raise TargetError(f"id of app {uuid} is not an integer")
    if len(releases) > 1:
        raise TargetError(f"app {uuid} has {len(releases)} releases, one is the most")
    for commit, release in releases.items():
        services = _object(_object(release, f"release {commit}").get("services", {}), "services")
        return TargetApp(
            uuid=uuid,
            id=number,
            commit=commit,
            services=tuple(
                _service(name, _object(service, f"service {name}"))
                for name, service in sorted(services.items())
            ),
        )
    return TargetApp(uuid=uuid, id=number, commit=None, services=())


def _service(name: str, service: dict[str, Any]) -> TargetService:
    image = service.get("image")
    if not isinstance(image, str) or not image:
        raise TargetError(f"service {name} has no image")
    labels = _object(service.get("labels") or {}, f"labels of service {name}")
    wanted = labels.get(STRATEGY_LABEL)
    # an unknown strategy is the default one (STATUS.md §5)
    strategy: Strategy = next((known for known in STRATEGIES if known == wanted), STRATEGIES[0])
    timeout = str(labels.get(HANDOVER_LABEL, ""))
    return TargetService(
        name=name,
        image=image,
        setup=_setup(service),
        strategy=strategy,
        handover_timeout_ms=int(timeout) if timeout.isascii() and timeout.isdigit() else None,
        requires_reboot=labels.get(REBOOT_LABEL) in ("1", "true"),
        requires=requirements_of(service.get("contract")),
        optional=labels.get(OPTIONAL_LABEL) in ("1", "true"),
    )


def _setup(service: dict[str, Any]) -> str:
    """Equal for equal containers: order does not matter, nor whether an empty part is left out."""
    parts = {part: service[part] for part in SETUP if service.get(part)}
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:SETUP_DIGITS]
