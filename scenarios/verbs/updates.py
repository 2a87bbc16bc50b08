"""Verbs of releases, locks and upgrades."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ..quantities import Ms, Size, Text  # noqa: TC001  # pydantic evaluates them
from .base import Verb

Strategy = Literal["download-then-kill", "kill-then-download", "delete-then-download", "hand-over"]
"""``STATUS.md §5``."""
DEFAULT_IMAGE_BYTES = 20_000_000
"""Of a service that says nothing about its size."""


class Requirement(Verb):
    """One line of a service's container contract."""

    type: str
    """Such as ``sw.supervisor``, ``sw.os``, ``sw.l4t``, ``arch.sw``, ``hw.device-type``."""
    version: str | None = None
    """A semver range, ``>=20``."""
    slug: str | None = None
    """For requirements without a version: ``aarch64``."""


def _text_or_list(schema: dict[str, Any]) -> None:
    """A requirement may be written on one line, and one alone without a list."""
    text = {"type": "string"}
    items = {"anyOf": [schema.pop("items"), text]}
    schema["anyOf"] = [{"type": schema.pop("type"), "items": items}, text]


class ReleaseService(Verb):
    """One service of a release."""

    size_bytes: Size = Field(default=DEFAULT_IMAGE_BYTES, alias="size")
    """To download for it."""
    delta_bytes: Size | None = Field(default=None, alias="delta")
    """Size of a delta from the release before; none: the delta server makes none."""
    strategy: Strategy = "download-then-kill"
    """Label ``io.balena.update.strategy``; for an invalid value write it under ``labels``."""
    handover_timeout_ms: Ms | None = Field(default=None, alias="handover_timeout")
    """Label ``io.balena.update.handover-timeout``; none: the supervisor's minute."""
    requires: tuple[Requirement, ...] = Field(default=(), json_schema_extra=_text_or_list)
    """Container contract; an unmet one makes the release ``rejected``."""
    labels: dict[str, Text] = Field(default_factory=dict)
    """Any further labels."""
    start_time_ms: Ms = Field(default=0, alias="start_time")
    """From the start of its container until it runs."""
    stop_time_ms: Ms = Field(default=0, alias="stop_time")
    """From SIGTERM until its container has exited."""

    @field_validator("requires", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """``sw.supervisor >=20`` stands for type and version, ``arch.sw aarch64`` for a slug."""
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_requirement(item) if isinstance(item, str) else item for item in items)


def _requirement(text: str) -> dict[str, str]:
    """A requirement written on one line."""
    kind, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if not rest:
        raise ValueError(f"{text!r} is no requirement: write 'sw.supervisor >=20'")
    return {"type": kind, "slug" if rest[0].isalpha() else "version": rest}


class Release(Verb):
    """A new release is finished and the fleet tracks it."""

    do: Literal["release"] = "release"
    commit: Text = Field(min_length=1, max_length=64)
    """Its name, unique in the fleet."""
    services: dict[str, ReleaseService] = Field(
        default_factory=lambda: {"main": ReleaseService()}, min_length=1
    )
    """Name → service; none: one service ``main`` of 20 MB."""
    fleet: str | None = None
    """None: the fleets of the devices the step acts on."""

    @field_validator("services", mode="before")
    @classmethod
    def _bare_services(cls, value: Any) -> Any:
        """``services: {main: }`` and ``services: [main, side]`` are services with the defaults."""
        if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
            return {name: {} for name in value}
        if isinstance(value, dict):
            return {name: {} if item is None else item for name, item in value.items()}
        return value


class Pin(Verb):
    """A device is pinned to a release, or tracks its fleet again."""

    do: Literal["pin"] = "pin"
    commit: Text | None = None
    """The release; ``latest`` stands for ``latest: true``."""
    latest: bool = False
    """Track the fleet again."""

    @model_validator(mode="before")
    @classmethod
    def _latest(cls, data: Any) -> Any:
        """``commit: latest`` is how people say it."""
        if isinstance(data, dict) and data.get("commit") == "latest":
            return {**data, "commit": None, "latest": True}
        return data

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.commit is None) != self.latest:
            raise ValueError("say either commit or latest: true")
        return self


class Lock(Verb):
    """The update lock, as user code and the dashboard handle it (``SUPERVISOR.md`` §4)."""

    do: Literal["lock"] = "lock"
    state: Literal["hold", "release"] | None = None
    """User code creates or removes its lock file."""
    service: str | None = None
    """Whose lock file; none: every service's."""
    override: bool | None = None
    """Set the configuration variable ``BALENA_SUPERVISOR_OVERRIDE_LOCK``."""
    force: bool = False
    """Call ``/v1/update`` with ``force`` through cloudlink."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.force:
            self.needs_one_of("state", "override")
        return self


class HandoverComplete(Verb):
    """A new service creates its hand-over file: the old one may go."""

    do: Literal["handover_complete"] = "handover_complete"
    service: str | None = None
    """None: every service."""


class OsUpdateStep(Verb):
    """A stage of a host OS upgrade as the device reports it."""

    state: str = Field(max_length=255)
    """Provisioning state: the text in parentheses."""
    progress: int | None = None
    """Provisioning progress, percent."""
    lasts_ms: Ms = Field(default=60_000, alias="lasts")
    """Until the next stage."""


DEFAULT_OS_UPDATE: tuple[OsUpdateStep, ...] = (
    OsUpdateStep(state="OS update in progress", progress=25, lasts_ms=300_000),
    OsUpdateStep(state="Update successful, rebooting", progress=100, lasts_ms=10_000),
)
"""A host OS upgrade where the scenario does not say its stages; then the device reboots."""


class OsUpdate(Verb):
    """A host OS upgrade: stages are reported, then the device reboots into the new version."""

    do: Literal["os_update"] = "os_update"
    version: Text = "balenaOS 6.2.0"
    """The version it runs afterwards."""
    steps: tuple[OsUpdateStep, ...] = DEFAULT_OS_UPDATE
    """Its stages."""
