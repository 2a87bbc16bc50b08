"""The devices of a scenario: fleets, groups, and what ``on:`` and ``for:`` mean by a word.

Shares take the first devices of a fleet or group, as many as the share rounds up to: the same ones
in every run, whatever the seed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from .durations import suggest
from .model import DeviceSpec, Quantifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .sections import FleetSection

DEFAULT_FLEET = "fleet"
_OF = re.compile(r"\s*(any|none|all|\d{1,3}(?:\.\d{1,6})?\s*%)\s+of\s+(\S+)\s*")
_BUT = re.compile(r"\sbut\s")
"""``all but device-3``, ``30% of north but dark``; by itself it takes away from the whole list."""
_MOST_NAMED = 20
"""Names in a hint."""


class WordError(ValueError):
    """A word of ``on:`` or ``for:`` that means nothing, with the remedy."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Fleet(NamedTuple):
    """A fleet's devices by name."""

    name: str
    devices: tuple[DeviceSpec, ...]


def fleet_of(name: str, section: FleetSection, override: int | None) -> Fleet:
    """A fleet as its section says; an override cuts the list of names or goes on counting."""
    given = section.names or ()
    count = override or section.devices or len(given) or 1
    prefix = "device" if name == DEFAULT_FLEET else name
    names = (*given[:count], *(f"{prefix}-{n}" for n in range(len(given) + 1, count + 1)))
    return Fleet(
        name,
        tuple(
            DeviceSpec(
                name=device,
                fleet=name,
                behaviour=section.behaviour,
                scripted=section.scripted,
                fresh=section.fresh,
                device_type=section.device_type,
            )
            for device in names
        ),
    )


class Roster:
    """All devices of a scenario and the names for sets of them."""

    __slots__ = ("_known", "devices", "fleets", "groups", "names")

    def __init__(self, fleets: Sequence[Fleet]) -> None:
        self.fleets = {fleet.name: tuple(d.name for d in fleet.devices) for fleet in fleets}
        self.devices = tuple(device for fleet in fleets for device in fleet.devices)
        self.names = tuple(device.name for device in self.devices)
        self.groups: dict[str, tuple[str, ...]] = {}
        """Also the fleets, where there are several."""
        self._known = frozenset(self.names)
        if len(fleets) > 1:
            self.groups.update(self.fleets)

    @property
    def repeated(self) -> bool:
        """Whether two devices have one name."""
        return len(self._known) < len(self.names)

    def add_group(self, name: str, words: Iterable[str]) -> None:
        """Name a set of devices; raises ``WordError``."""
        if name in self._known or name in self.groups or name in ("all", "any", "none"):
            raise WordError(f"'{name}' is taken", "choose another name for the group")
        self.groups[name] = self.select(tuple(words))

    def select(self, words: Sequence[str] | None) -> tuple[str, ...]:
        """The devices that words mean, in the order of the fleet; raises ``WordError``."""
        if words is None or tuple(words) == ("all",):
            return self.names
        chosen, left_out = set[str](), set[str]()
        pairs = [self._parted(word) for word in words]
        for with_, without in pairs:
            names = {name for word in without for name in self._meant(word)}
            if with_:
                chosen.update(name for name in self._meant(with_) if name not in names)
            else:
                left_out |= names
        if not any(with_ for with_, _ in pairs):
            chosen.update(self.names)
        meant = tuple(name for name in self.names if name in chosen and name not in left_out)
        if not meant and any(without for _, without in pairs):
            raise WordError(f"'{', '.join(words)}' leaves no device", "leave fewer out")
        return meant

    def _parted(self, word: str) -> tuple[str, list[str]]:
        """What a word takes, and what it leaves out of that (of the whole list: ``but x``)."""
        if self._is_name(word):
            return word, []
        with_, *without = _BUT.split(f" {word.strip()} ")
        return with_.strip(), [name.strip() for name in without]

    def _is_name(self, word: str) -> bool:
        return word in self._known or word in self.groups

    def _meant(self, word: str) -> Sequence[str]:
        """The devices one word means."""
        if word == "all":
            return self.names
        match = _OF.fullmatch(word)
        if match is not None:
            return self._first(match[1], self._set(match[2]))
        return self._first(word, self.names) if "%" in word else self._set(word)

    def _first(self, share: str, among: Sequence[str]) -> Sequence[str]:
        """The first devices of a set, as many as the share rounds up to."""
        if share == "all":
            return among
        fraction = percent(share)
        if fraction is None:
            raise WordError(f"'{share}' is not a share", '"30%"')
        return among[: -int(-round(len(among) * fraction, 9) // 1)]

    def _set(self, word: str) -> Sequence[str]:
        """A device, or the devices of a group or fleet."""
        if word in self.groups:
            return self.groups[word]
        if word in self._known:
            return (word,)
        known = (*self.groups, *self.names[:200])
        listed = ", ".join([*self.groups, *self.names][:_MOST_NAMED])
        what = "device or group" if self.groups else "device"
        raise WordError(
            f"no {what} is called '{word}'", suggest(word, known) or f"devices: {listed}"
        )

    def quantifier(self, words: Sequence[str] | None) -> Quantifier:
        """What ``for:`` says; raises ``WordError``."""
        if words is None or tuple(words) == ("all",):
            return Quantifier()
        if len(words) == 1 and not self._parted(words[0])[1]:
            word = words[0]
            match = _OF.fullmatch(word)
            among = self.select((match[2],)) if match else ()
            how = match[1] if match else word
            if how in ("any", "none"):
                mode: Literal["any", "none"] = "any" if how == "any" else "none"
                return Quantifier(mode=mode, devices=among, written=word)
            if "%" in how:
                share = percent(how)
                if share is None:
                    raise WordError(f"'{how}' is not a share", '"80%"')
                return Quantifier(mode="at_least", fraction=share, devices=among, written=word)
        try:
            return Quantifier(devices=self.select(words), written=", ".join(words))
        except WordError as error:
            remedy = error.hint
            if remedy.startswith("devices"):
                remedy = 'all, any, none, "80%" or names of devices and groups'
            near = suggest(next(iter(words)), ("all", "any", "none"))
            raise WordError(error.message, near or remedy) from None


def percent(text: str) -> float | None:
    """``"30%"`` as a fraction, ``None`` where it is no share."""
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*", text)
    share = float(match[1]) / 100 if match else None
    return share if share is not None and share <= 1 else None


def fleets_of(devices: Iterable[str], fleets: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The fleets some devices belong to, in their order."""
    chosen = set(devices)
    return tuple(name for name, members in fleets.items() if not chosen.isdisjoint(members))
