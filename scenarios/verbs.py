"""The verbs of a timeline: one frozen model each, with parameters in base units.

Attribute names carry units (``latency_ms``); files use the plain name (``latency``), which is the
field's alias.  ``Action`` is the union over ``do``; the JSON Schema of scenario files is made from
these models, so every field says what it means.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .quantities import Listed, Ms, Rate, Share, SignedMs, Size, Text, WallClock

Channel = Literal["vpn", "api", "dns", "registry", "ntp"]
"""What a site firewall can tell apart."""
CHANNELS: tuple[Channel, ...] = ("vpn", "api", "dns", "registry", "ntp")
Strategy = Literal["download-then-kill", "kill-then-download", "delete-then-download", "hand-over"]
"""``STATUS.md §5``."""
DEFAULT_IMAGE_BYTES = 20_000_000
"""Of a service that says nothing about its size."""


class Verb(BaseModel):
    """What all verbs share: values are frozen and unknown parameters are mistakes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )

    def needs_one_of(self, *names: str) -> None:
        """Refuse a step that says nothing."""
        if all(getattr(self, name) is None for name in names):
            words = [type(self).model_fields[name].alias or name for name in names]
            raise ValueError(f"say at least one of {', '.join(words)}")


# --- power, links, firewall ---------------------------------------------------------------------


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
    clear: bool = False
    """Take all impairments away, before the others of this step apply."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.clear:
            names = ("latency_ms", "jitter_ms", "loss", "rate_bytes_per_second", "mtu")
            self.needs_one_of(*names, "nat_timeout_ms")
        return self


class CaptivePortal(Verb):
    """Every HTTP request is answered by a login page."""

    do: Literal["captive_portal"] = "captive_portal"
    state: Literal["on", "off"]
    """Whether the portal stands in the way."""


# --- the cloud's side ---------------------------------------------------------------------------


class Fault(Verb):
    """A fault of a service of the cloud; what is not named is as in good health."""

    state: Literal["up", "down", "hang", "error"] = "up"
    """``down``: connections are refused; ``hang``: accepted, never answered; ``error``: answered
    with ``status``."""
    status: Annotated[int, Field(ge=400, le=599)] = 503
    """HTTP status of the answers in state ``error``."""
    retry_after_ms: Ms | None = Field(default=None, alias="retry_after")
    """Sent as a Retry-After header, in whole seconds."""
    latency_ms: Ms = Field(default=0, alias="latency")
    """Added to every answer."""
    share: Share = 1.0
    """Of the requests the fault hits."""

    @model_validator(mode="before")
    @classmethod
    def _imply_error(cls, data: Any) -> Any:
        """``status: 503`` alone means state ``error``; saying nothing at all is a mistake."""
        if isinstance(data, dict) and "state" not in data:
            if {"status", "retry_after", "retry_after_ms"} & data.keys():
                return {**data, "state": "error"}
            if not {"latency", "latency_ms"} & data.keys():
                raise ValueError("say its state: up, down, hang or error")
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.state != "error" and {"status", "retry_after_ms"} & self.model_fields_set:
            raise ValueError("status and retry_after belong to state: error")
        return self


class Api(Fault):
    """The cloud's API."""

    do: Literal["api"] = "api"


class Registry(Fault):
    """The registry of images."""

    do: Literal["registry"] = "registry"


class Dns(Fault):
    """The resolver the devices use; ``error`` is SERVFAIL."""

    do: Literal["dns"] = "dns"


class VpnServer(Verb):
    """A VPN server."""

    do: Literal["vpn_server"] = "vpn_server"
    state: Literal["up", "down", "hang", "error", "killed"]
    """``down``: stopped in order, its devices are reported gone; ``killed``: nothing is reported;
    ``hang``: runs and answers nothing; ``error``: refuses every log-in."""
    name: Text | None = None
    """The VPN service instance (``vpn1``, ``vpn2``, …); none: all there are."""


class CloudRestart(Verb):
    """The API restarts; heartbeat timers survive (``STATUS.md §2``)."""

    do: Literal["cloud_restart"] = "cloud_restart"
    down_for_ms: Ms = Field(default=10_000, alias="down_for")
    """Until it answers again."""


# --- releases and updates -----------------------------------------------------------------------


class Requirement(Verb):
    """One line of a service's container contract."""

    type: str
    """Such as ``sw.supervisor``, ``sw.os``, ``sw.l4t``, ``arch.sw``, ``hw.device-type``."""
    version: str | None = None
    """A semver range, ``>=20``."""
    slug: str | None = None
    """For requirements without a version: ``aarch64``."""


class ReleaseService(Verb):
    """One service of a release."""

    size_bytes: Size = Field(default=DEFAULT_IMAGE_BYTES, alias="size")
    """To download for it."""
    strategy: Strategy = "download-then-kill"
    """Label ``io.balena.update.strategy``; for an invalid value write it under ``labels``."""
    handover_timeout_ms: Ms | None = Field(default=None, alias="handover_timeout")
    """Label ``io.balena.update.handover-timeout``; none: the supervisor's minute."""
    requires: tuple[Requirement, ...] = ()
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
    """None: the fleet of the scenario."""

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


# --- life of a device ---------------------------------------------------------------------------


class Preregister(Verb):
    """A person registers the device before its first boot."""

    do: Literal["preregister"] = "preregister"
    release: Text | None = None
    """A release preloaded on its disk."""


class Provision(Verb):
    """The device gets an image of its fleet with a provisioning key; it registers when it boots."""

    do: Literal["provision"] = "provision"
    release: Text | None = None
    """A release preloaded on its disk."""


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
    """For ``level: fleet``; none: the fleet of the scenario."""


class DoAction(Verb):
    """An immediate action through cloudlink, as the dashboard does it (``STATUS.md §6``)."""

    do: Literal["action"] = "action"
    name: Literal["reboot", "restart", "shutdown", "purge", "update", "blink"]
    """Which."""
    expect: Annotated[int, Field(ge=100, le=599)] | Literal["ok"] | None = None
    """The HTTP status the person must see; ``ok``: any below 300; none: not judged."""
    force: bool = False
    """Override update locks."""


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
    state: Literal["full", "read_only", "ok"] | None = None
    """``full`` and ``read_only``: nothing can be written."""
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
    """The device's part of a v3 report; ``$APP`` stands for its fleet's uuid."""


class End(Verb):
    """The run ends."""

    do: Literal["end"] = "end"


Action = Annotated[
    PowerOn
    | PowerOff
    | Reboot
    | Network
    | Firewall
    | Impair
    | Api
    | Registry
    | Dns
    | VpnServer
    | CloudRestart
    | CaptivePortal
    | Release
    | Pin
    | Lock
    | HandoverComplete
    | Config
    | OsUpdate
    | Preregister
    | Provision
    | PostProvision
    | Account
    | DoAction
    | Clock
    | Disk
    | Undervolt
    | Service
    | Supervisor
    | Heartbeat
    | CloudlinkUp
    | CloudlinkDown
    | Report
    | End,
    Field(discriminator="do"),
]
"""A step's verb with its parameters."""
