"""Verbs of a device's life, its board, and raw primitives for scripted devices."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..quantities import Ms, Share, SignedMs, Text, WallClock  # noqa: TC001  # pydantic evaluates them
from .base import Verb


class Preregister(Verb):
    """A person registers the device before its first boot."""

    do: Literal["preregister"] = "preregister"
    release: Text | None = None
    """A release preloaded on its disk."""
    configured: bool = True
    """Whether its image was downloaded from the cloud and so has its poll interval; else the
    supervisor begins with its own 15 min."""


class Provision(Verb):
    """The device gets an image of its fleet with a provisioning key; it registers when it boots."""

    do: Literal["provision"] = "provision"
    release: Text | None = None
    """A release preloaded on its disk."""
    configured: bool = True
    """Whether its image was downloaded from the cloud and so has its poll interval; else the
    supervisor begins with its own 15 min."""


class Clone(Verb):
    """The device's card is a copy of another device's, with its uuid and key on it."""

    do: Literal["clone"] = "clone"
    of: Text
    """The device whose card was copied; from here on the cloud takes both for one."""


class PostProvision(Verb):
    """A flasher writes balenaOS to the internal disk, reports it, and powers off (``§3``)."""

    do: Literal["post_provision"] = "post_provision"
    flash_time_ms: Ms = Field(default=60_000, alias="flash_time")
    """From the first to the last progress report."""


class Account(Verb):
    """A person or the plan changes the device's standing."""

    do: Literal["account"] = "account"
    set: Literal["frozen", "thawed", "active", "deactivated", "deleted"]
    """What becomes of the device."""


class Move(Verb):
    """A person moves the device to another fleet."""

    do: Literal["move"] = "move"
    fleet: Text = Field(min_length=1)
    """Its name; made where there is none of that name (``release`` with ``fleet`` fills it)."""


class Environment(Verb):
    """An environment variable of services: where it changes, their containers are made anew."""

    do: Literal["environment"] = "environment"
    level: Literal["device", "fleet"] = "device"
    """Whose variable; a device's wins over its fleet's."""
    service: Text | None = None
    """Of which service; none: of all."""
    name: str = Field(min_length=1)
    """As the service sees it."""
    value: Text | None
    """``null`` unsets it."""


class Config(Verb):
    """A configuration variable."""

    do: Literal["config"] = "config"
    level: Literal["device", "fleet"] = "device"
    """Whose variable; a device's wins over its fleet's."""
    name: str = Field(min_length=1)
    """With its prefix: ``RESIN_SUPERVISOR_POLL_INTERVAL``."""
    value: Text | None
    """``null`` unsets it."""
    fleet: str | None = None
    """For ``level: fleet``; none: the fleets of the devices the step acts on."""


class DoAction(Verb):
    """An immediate action through cloudlink, as the dashboard does it (``STATUS.md §6``)."""

    do: Literal["action"] = "action"
    name: Literal["reboot", "restart", "shutdown", "purge", "update", "blink"]
    """Which."""
    expect: Annotated[int, Field(ge=100, le=599)] | Literal["ok"] | None = None
    """The HTTP status the person must see; ``ok``: any below 300; none: not judged."""
    force: bool = False
    """Override update locks."""
    cancel: bool = False
    """``update``: give up what is under way, also a sleep before the next try."""

    @model_validator(mode="after")
    def _cancels_updates(self) -> Self:
        if self.cancel and self.name != "update":
            raise ValueError("cancel belongs to name: update")
        return self

    def told(self, status: int | None) -> str:
        """What the person saw; ``None``: the API, which was away, gave no answer."""
        seen = "was not answered" if status is None else f"answered {status}"
        return f"{self.name} {seen}"

    def unmet(self, status: int | None, body: object) -> str | None:
        """What is wrong with an answer; ``None``: nothing, or none was expected."""
        if self.expect is None or self.expect == status:
            return None
        if self.expect == "ok" and status is not None and status < 300:
            return None
        said = f" ({body})" if isinstance(body, str) and body else ""
        return f"{self.told(status)}{said}, expected {self.expect}"


# --- the board ----------------------------------------------------------------------------------


class Clock(Verb):
    """The device's wall clock."""

    do: Literal["clock"] = "clock"
    set_ms: WallClock | None = Field(default=None, alias="set")
    """It shows this time now."""
    skew_ms: SignedMs | None = Field(default=None, alias="skew")
    """It runs this far ahead of the true time (negative: behind)."""
    jump_ms: SignedMs | None = Field(default=None, alias="jump")
    """It jumps by this much from what it shows."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(part is not None for part in (self.set_ms, self.skew_ms, self.jump_ms)) != 1:
            raise ValueError("say one of set, skew, jump")
        return self


class Disk(Verb):
    """The device's storage."""

    do: Literal["disk"] = "disk"
    state: Literal["full", "read_only", "forgets", "ok"] | None = None
    """``full``: no image fits, what the supervisor notes does; ``read_only``: nothing can be
    written; ``forgets``: what is written from now on is gone when the power is."""
    wear: Share | None = None
    """Share of the card's life used up."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        self.needs_one_of("state", "wear")
        return self


class Undervolt(Verb):
    """The board measures too low a voltage."""

    do: Literal["undervolt"] = "undervolt"
    state: Literal["on", "off"]
    """Whether it does."""


class Service(Verb):
    """User code misbehaves."""

    do: Literal["service"] = "service"
    name: str = "main"
    """The service."""
    state: Literal["exit", "crash", "restart"]
    """``exit``: status 0; ``crash``: another status; ``restart``: stopped and started."""


class Supervisor(Verb):
    """The supervisor process: the heartbeat depends on it, cloudlink does not."""

    do: Literal["supervisor"] = "supervisor"
    state: Literal["stop", "start", "hang"]
    """``hang``: it runs and does nothing."""


# --- raw primitives for scripted devices --------------------------------------------------------


class Heartbeat(Verb):
    """A target-state poll with the device's key."""

    do: Literal["heartbeat"] = "heartbeat"


class CloudlinkUp(Verb):
    """A VPN service instance reports the device connected."""

    do: Literal["cloudlink_up"] = "cloudlink_up"
    service: Text = "vpn1"
    """The VPN service instance."""


class CloudlinkDown(Verb):
    """A VPN service instance reports the device gone."""

    do: Literal["cloudlink_down"] = "cloudlink_down"
    service: Text = "vpn1"
    """The VPN service instance."""


class Report(Verb):
    """A state report, sent as it stands."""

    do: Literal["report"] = "report"
    body: dict[str, Any]
    """The device's part of a v3 report; ``$APP`` stands for its fleet's uuid, ``$IMAGE/r1/main``
    for an image: release and service."""


class End(Verb):
    """The run ends."""

    do: Literal["end"] = "end"
