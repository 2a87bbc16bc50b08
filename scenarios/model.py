"""A compiled scenario: what every lab runs, with all times in integer milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cloud_stub.settings import CloudSettings, VpnSettings

    from .measures import Measure
    from .verbs import Action, Release

DEFAULT_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A place in a scenario file; line and column count from 1."""

    line: int
    column: int
    file: Path | None = None
    """The included fragment it stands in; ``None``: the scenario file itself."""

    def in_file(self, file: Path) -> Where:
        """The same place, said of a fragment."""
        return Where(line=self.line, column=self.column, file=file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the timeline."""

    at_ms: int
    id: str
    """Anchor name: the step's ``id``, else its verb."""
    verb: str
    action: Action
    """The verb's parameters, validated and in base units (ms, bytes, fractions)."""
    devices: tuple[str, ...]
    """Names of the devices it acts on, already selected (``on:``), sorted as in the fleet."""
    where: Where
    note: str = ""
    """Of the person who wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """One simulated device."""

    name: str
    fleet: str
    behaviour: str = "documented"
    scripted: bool = False
    """No agent: only the raw primitives (``heartbeat``, ``report``, …) act for it."""
    fresh: bool = False
    """Nothing registered, nothing preloaded."""
    device_type: str = "raspberrypi4-64"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """The world's defaults for links and boards."""

    latency_ms: int = 20
    """One way."""
    registry_bytes_per_second: int = 2_500_000
    boot_ms: int = 25_000
    """Power to supervisor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantifier:
    """Over which devices an expectation speaks; a list of names is ``all`` of those."""

    mode: Literal["all", "any", "none", "at_least"] = "all"
    fraction: float = 1.0
    """Of the devices, for ``at_least`` (``for: "80%"``)."""
    devices: tuple[str, ...] = ()
    """The devices meant; empty: every one."""
    written: str = field(default="", compare=False)
    """As it stands in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One line of ``expect``; windows are absolute, closed at both ends."""

    kind: Literal["eventually", "always", "never", "sequence", "measure"]
    text: str
    """As written, on one line."""
    condition: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """field → accepted values (one, unless a list was written); all fields at the same moment."""
    sequence_field: str | None = None
    sequence: tuple[Any, ...] = ()
    measure: Measure | None = None
    from_ms: int = 0
    until_ms: int | None = None
    """``None``: the end of the run."""
    quantifier: Quantifier = Quantifier()
    where: Where = Where(line=1, column=1)
    note: str = ""
    """Of the person who wrote it."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it speaks of."""
        if self.sequence_field is not None:
            return (self.sequence_field,)
        if self.measure is not None:
            return (self.measure.field,) if self.measure.field else ()
        return tuple(self.condition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A compiled scenario: a file, with one value for each of its parameters."""

    name: str
    about: str
    spec: tuple[str, ...]
    tags: tuple[str, ...]
    file: Path
    seed: int
    """Random moments of steps are drawn from it; a run draws from it unless told another."""
    params: Mapping[str, str]
    """What tells this scenario from the file's others; part of its name."""
    known_params: tuple[str, ...]
    """All parameters of the file."""
    cloud: CloudSettings
    vpn: VpnSettings
    links: LinkSpec
    devices: tuple[DeviceSpec, ...]
    releases: Mapping[str, Release]
    """Fleet → the release it starts on."""
    steps: tuple[Step, ...]
    """Sorted by time; equal times in file order."""
    end_ms: int
    expectations: tuple[Expectation, ...]
    hints: tuple[str, ...] = ()
    """What ``fieldbeat check`` has to say that is not a mistake."""
