"""The sections of a scenario file as models; ``verbs`` has the steps.

The same models check a file and give the JSON Schema, so every field says what it means.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from .mistakes import shown
from .quantities import Listed, Ms, PositiveMs, Rate, Text
from .verbs import Release

MOST_DEVICES = 1_000_000
MOST_REPETITIONS = 10_000
NAME = r"^[A-Za-z_][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*$"
"""Of a step, a group or a fleet."""
EXPECTATIONS = ("eventually", "always", "never", "sequence", "measure")
"""The kinds of expectation."""


def _expression(value: object) -> object:
    """An expression as text; the compiler evaluates it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value:
            raise ValueError(f"{value} needs a unit: write {value}s, {value}m or {value}ms")
        return "0"
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is no time: write 90s, 1h30m or power_on + 2m")
    return value


Moment = Annotated[
    str,
    BeforeValidator(_expression),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"const": 0}],
            "description": "A time: 30m, power_on, blocked + 2m.",
        }
    ),
]
"""An expression, evaluated by the compiler."""
Words = Annotated[tuple[str, ...], Listed]
"""A word or a list of words."""


class Section(BaseModel):
    """What all sections share."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )


class CloudSection(Section):
    """The cloud's settings; a silent file has the real cloud's values."""

    profile: Literal["balena-cloud", "open-balena"] | None = None
    """``balena-cloud``: as documented; ``open-balena``: the open-source API as it runs."""
    default_poll_interval_ms: PositiveMs | None = Field(default=None, alias="poll_interval")
    """Default poll interval, and the least one a configuration variable can set."""
    heartbeat_timeout_ms: Ms | None = Field(default=None, alias="heartbeat_timeout")
    """From heartbeat ``timeout`` to ``offline``."""
    metrics_gap_ms: Ms | None = Field(default=None, alias="metrics_gap")
    """Reports of metrics alone are stored at most this often."""
    progress_gap_ms: Ms | None = Field(default=None, alias="progress_gap")
    """Download progress of a service is stored at most this often."""
    notify_delay_ms: Ms | None = Field(default=None, alias="notify_delay")
    """Before a changed target state is pushed through cloudlink."""
    device_request_timeout_ms: PositiveMs | None = Field(
        default=None, alias="device_request_timeout"
    )
    """How long an immediate action waits for the device."""
    ping_interval_ms: PositiveMs | None = Field(default=None, alias="vpn_ping_interval")
    """Between two pings of the VPN server."""
    client_timeout_ms: PositiveMs | None = Field(default=None, alias="vpn_client_timeout")
    """Silence after which the device gives up its tunnel."""
    server_timeout_ms: PositiveMs | None = Field(default=None, alias="vpn_server_timeout")
    """Silence after which the VPN server gives up a tunnel."""
    report_period_ms: PositiveMs | None = Field(default=None, alias="vpn_report_period")
    """The VPN server reports to the API at most this often."""


class FleetSection(Section):
    """The devices."""

    devices: Annotated[int, Field(ge=1, le=MOST_DEVICES)] | None = None
    """How many; default 1."""
    names: Annotated[Words | None, Field(min_length=1)] = None
    """Their names, in order; default device-1, device-2, …"""
    fresh: bool = False
    """Nothing registered and nothing preloaded; otherwise the devices are preregistered."""
    behaviour: Literal["documented", "supervisor-19"] = "documented"
    """``supervisor-19``: with the real program's differences from its documentation."""
    scripted: bool = False
    """No agent: only heartbeat, cloudlink_up, cloudlink_down and report act for the devices."""
    device_type: str = "raspberrypi4-64"
    """The board's slug."""
    release: Release = Release(commit="r1")
    """The release the fleet starts on."""

    @field_validator("release", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A bare commit, and a release without one, take the defaults for the rest."""
        if isinstance(value, dict):
            return {"commit": "r1", **value}
        return {"commit": value} if isinstance(value, str | int | float) else value

    @model_validator(mode="after")
    def _counted(self) -> Self:
        names = self.names
        if names is not None:
            if self.devices not in (None, len(names)):
                raise ValueError(f"devices is {self.devices}, but {len(names)} names are given")
            if "" in names:
                raise ValueError("a device's name is empty")
        return self


class LinksSection(Section):
    """The devices' links and boards."""

    latency_ms: Ms | None = Field(default=None, alias="latency")
    """One way, to everything in the cloud."""
    registry_bytes_per_second: Rate | None = Field(default=None, alias="registry_rate")
    """How fast images are downloaded."""
    boot_ms: PositiveMs | None = Field(default=None, alias="boot_time")
    """From power to supervisor."""


class Repeating(Section):
    """How often a line of the timeline happens."""

    every: Moment | None = None
    """Again and again, this far apart; the moments are called id.1, id.2, … and id.last."""
    repeat: Annotated[int, Field(ge=1, le=MOST_REPETITIONS)] | None = None
    """With ``every``: how many times in all."""
    until: Moment | None = None
    """With ``every``: as long as it does not begin later than this."""
    note: Text = ""
    """For people: shown in reports."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        """``every`` comes with exactly one bound."""
        if self.every is None and (self.repeat is not None or self.until is not None):
            raise ValueError("repeat and until need 'every': every: 1d")
        if self.every is not None and (self.repeat is None) == (self.until is None):
            raise ValueError("every needs either 'repeat' (how many times) or 'until' (a moment)")
        return self


class Placed(Section):
    """When and on which devices something happens."""

    at: Moment
    """When: 90s, 1h30m, poll_interval + 5s, an earlier step's id ± a duration, or 10m..20m: a
    random moment between two, fixed by the seed."""
    id: Annotated[str, Field(pattern=NAME)] | None = None
    """Anchor name for expectations; default: the verb."""
    on: Annotated[Words | None, Field(min_length=1)] = None
    """The devices: names of devices, groups or fleets, a share ("30%", "30% of north": the
    first of them), or "all but device-3", "north but dark"; default: all."""
    spread: Moment | None = None
    """Each device at a random moment of its own, at most this much later; fixed by the seed."""


class StepHead(Repeating, Placed):
    """What every step of a timeline may say beside its verb's parameters."""


class RepeatHead(Repeating):
    """A line of a timeline that repeats several steps."""

    steps: tuple[Any, ...] = Field(min_length=1)
    """Steps; their times count from the beginning of each repetition."""
    every: Moment
    """How far apart the repetitions begin."""
    at: Moment = "0"
    """When the first begins."""


class ExpectLine(Section):
    """One expectation: exactly one of eventually, always, never, sequence, measure."""

    eventually: dict[str, Any] | None = None
    """field: value pairs that hold together at some moment of the window; a list is any of them."""
    always: dict[str, Any] | None = None
    """Pairs that hold together during the whole window."""
    never: dict[str, Any] | None = None
    """Pairs that hold together at no moment of the window."""
    sequence: dict[str, Any] | None = None
    """One field and exactly the values it takes in the window, repeats folded."""
    measure: str | None = None
    """A number compared: ``downtime < 5m``, ``time_in(overall_status, operational) > 95%``."""
    after: Moment | None = None
    """The window's start; default: the run's."""
    from_: Moment | None = Field(default=None, alias="from")
    """The same as ``after``."""
    within: Moment | None = None
    """The window's length."""
    until: Moment | None = None
    """The window's end; default: the run's."""
    for_: Words | None = Field(default=None, alias="for")
    """all, any, none, a share ("80%": at least), names of devices, groups or fleets, "all but
    device-3", or "any of north", "none of north" (it holds on no device of north; it says
    nothing of the others), "80% of north"; default: all."""
    each: str | None = None
    """The id of a repeated step: judged once for each repetition, whose moments the ids mean."""
    note: Text = ""
    """For people: why it matters; shown when it does not hold."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kinds = [k for k in EXPECTATIONS if k in self.model_fields_set]
        if len(kinds) != 1:
            raise ValueError(f"say exactly one of {', '.join(EXPECTATIONS)}")
        if not getattr(self, kinds[0]):
            example = "downtime < 5m" if kinds == ["measure"] else "{overall_status: operational}"
            raise ValueError(f"{kinds[0]} says nothing: write {example}")
        if self.after is not None and self.from_ is not None:
            raise ValueError("after and from mean the same, say one")
        if self.within is not None and self.until is not None:
            raise ValueError("within and until both end the window, say one")
        return self


class Head(Section):
    """The top of a file: what it is called and what it is about."""

    scenario: Text = Field(min_length=1, max_length=120)
    """The scenario's name."""
    about: str = ""
    """What happens, in a sentence or two."""
    spec: Words = ()
    """Ids of the sentences of the specification it pins."""
    tags: Words = ()
    """Words to select scenarios by (``-k``)."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Of all randomness; ``--seed`` wins."""
    include: Words = ()
    """Fragment files, relative to this one, with timeline, expect, cloud, fleet or links."""
    params: dict[str, Any] | None = None
    """Name → a value, a list of values (the file is run with each), or a mapping of named cases;
    ``${name}`` stands for it anywhere below."""


PARTS = ("cloud", "fleet", "fleets", "groups", "links", "timeline", "expect")
"""The keys of a file beside those of ``Head``; a fragment may hold these and ``include``."""
