"""What a release's row says of its version: semver parts, revision, raw version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantic_version import Version

from .odata_text import BadQuery
from .read import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATES = ("running", "success", "failed", "error", "cancelled", "interrupted", "local")


def version_columns(
    old: Mapping[str, Any], new: Mapping[str, Any], *, now_ms: int
) -> dict[str, Any]:
    """The columns that follow from what a release's body says.

    Args:
        old: the stored row; empty for a new one.
        new: the columns being written.
        now_ms: now.

    Raises:
        BadQuery: no semver, no status, or a final release made a draft again.
    """
    whole = {**old, **new}
    found: dict[str, Any] = {"update_timestamp": now_ms}
    if whole["status"] not in _STATES:
        raise BadQuery(f'"status" must be one of {", ".join(_STATES)}')
    if old and "semver" not in new and "is_final" not in new:
        return found
    if old.get("is_final") and new.get("is_final") is False:
        raise BadQuery("A final release cannot be made a draft again.")
    try:
        version = Version(whole["semver"] or "0.0.0")
    except ValueError:
        raise BadQuery(f'"semver" must be a semantic version, not {whole["semver"]!r}') from None
    final = bool(whole["is_final"])
    if final and not old.get("is_finalized_at__date"):
        found["is_finalized_at__date"] = now_ms
    created = iso(whole.get("created_at") or now_ms)
    stamp = "".join(char for char in created if char.isdigit())
    raw = str(version) if final else f"{version}-{stamp}"
    found |= {
        "semver": str(version),
        "semver_major": version.major,
        "semver_minor": version.minor,
        "semver_patch": version.patch,
        "semver_prerelease": ".".join(version.prerelease),
        "semver_build": ".".join(version.build),
        "variant": whole.get("variant") or "",
        "revision": 0 if final else None,
        "raw_version": raw,
        "version": {
            "raw": raw,
            "build": list(version.build),
            "major": version.major,
            "minor": version.minor,
            "patch": version.patch,
            "version": raw,
            "prerelease": list(version.prerelease) if final else [*version.prerelease, stamp],
        },
    }
    return found
