"""A scenario file and the fragments it includes, each once, depth first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .durations import suggest
from .errors import InputError
from .yaml_text import Document, ValuePath, read_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .mistakes import Mistakes

MOST_FILES = 50
"""Included by one scenario, all told."""


def gather(
    root: Document, mistakes: Mistakes, *, known: Sequence[str], known_in_fragments: Sequence[str]
) -> list[Document]:
    """The fragments in the order they are included, then the file itself; mistakes are noted.

    ``known``, ``known_in_fragments``: the keys a file and a fragment may have.
    """
    gatherer = _Gatherer(mistakes, known, known_in_fragments)
    gatherer.take(root, ())
    return gatherer.documents


class _Gatherer:
    """Gathers a file and its fragments."""

    __slots__ = ("documents", "known", "known_in_fragments", "mistakes")

    def __init__(
        self, mistakes: Mistakes, known: Sequence[str], known_in_fragments: Sequence[str]
    ) -> None:
        self.mistakes = mistakes
        self.known = known
        self.known_in_fragments = known_in_fragments
        self.documents: list[Document] = []

    def take(self, document: Document, trail: tuple[Path, ...]) -> None:
        """Take in the fragments of a document, depth first, then the document."""
        self.mistakes.found.extend(document.repeated)
        known = self.known_in_fragments if trail else self.known
        for key in document.data:
            if key not in known:
                hint = suggest(key, known) or f"known: {', '.join(known)}"
                what = "a fragment" if trail else "a scenario"
                self.mistakes.add(document, (key,), f"{what} has no '{key}'", hint, key=True)
        trail = (*trail, document.file.resolve())
        for path, name in _included(document):
            self._include(document, path, name, trail)
        self.documents.append(document)

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
            self.take(fragment, trail)
        else:
            self.mistakes.add(fragment, (), "a fragment is a mapping", "timeline:, expect:, …")


def _included(document: Document) -> list[tuple[ValuePath, str]]:
    """Where and what a document includes."""
    value = document.data.get("include", [])
    if isinstance(value, str):
        return [(("include",), value)]
    if not isinstance(value, list):
        return []
    return [(("include", i), name) for i, name in enumerate(value) if isinstance(name, str)]
