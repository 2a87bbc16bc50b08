"""The ways from one resource to another, from their references."""

from __future__ import annotations

from typing import NamedTuple

from .resources import RESOURCES


class Navigation(NamedTuple):
    """From a resource to rows of another: ``source.local == target.remote``."""

    target: str
    local: str
    remote: str
    through: tuple[str, str, str] | None = None
    """A resource in between: its name, its column for ``local``, its column for ``remote``."""


def _navigations() -> dict[str, dict[str, Navigation]]:
    found: dict[str, dict[str, Navigation]] = {name: {} for name in RESOURCES}
    for resource in RESOURCES.values():
        for item in resource.fields:
            if item.to is None or item.hidden:
                continue
            for name in (item.name, *item.aliases):
                found[resource.name][name] = Navigation(item.to, item.name, "id")
            back = item.back or resource.name
            found[item.to][back] = Navigation(resource.name, "id", item.name)
    # roles that other clients know by another name
    found["image"]["is_part_of__release_image"] = found["image"]["release_image"]
    found["release"]["contains__image"] = found["release"]["release_image"]
    found["device_type"]["is_default_for__application"] = Navigation(
        "application", "id", "is_for__device_type"
    )
    members = ("organization_membership", "is_member_of__organization", "user")
    found["application"]["is_directly_accessible_by__user"] = Navigation(
        "user", "organization", "id", members
    )
    return found


NAVIGATIONS = _navigations()
"""By resource and name."""
