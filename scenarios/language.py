"""Scenario files → sections, steps and expectations with their places; every mistake is collected.

``load`` reads a file and the fragments it includes.  What needs the whole (anchors, device names,
windows) is the compiler's.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from cloud_stub.settings import CloudSettings, VpnSettings

from . import verbs
from .durations import suggest
from .errors import InputError
from .mistakes import Mistakes, keys_of
from .model import LinkSpec
from .names import product_names
from .sections import (
    PARTS,
    CloudSection,
    ExpectLine,
    FleetSection,
    Head,
    LinksSection,
    StepHead,
)
from .yaml_text import Document, ValuePath, parse_document, read_document

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

MOST_FILES = 50
"""Included by one scenario, all told."""
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
    fleet: FleetSection
    names: dict[str, int]
    """The durations expressions may name."""
    steps: list[SourceStep] = field(default_factory=list)
    expectations: list[SourceExpectation] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Names of steps that have a mistake: what refers to them is not judged."""


def load(path: Path) -> Source:
    """Read a scenario file; raises ``InputError`` where nothing can be read at all."""
    return _Loader(read_document(path)).source()


def load_text(text: str, path: Path) -> Source:
    """As ``load``, for text; ``path`` names it in messages and is where includes start."""
    return _Loader(parse_document(text, path)).source()


class _Loader:
    """Gathers a file and its fragments."""

    __slots__ = ("documents", "mistakes", "root")

    def __init__(self, root: Document) -> None:
        self.root = root
        self.mistakes = Mistakes()
        self.documents: list[Document] = []
        """Fragments first, in the order they are included; the file itself last."""

    def source(self) -> Source:
        """The whole, with its mistakes noted."""
        if not isinstance(self.root.data, dict):
            raise InputError(
                "a scenario is a mapping", self.root.file, 1, 1, "start with 'scenario: <name>'"
            )
        self._gather(self.root, ())
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
            fleet=FleetSection(**self._settings(FleetSection, "fleet")),
            names=product_names(settings, vpn_settings, links),
        )
        for document in self.documents:
            self._timeline(document, source)
            self._expect(document, source)
        if len(source.steps) > MOST_STEPS:
            self.mistakes.add(self.root, ("timeline",), f"more than {MOST_STEPS} steps")
        return source

    # --- files -----------------------------------------------------------------------------------

    def _gather(self, document: Document, trail: tuple[Path, ...]) -> None:
        """Take in the fragments of a document, depth first, then the document."""
        self.mistakes.found.extend(document.repeated)
        known = _FRAGMENT_KEYS if trail else _FILE_KEYS
        for key in document.data:
            if key not in known:
                hint = suggest(key, known) or f"known: {', '.join(known)}"
                what = "a fragment" if trail else "a scenario"
                self.mistakes.add(document, (key,), f"{what} has no '{key}'", hint, key=True)
        trail = (*trail, document.file.resolve())
        for path, name in self._included(document):
            self._include(document, path, name, trail)
        self.documents.append(document)

    def _included(self, document: Document) -> list[tuple[ValuePath, str]]:
        """Where and what a document includes."""
        value = document.data.get("include", [])
        if isinstance(value, str):
            return [(("include",), value)]
        if not isinstance(value, list):
            return []
        return [(("include", i), name) for i, name in enumerate(value) if isinstance(name, str)]

    def _include(
        self, document: Document, path: ValuePath, name: str, trail: tuple[Path, ...]
    ) -> None:
        """Take in one fragment."""
        target = document.file.parent / name
        resolved = target.resolve()
        if resolved in trail:
            circle = " → ".join(part.name for part in (*trail[trail.index(resolved) :], resolved))
            self.mistakes.add(
                document, path, f"the include is cyclic: {circle}", "remove one of them"
            )
            return
        if any(known.file.resolve() == resolved for known in self.documents):
            return
        if len(self.documents) >= MOST_FILES:
            self.mistakes.add(document, path, f"more than {MOST_FILES} files are included")
            return
        if not target.is_file():
            self.mistakes.add(
                document, path, f"there is no file '{name}'", "paths are relative to this file"
            )
            return
        try:
            fragment = read_document(target)
        except InputError as error:
            self.mistakes.found.append(error)
            return
        if isinstance(fragment.data, dict):
            self._gather(fragment, trail)
        else:
            self.mistakes.add(fragment, (), "a fragment is a mapping", "timeline:, expect:, …")

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

    def _timeline(self, document: Document, source: Source) -> None:
        """The steps of one file."""
        head_keys = keys_of(StepHead)
        for path, item in self._lines(document, "timeline"):
            verb = item.get("do")
            if verb is None:
                self.mistakes.add(document, path, "a step needs 'do'", "do: power_on")
                source.broken.add(str(item.get("id")))
                continue
            model = VERBS.get(verb) if isinstance(verb, str) else None
            if model is None:
                hint = suggest(str(verb), VERBS) or f"verbs: {', '.join(VERBS)}"
                self.mistakes.add(document, (*path, "do"), f"unknown verb '{verb}'", hint)
                source.broken.update((str(item.get("id")), str(verb)))
                source.broken.update(difflib.get_close_matches(str(verb), list(VERBS), n=1))
                continue
            head = self.mistakes.validate(
                StepHead, document, path, {k: v for k, v in item.items() if k in head_keys}, verb
            )
            rest = {k: v for k, v in item.items() if k not in head_keys}
            common = [k for k in rest if k not in keys_of(model) and suggest(k, head_keys)]
            for key in common:
                if not suggest(key, keys_of(model)):
                    del rest[key]
                    near = suggest(key, head_keys)
                    self.mistakes.add(
                        document, (*path, key), f"{verb} has no '{key}'", near, key=True
                    )
            action = self.mistakes.validate(model, document, path, rest, verb, source.names)
            if head is not None and action is not None:
                source.steps.append(
                    SourceStep(document=document, path=path, head=head, action=action, verb=verb)
                )
            else:
                source.broken.add(str(item.get("id", verb)))

    def _expect(self, document: Document, source: Source) -> None:
        """The expectations of one file."""
        for path, item in self._lines(document, "expect"):
            line = self.mistakes.validate(ExpectLine, document, path, item, "an expectation")
            if line is not None:
                source.expectations.append(
                    SourceExpectation(document=document, path=path, line=line)
                )
