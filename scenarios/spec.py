"""The sentences of the specification that scenarios pin (``spec.yaml``), and unknown ids.

A scenario names sentences by their ids under ``spec:``.  An id that is not in ``spec.yaml`` would
pin nothing, so it is a mistake of the file.
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


@lru_cache(maxsize=1)
def sentences() -> Mapping[str, Sentence]:
    """Every sentence by its id, in the order of the documents."""
    found: dict[str, Sentence] = {}
    for part in read_document(SPEC_FILE).data:
        for name, words in part["sentences"].items():
            assert name not in found, f"{SPEC_FILE}: {name} stands there twice"
            found[name] = Sentence(name, " ".join(words.split()), part["document"])
    return found


def unknown_sentences(path: Path) -> Iterator[InputError]:
    """A mistake for each id under ``spec:`` that names no sentence; the file can be read."""
    document = read_document(path)
    given = document.data.get("spec") or ()
    places: list[ValuePath] = [("spec", index) for index in range(len(given))]
    if isinstance(given, str):
        given, places = [given], [("spec",)]
    known = sentences()
    for name, place in zip(given, places, strict=True):
        if name not in known:
            where = document.where(place)
            hint = suggest(str(name), known) or "fieldbeat coverage lists all"
            message = f"the specification has no sentence '{name}'"
            yield InputError(message, path, where.line, where.column, hint)
