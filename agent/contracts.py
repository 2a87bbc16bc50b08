"""Container contracts: what a service requires of the device (``STATUS.md §5``: ``rejected``)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .config import AgentConfig
    from .target import TargetApp, TargetService

_VERSION = re.compile(r"\d+(\.\d+)*\S*")


class Requirement(NamedTuple):
    """One entry of ``requires``; a version is a range as npm writes it."""

    type: str
    version: str | None
    slug: str | None


def requirements_of(contract: Any) -> tuple[Requirement, ...]:
    """The requirements of a contract; what has no ``type`` requires nothing."""
    entries = contract.get("requires", ()) if isinstance(contract, dict) else ()
    return tuple(
        Requirement(entry["type"], _text(entry.get("version")), _text(entry.get("slug")))
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("type"), str)
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def unmet(services: tuple[TargetService, ...], config: AgentConfig) -> list[TargetService]:
    """The services whose requirements this device does not meet."""
    return [
        service
        for service in services
        if not all(_met(requirement, config) for requirement in service.requires)
    ]


def judge(app: TargetApp, config: AgentConfig) -> tuple[bool, tuple[TargetService, ...]]:
    """Whether the release is rejected, and the services to run if it is not."""
    failing = unmet(app.services, config) if any(s.requires for s in app.services) else []
    if not failing:
        return False, app.services
    if any(not service.optional for service in failing):
        return True, app.services
    return False, tuple(service for service in app.services if service not in failing)


def judge_all(
    apps: tuple[TargetApp, ...], config: AgentConfig
) -> tuple[tuple[TargetApp, ...], tuple[TargetApp, ...]]:
    """The apps without the services they may not run, and those whose release is rejected."""
    kept, rejected = [], []
    for app in apps:
        refused, services = judge(app, config)
        if refused:
            rejected.append(app)
        kept.append(app if services is app.services else replace(app, services=services))
    # the parsed apps are shared by every device on the release: keep that value where it holds
    same = all(one is other for one, other in zip(kept, apps, strict=True))
    return apps if same else tuple(kept), tuple(rejected)


def _met(requirement: Requirement, config: AgentConfig) -> bool:
    version: str | None
    match requirement.type:
        case "sw.supervisor":
            version = config.supervisor_version
        case "sw.os":
            version = config.os_version
        case "sw.kernel":
            version = config.kernel_version
        case "sw.l4t":
            version = config.l4t_version
        case "hw.device-type":
            return requirement.slug == config.device_type
        case "arch.sw":
            return requirement.slug == config.arch
        case _:
            # a kind this supervisor does not check is not met (SUPERVISOR.md §13, contracts)
            return False
    if requirement.version is None:
        return version is not None
    return version is not None and _in_range(version, requirement.version)


def _in_range(version: str, wanted: str) -> bool:
    from semantic_version import NpmSpec, Version

    found = _VERSION.search(version)
    if found is None:
        return False
    try:
        return bool(NpmSpec(wanted).match(Version.coerce(found.group())))
    except ValueError:
        return False
