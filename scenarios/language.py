"""Scenario files → sections, steps and expectations with their places; every mistake is collected.

``load`` reads a file and the fragments it includes.  What needs the whole (anchors, device names,
windows) is the compiler's.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from cloud_stub.settings import CloudSettings, VpnSettings

from . import verbs
from .durations import suggest
from .errors import InputError
from .fragments import gather
from .mistakes import Mistakes, keys_of
from .model import LinkSpec
from .names import product_names
from .params import NOTHING_GIVEN, Given, label_of, read_params, substituted, variants
from .roster import DEFAULT_FLEET
from .sections import (
    NAME,
    PARTS,
    CloudSection,
    ExpectLine,
    FleetSection,
    Head,
    LinksSection,
    RepeatHead,
    StepHead,
)
from .yaml_text import Document, ValuePath, parse_document, read_document

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

MOST_STEPS = 10_000
VERBS: dict[str, type[verbs.Verb]] = {
    model.model_fields["do"].default: model for model in get_args(get_args(verbs.Action)[0])
}
"""Word → model, in the order of the documentation."""
_VPN_FIELDS = frozenset(VpnSettings.__dataclass_fields__)
_FRAGMENT_KEYS = ("include", *PARTS)
_FILE_KEYS = (*keys_of(Head), *PARTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStep:
    """A step as written, its verb validated."""

    document: Document
    path: ValuePath
    head: StepHead
    action: verbs.Verb
    verb: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBlock:
    """A line of the timeline that repeats steps."""

    document: Document
    path: ValuePath
    head: RepeatHead
    steps: list[SourceStep]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceExpectation:
    """An expectation as written, its keys validated."""

    document: Document
    path: ValuePath
    line: ExpectLine


@dataclass(slots=True, kw_only=True)
class Source:
    """A scenario file and its fragments, read and validated piece by piece."""

    document: Document
    mistakes: Mistakes
    head: Head
    cloud: CloudSettings
    vpn: VpnSettings
    links: LinkSpec
    fleets: dict[str, FleetSection]
    """At least one."""
    groups: list[tuple[Document, ValuePath, str, tuple[str, ...]]]
    """Where each group stands, its name and its words."""
    names: dict[str, int]
    """The durations expressions may name."""
    params: dict[str, str]
    """What tells this scenario from the file's others."""
    known_params: tuple[str, ...]
    """All parameters of the file."""
    timeline: list[SourceStep | SourceBlock] = field(default_factory=list)
    expectations: list[SourceExpectation] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Names of steps that have a mistake: what refers to them is not judged."""

    @property
    def steps(self) -> list[SourceStep]:
        """Every step as written, also those of blocks."""
        return [
            step
            for item in self.timeline
            for step in (item.steps if isinstance(item, SourceBlock) else [item])
        ]


def load(path: Path, given: Given = NOTHING_GIVEN) -> list[Source]:
    """Read a scenario file: a source for each variant of its parameters, at least one.

    Raises ``InputError`` where nothing can be read at all.
    """
    return _sources(read_document(path), given)


def load_text(text: str, path: Path, given: Given = NOTHING_GIVEN) -> list[Source]:
    """As ``load``, for text; ``path`` names it in messages and is where includes start."""
    return _sources(parse_document(text, path), given)


def _sources(root: Document, given: Given) -> list[Source]:
    """The whole for each variant, with its mistakes noted."""
    if not isinstance(root.data, dict):
        raise InputError(
            "a scenario is a mapping", root.file, 1, 1, "start with 'scenario: <name>'"
        )
    shared = Mistakes()
    gathered = gather(root, shared, known=_FILE_KEYS, known_in_fragments=_FRAGMENT_KEYS)
    params = read_params(root, shared)
    found = []
    for variant in variants(root, params, given, shared):
        mistakes = Mistakes(shared.found)
        documents = [substituted(document, variant, mistakes) for document in gathered]
        label = label_of(params, variant, given)
        reader = _Reader(documents, mistakes)
        found.append(reader.source(label, tuple(param.name for param in params)))
    return found


class _Reader:
    """Reads the sections of a file and its fragments, parameters replaced."""

    __slots__ = ("documents", "mistakes", "root")

    def __init__(self, documents: list[Document], mistakes: Mistakes) -> None:
        self.documents = documents
        self.mistakes = mistakes
        self.root = documents[-1]

    def source(self, params: dict[str, str], known_params: tuple[str, ...]) -> Source:
        """The whole, with its mistakes noted."""
        head_values = {k: v for k, v in self.root.data.items() if k in keys_of(Head)}
        head = self.mistakes.validate(Head, self.root, (), head_values, "the file")
        cloud = self._settings(CloudSection, "cloud")
        vpn = {key: cloud.pop(key) for key in list(cloud) if key in _VPN_FIELDS}
        links = LinkSpec(**self._settings(LinksSection, "links"))
        settings, vpn_settings = CloudSettings(**cloud), VpnSettings(**vpn)
        source = Source(
            document=self.root,
            mistakes=self.mistakes,
            head=head or Head(scenario="unnamed"),
            cloud=settings,
            vpn=vpn_settings,
            links=links,
            fleets=self._fleets(),
            groups=self._groups(),
            names=product_names(settings, vpn_settings, links),
            params=params,
            known_params=known_params,
        )
        for document in self.documents:
            self._timeline(document, source)
            self._expect(document, source)
        if len(source.steps) > MOST_STEPS:
            self.mistakes.add(self.root, ("timeline",), f"more than {MOST_STEPS} steps")
        return source

    # --- sections --------------------------------------------------------------------------------

    def _settings(self, model: type[BaseModel], section: str) -> dict[str, Any]:
        """The fields a section sets, later files over earlier ones."""
        found: dict[str, Any] = {}
        for document in self.documents:
            value = document.data.get(section)
            if value is None:
                continue
            parsed = self.mistakes.validate(model, document, (section,), value, section)
            if parsed is not None:
                given = {name: getattr(parsed, name) for name in parsed.model_fields_set}
                found.update({k: v for k, v in given.items() if v is not None})
        return found

    def _lines(self, document: Document, section: str) -> list[tuple[ValuePath, dict[str, Any]]]:
        """The mappings of a list section, with their places."""
        value = document.data.get(section)
        if value is None:
            return []
        if not isinstance(value, list):
            self.mistakes.add(
                document, (section,), f"{section} must be a list", "begin each line with '- '"
            )
            return []
        lines: list[tuple[ValuePath, dict[str, Any]]] = []
        for index, item in enumerate(value):
            if isinstance(item, dict):
                lines.append(((section, index), item))
            else:
                example = "{at: 0s, do: power_on}" if section == "timeline" else "eventually: {…}"
                self.mistakes.add(
                    document, (section, index), f"a line of {section} is a mapping", f"- {example}"
                )
        return lines

    def _named(self, section: str, example: str) -> list[tuple[Document, ValuePath, str, Any]]:
        """The entries of a section that names things, with their places."""
        found: list[tuple[Document, ValuePath, str, Any]] = []
        for document in self.documents:
            value = document.data.get(section)
            if value is None:
                continue
            if not isinstance(value, dict):
                self.mistakes.add(document, (section,), f"{section} must be a mapping", example)
                continue
            for name, item in value.items():
                if re.fullmatch(NAME, name):
                    found.append((document, (section, name), name, item))
                else:
                    hint = "use letters, digits, _ and -, and begin with a letter"
                    path = (section, name)
                    self.mistakes.add(document, path, f"'{name}' is no name", hint, key=True)
        return found

    def _fleets(self) -> dict[str, FleetSection]:
        """``fleets:`` by name, or the one ``fleet:``."""
        found: dict[str, FleetSection] = {}
        for document, path, name, item in self._named("fleets", "canary: {devices: 3}"):
            given = {} if item is None else item
            parsed = self.mistakes.validate(FleetSection, document, path, given, f"fleet {name}")
            found[name] = parsed or FleetSection()
            if "fleet" in document.data:
                self.mistakes.add(document, ("fleet",), "say either fleet or fleets", key=True)
        return found or {DEFAULT_FLEET: FleetSection(**self._settings(FleetSection, "fleet"))}

    def _groups(self) -> list[tuple[Document, ValuePath, str, tuple[str, ...]]]:
        """``groups:``: names for sets of devices."""
        found: list[tuple[Document, ValuePath, str, tuple[str, ...]]] = []
        for document, path, name, item in self._named("groups", "north: [device-1, device-2]"):
            words = item if isinstance(item, list) else [item]
            if words and all(isinstance(word, str) for word in words):
                found.append((document, path, name, tuple(words)))
            else:
                hint = f"{name}: [device-1, device-2] or {name}: 30%"
                self.mistakes.add(document, path, "a group is a list of devices", hint)
        return found

    def _timeline(self, document: Document, source: Source) -> None:
        """The steps of one file."""
        for path, item in self._lines(document, "timeline"):
            if "steps" in item and "do" not in item:
                self._block(document, path, item, source)
            else:
                step = self._step(document, path, item, source)
                if step is not None:
                    source.timeline.append(step)

    def _block(
        self, document: Document, path: ValuePath, item: dict[str, Any], source: Source
    ) -> None:
        """A line that repeats steps."""
        head = self.mistakes.validate(RepeatHead, document, path, item, "a repetition")
        lines = item["steps"] if isinstance(item["steps"], list) else []
        steps = []
        for index, line in enumerate(lines):
            below = (*path, "steps", index)
            if not isinstance(line, dict):
                hint = "- {at: 0s, do: power_on}"
                self.mistakes.add(document, below, "a line of steps is a mapping", hint)
                continue
            for key in ("every", "steps"):
                if key in line:
                    text = f"'{key}' within a repetition"
                    self.mistakes.add(document, (*below, key), text, "one inside another is not")
            step = self._step(document, below, line, source)
            if step is not None:
                steps.append(step)
        if head is not None and steps:
            source.timeline.append(
                SourceBlock(document=document, path=path, head=head, steps=steps)
            )

    def _step(
        self, document: Document, path: ValuePath, item: dict[str, Any], source: Source
    ) -> SourceStep | None:
        """One step, or ``None`` after its mistakes were noted."""
        head_keys = keys_of(StepHead)
        verb = item.get("do")
        if verb is None:
            self.mistakes.add(document, path, "a step needs 'do'", "do: power_on")
            source.broken.add(str(item.get("id")))
            return None
        model = VERBS.get(verb) if isinstance(verb, str) else None
        if model is None:
            hint = suggest(str(verb), VERBS) or f"verbs: {', '.join(VERBS)}"
            self.mistakes.add(document, (*path, "do"), f"unknown verb '{verb}'", hint)
            source.broken.update((str(item.get("id")), str(verb)))
            source.broken.update(difflib.get_close_matches(str(verb), list(VERBS), n=1))
            return None
        head = self.mistakes.validate(
            StepHead, document, path, {k: v for k, v in item.items() if k in head_keys}, verb
        )
        rest = {k: v for k, v in item.items() if k not in head_keys}
        common = [k for k in rest if k not in keys_of(model) and suggest(k, head_keys)]
        for key in common:
            if not suggest(key, keys_of(model)):
                del rest[key]
                near = suggest(key, head_keys)
                self.mistakes.add(document, (*path, key), f"{verb} has no '{key}'", near, key=True)
        action = self.mistakes.validate(model, document, path, rest, verb, source.names)
        if head is None or action is None:
            source.broken.add(str(item.get("id", verb)))
            return None
        return SourceStep(document=document, path=path, head=head, action=action, verb=verb)

    def _expect(self, document: Document, source: Source) -> None:
        """The expectations of one file."""
        for path, item in self._lines(document, "expect"):
            line = self.mistakes.validate(ExpectLine, document, path, item, "an expectation")
            if line is not None:
                source.expectations.append(
                    SourceExpectation(document=document, path=path, line=line)
                )
