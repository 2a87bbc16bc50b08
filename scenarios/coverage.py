"""Which sentence of the specification is pinned by which scenario, and whether that one held.

The ``--json`` document (version 1; ``schemas/coverage.schema.json``) has nothing of the machine or
of the time it took: the same files and seed give the same bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .errors import InputError
    from .results import ScenarioResult
    from .spec import Sentence

VERSION = 1


class Line(NamedTuple):
    """A sentence and the scenarios that pin it."""

    sentence: Sentence
    results: tuple[ScenarioResult, ...]

    @property
    def pinned(self) -> bool:
        """At least one scenario names it."""
        return bool(self.results)

    @property
    def held(self) -> bool:
        """Some scenario pins it, and all that do held."""
        return self.pinned and all(result.passed for result in self.results)


class Coverage(NamedTuple):
    """The matrix of sentences and scenarios."""

    lines: tuple[Line, ...]
    """One for each sentence, in the order of the documents."""
    unknown: tuple[InputError, ...]
    """Ids that are no sentence's, with their places."""
    without: tuple[ScenarioResult, ...]
    """Scenarios that pin no sentence."""

    @property
    def pinned(self) -> int:
        """How many sentences have a scenario."""
        return sum(line.pinned for line in self.lines)

    @property
    def complete(self) -> bool:
        """Every sentence is pinned, every scenario that pins one held, and every id is known."""
        return not self.unknown and all(line.held for line in self.lines)


def coverage_of(
    results: Sequence[ScenarioResult],
    known: Mapping[str, Sentence],
    unknown: Iterable[InputError],
) -> Coverage:
    """The matrix of the known sentences and the scenarios that were run."""
    lines = tuple(
        Line(sentence, tuple(r for r in results if sentence.id in r.scenario.spec))
        for sentence in known.values()
    )
    without = tuple(r for r in results if not any(name in known for name in r.scenario.spec))
    return Coverage(lines, tuple(unknown), without)


def document(coverage: Coverage) -> dict[str, Any]:
    """The document of ``--json``."""
    return {
        "version": VERSION,
        "complete": coverage.complete,
        "sentences": [
            {
                "id": line.sentence.id,
                "words": line.sentence.words,
                "document": line.sentence.document,
                "pinned": line.pinned,
                "held": line.held,
                "scenarios": [_scenario(result) for result in line.results],
            }
            for line in coverage.lines
        ],
        "scenarios_without_a_sentence": [_scenario(result) for result in coverage.without],
        "unknown_sentences": [str(error) for error in coverage.unknown],
    }


def _scenario(result: ScenarioResult) -> dict[str, Any]:
    return {
        "name": result.scenario.name,
        "file": result.scenario.file.as_posix(),
        "passed": result.passed,
    }


def dump(coverage: Coverage) -> str:
    """The document as text: stable order of keys, one line feed at the end."""
    return json.dumps(document(coverage), indent=1, ensure_ascii=False) + "\n"
