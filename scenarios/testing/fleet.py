"""A fleet in simulated time, driven by a program instead of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import ValidationError

from ..compile import compile_text
from ..durations import LONGEST_MS, DurationError, duration_ms, human, suggest
from ..language import VERBS
from ..mistakes import shown
from ..model import DEFAULT_SEED, Step, Where
from ..names import product_names
from ..roster import Fleet, Roster, WordError
from ..simulation.steps import carry_out
from ..virtual import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..history import Change
    from ..verbs import Action

_HERE = Where(line=1, column=1)


class FleetError(ValueError):
    """Something that cannot be done to a fleet, with the remedy."""


class DeviceView:
    """What the cloud shows of one device now; its fields are attributes, and keys."""

    __slots__ = ("_view", "name")

    def __init__(self, name: str, view: Mapping[str, Any]) -> None:
        self.name = name
        self._view = view

    def __getitem__(self, field: str) -> Any:
        try:
            return self._view[field]
        except KeyError:
            hint = suggest(field, self._view) or f"fields: {', '.join(self._view)}"
            raise FleetError(f"there is no field '{field}' ({hint})") from None

    def __getattr__(self, field: str) -> Any:
        try:
            return self[field]
        except FleetError as error:
            raise AttributeError(str(error)) from None

    def __repr__(self) -> str:
        told = ("overall_status", "api_heartbeat_state", "is_connected_to_vpn", "update_status")
        return f"<{self.name}: {', '.join(f'{n} {shown(self._view.get(n))}' for n in told)}>"


class VirtualFleet:
    """Devices and their cloud in simulated time; nothing happens but in ``advance``.

    Args:
        devices: how many.
        seed: of all randomness.
        cloud, fleet, links: the sections of a scenario file, as mappings.
    """

    def __init__(
        self,
        devices: int = 1,
        *,
        seed: int = DEFAULT_SEED,
        cloud: Mapping[str, Any] | None = None,
        fleet: Mapping[str, Any] | None = None,
        links: Mapping[str, Any] | None = None,
    ) -> None:
        sections = {
            "scenario": "a fleet in a test",
            "cloud": dict(cloud or {}),
            "fleet": {"devices": devices, **(fleet or {})},
            "links": dict(links or {}),
            "timeline": [{"at": f"{LONGEST_MS}ms", "do": "end"}],
        }
        scenario = compile_text(yaml.safe_dump(sections), name="virtual_fleet", seed=seed)
        self._names = product_names(scenario.cloud, scenario.vpn, scenario.links)
        self._roster = Roster([Fleet(name, scenario.devices) for name in scenario.releases])
        self._world = World(scenario, seed=seed, shortcut=False)
        self._told = 0

    # --- time ------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """Milliseconds since the fleet was made."""
        return self._world.agenda.now_ms

    @property
    def now(self) -> str:
        """The same for people: ``1h 05m 00s``."""
        return human(self.now_ms)

    def advance(self, span: str) -> list[Change]:
        """Let time pass: ``30m``, ``heartbeat_window + 1s``; what the cloud showed meanwhile.

        Each change has ``at_ms``, ``device``, ``field``, ``old``, ``new`` and ``cause``; the
        changes of a step itself are among them.

        Raises:
            FleetError: for what is no duration.
        """
        try:
            span_ms = duration_ms(span, self._names)
        except DurationError as error:
            raise FleetError(str(error)) from None
        if span_ms < 0:
            raise FleetError(f"{span} is in the past")
        until_ms = self.now_ms + span_ms
        self._world.run_until(until_ms)
        return list(self._new_changes())

    def _new_changes(self) -> Iterator[Change]:
        changes = self._world.history.changes
        for number, change in enumerate(changes):
            if number >= self._told:
                yield change
        self._told = len(changes)

    # --- doing -----------------------------------------------------------------------------------

    def do(self, verb: str, *, on: str | Sequence[str] | None = None, **parameters: Any) -> None:
        """A step of a timeline, now: ``do("firewall", block="vpn", on="device-1")``.

        Raises:
            FleetError: for an unknown verb, parameter or device.
        """
        model = VERBS.get(verb)
        if model is None or verb == "end":
            raise FleetError(f"there is no verb '{verb}' ({suggest(verb, VERBS) or 'see docs'})")
        try:
            context = {"file": True, "names": self._names}
            action = model.model_validate({"do": verb, **parameters}, context=context)
            devices = self._roster.select((on,) if isinstance(on, str) else on)
        except WordError as error:
            raise FleetError(f"{error.message} ({error.hint})") from None
        except ValidationError as error:
            rows = error.errors(include_url=False)
            said = "; ".join(f"{'.'.join(map(str, r['loc']))}: {r['msg']}" for r in rows)
            raise FleetError(f"{verb}: {said}") from None
        step = Step(
            at_ms=self.now_ms,
            id=verb,
            verb=verb,
            action=cast("Action", action),
            devices=devices,
            where=_HERE,
        )
        carry_out(self._world, step)

    # --- looking ---------------------------------------------------------------------------------

    def __getitem__(self, device: str) -> DeviceView:
        try:
            (name,) = self._roster.select((device,))
        except WordError as error:
            raise FleetError(f"{error.message} ({error.hint})") from None
        uuid = self._world.devices[name].uuid
        if uuid is None:
            return DeviceView(name, self._world.history.initial[name])
        return DeviceView(name, self._world.cloudside.view(uuid))

    def __iter__(self) -> Iterator[DeviceView]:
        return (self[name] for name in self._roster.names)

    def __len__(self) -> int:
        return len(self._roster.names)
