"""The sentences of the specification that scenarios pin (``spec.yaml``), and unknown ids.

A scenario names sentences by their ids under ``spec:``.  People have lists of their own, so an id
that is not in the list at hand is told, and only ``fieldbeat coverage`` counts it as a failure.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .durations import suggest
from .errors import InputError
from .yaml_text import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .yaml_text import ValuePath

SPEC_FILE = Path(__file__).resolve().parent / "spec.yaml"


class Sentence(NamedTuple):
    """One sentence that states a behaviour."""

    id: str
    words: str
    """In our own words, short."""
    document: str
    """Where it stands."""


@lru_cache(maxsize=4)
def sentences(file: Path = SPEC_FILE) -> Mapping[str, Sentence]:
    """Every sentence by its id, in the order of the documents.

    Raises:
        InputError: the file is no list of documents with their sentences.
    """
    document = read_document(file)
    found: dict[str, Sentence] = {}
    parts = document.data if isinstance(document.data, list) else [document.data]
    for number, part in enumerate(parts):
        rows = part.get("sentences") if isinstance(part, dict) else None
        if not isinstance(rows, dict) or not isinstance(part.get("document"), str):
            where = document.where((number,))
            hint = "- document: name, and below it sentences: {id: words}"
            message = "a list of documents with their sentences is needed"
            raise InputError(message, file, where.line, where.column, hint)
        for name, words in rows.items():
            if name in found or not isinstance(words, str):
                where = document.where((number, "sentences", name))
                problem = "stands there twice" if name in found else "needs words"
                raise InputError(f"'{name}' {problem}", file, where.line, where.column)
            found[name] = Sentence(name, " ".join(words.split()), part["document"])
    return found


def unknown_sentences(path: Path, known: Mapping[str, Sentence]) -> Iterator[InputError]:
    """A word for each id under ``spec:`` that names no sentence; the file can be read."""
    document = read_document(path)
    given = document.data.get("spec") or ()
    places: list[ValuePath] = [("spec", index) for index in range(len(given))]
    if isinstance(given, str):
        given, places = [given], [("spec",)]
    for name, place in zip(given, places, strict=True):
        if name not in known:
            where = document.where(place)
            hint = suggest(str(name), known) or "fieldbeat coverage lists all"
            message = f"the specification has no sentence '{name}'"
            yield InputError(message, path, where.line, where.column, hint)
