"""Verbs of power, uplink and site: what is done to a device from outside."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ..quantities import Listed, Ms, Rate, Share
from .base import Verb

Channel = Literal["vpn", "api", "dns", "registry", "ntp"]
"""What a site firewall can tell apart."""
CHANNELS: tuple[Channel, ...] = ("vpn", "api", "dns", "registry", "ntp")


class PowerOn(Verb):
    """Power comes; the first time is the device's first boot."""

    do: Literal["power_on"] = "power_on"


class PowerOff(Verb):
    """The power is cut: nothing is flushed or closed."""

    do: Literal["power_off"] = "power_off"


class Reboot(Verb):
    """The device reboots in order (from its shell, not through cloudlink)."""

    do: Literal["reboot"] = "reboot"


class Network(Verb):
    """The device's uplink: cable or radio."""

    do: Literal["network"] = "network"
    state: Literal["up", "down"]
    """``down``: nothing gets in or out."""


class Dhcp(Verb):
    """The site's DHCP server gives the device another address."""

    do: Literal["dhcp"] = "dhcp"
    address: Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}$")]
    """The new one: connections from the old one hear nothing more."""


class Firewall(Verb):
    """The site firewall starts or stops blocking kinds of traffic."""

    do: Literal["firewall"] = "firewall"
    block: Annotated[tuple[Channel, ...] | None, Listed] = Field(default=None)
    """What no longer passes: one of vpn, api, dns, registry, ntp, all, or a list."""
    allow: Annotated[tuple[Channel, ...] | None, Listed] = Field(default=None)
    """What passes again."""
    mode: Literal["drop", "reject"] = "drop"
    """``drop``: silence; ``reject``: the sender is told at once."""
    direction: Literal["out", "in", "both"] = "both"
    """Seen from the device."""

    @field_validator("block", "allow", mode="before")
    @classmethod
    def _expand_all(cls, value: Any) -> Any:
        """``all`` is every channel."""
        words = value if isinstance(value, list | tuple) else [value]
        return CHANNELS if "all" in words else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.block is None) == (self.allow is None):
            raise ValueError("say either block or allow")
        if self.allow is not None and not {"mode", "direction"}.isdisjoint(self.model_fields_set):
            raise ValueError("mode and direction belong to block, allow lifts every rule")
        return self


class Impair(Verb):
    """The quality of the link; what is not named stays as it was."""

    do: Literal["impair"] = "impair"
    latency_ms: Ms | None = Field(default=None, alias="latency")
    """Added to each way."""
    jitter_ms: Ms | None = Field(default=None, alias="jitter")
    """Largest random addition to each packet's latency."""
    loss: Share | None = None
    """Share of packets lost."""
    rate_bytes_per_second: Rate | None = Field(default=None, alias="rate")
    """Bandwidth, each way."""
    mtu: Annotated[int, Field(ge=68, le=65_535)] | None = None
    """Largest packet in bytes; larger ones vanish without a word (a black hole)."""
    nat_timeout_ms: Ms | None = Field(default=None, alias="nat_timeout")
    """A middlebox forgets a connection that has been idle this long."""
    idle_timeout_ms: Ms | None = Field(default=None, alias="idle_timeout")
    """A proxy closes a connection, at both ends, that has been idle this long."""
    clear: bool = False
    """Take all impairments away, before the others of this step apply."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.clear:
            names = ("latency_ms", "jitter_ms", "loss", "rate_bytes_per_second", "mtu")
            self.needs_one_of(*names, "nat_timeout_ms", "idle_timeout_ms")
        return self


class CaptivePortal(Verb):
    """HTTP is answered by a login page, the rest is held back until somebody logs in."""

    do: Literal["captive_portal"] = "captive_portal"
    state: Literal["on", "off"]
    """Whether the portal stands in the way."""
