"""Which scenario files a command works on: paths, the packaged library, and ``-k``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..durations import suggest
from ..errors import InputError, InputErrors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..model import Scenario
    from ..params import Given

LIBRARY = Path(__file__).resolve().parent.parent / "library"
"""The scenarios that come with the package."""
SUFFIX = ".scenario.yaml"
PARAMS = click.option(
    "-p",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the scenarios; again for more.",
)
TUNNEL = click.option(
    "--tunnel",
    type=click.Choice(["inprocess", "userspace", "kernel"]),
    default="inprocess",
    show_default=True,
    help="In the host lab: what cloudlink's WireGuard is made of.",
)


def files(paths: Sequence[str]) -> list[Path]:
    """The scenario files under ``paths``, each once; without paths the packaged library."""
    found: dict[Path, Path] = {}
    for path in [Path(text) for text in paths] or [near(LIBRARY)]:
        if path.is_dir():
            inside = sorted(p for p in path.rglob(f"*{SUFFIX}") if p.is_file())
            if not inside:
                raise InputError(f"no *{SUFFIX} in this folder", path)
            for file in inside:
                found.setdefault(file.resolve(), file)
        elif path.exists():
            found.setdefault(path.resolve(), path)
        else:
            raise InputError("no such file or folder", path)
    return list(found.values())


def save(path: Path, text: str) -> None:
    """Write a file, and the folders above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file's name need not be UTF-8, and a locale may read it otherwise; JSON knows \udcff too
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"cannot be written: {(error.strerror or '').lower()}", path) from None


def can_be_saved(path: Path) -> None:
    """Notice before hours of work that ``save`` would fail after them; raises ``InputError``."""
    try:
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
    except OSError as error:
        raise InputError(f"cannot be written: {(error.strerror or '').lower()}", path) from None
    if path.is_dir():
        reason = "is a directory"
    elif there != path and not there.is_dir():
        reason = f"{there} is not a directory"
    elif not os.access(there, os.W_OK):
        reason = f"no permission to write {'it' if there == path else f'in {there}'}"
    else:
        return
    raise InputError(f"cannot be written: {reason}", path)


def near(path: Path) -> Path:
    """The path as seen from the working directory, where it lies below."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):
        return path


def given_of(words: Sequence[str]) -> Given:
    """What ``-p name=value …`` says; raises ``InputError``."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InputError(f"-p {word!r} is no parameter", hint="-p mode=reject")
        found[name] = (*found.get(name, ()), value)
    return found


def compile_all(
    paths: Iterable[Path],
    *,
    devices: int | None = None,
    seed: int | None = None,
    given: Given | None = None,
) -> list[Scenario]:
    """Compile files, each for every variant; raises ``InputErrors`` with all mistakes."""
    from ..compile import compile_variants

    scenarios: list[Scenario] = []
    errors: list[InputError] = []
    for path in paths:
        try:
            made = compile_variants(path, devices=devices, seed=seed, given=given or {})
            scenarios.extend(made)
        except InputError as error:
            errors.append(error)
        except InputErrors as several:
            errors.extend(several.errors)
    if errors:
        raise InputErrors(errors)
    if given:
        _refuse_unknown(given, scenarios)
    return scenarios


def _refuse_unknown(given: Given, scenarios: Sequence[Scenario]) -> None:
    """Raise ``InputError`` for a parameter that no file has."""
    known = sorted({name for scenario in scenarios for name in scenario.known_params})
    for name in given:
        if name not in known:
            hint = suggest(name, known) or f"parameters: {', '.join(known) or 'none'}"
            raise InputError(f"-p {name}: no scenario has this parameter", hint=hint)


def selected(scenarios: Sequence[Scenario], expression: str | None) -> list[Scenario]:
    """The scenarios an expression selects; raises ``InputError`` if there is none."""
    if expression is None:
        return list(scenarios)
    wanted = selector(expression)
    chosen = [s for s in scenarios if wanted(s.name, s.tags)]
    if not chosen:
        raise InputError(f"-k {expression!r} selects none of {len(scenarios)} scenarios")
    return chosen


def selector(expression: str) -> Callable[[str, Sequence[str]], bool]:
    """A test of name and tags: words (part of the name or of a tag), and, or, not, parentheses."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    if not tokens or len(tokens) > 100:
        raise InputError(f"-k {expression!r} is no expression", hint="words, and, or, not, ( )")
    parser = _Selection(expression, tokens)
    test = parser.either()
    if parser.tokens:
        parser.refuse()
    return test


class _Selection:
    """Recursive descent over a ``-k`` expression."""

    __slots__ = ("expression", "tokens")

    def __init__(self, expression: str, tokens: list[str]) -> None:
        self.expression = expression
        self.tokens = tokens

    def refuse(self) -> None:
        """Complain about what comes next."""
        what = f"at {self.tokens[0]!r}" if self.tokens else "at its end"
        raise InputError(
            f"-k {self.expression!r} cannot be read {what}", hint="words, and, or, not, ( )"
        )

    def either(self) -> Callable[[str, Sequence[str]], bool]:
        """``both (or both)*``."""
        tests = [self.both()]
        while self.tokens[:1] == ["or"]:
            self.tokens.pop(0)
            tests.append(self.both())
        return lambda name, tags: any(test(name, tags) for test in tests)

    def both(self) -> Callable[[str, Sequence[str]], bool]:
        """``single (and single)*``."""
        tests = [self.single()]
        while self.tokens[:1] == ["and"]:
            self.tokens.pop(0)
            tests.append(self.single())
        return lambda name, tags: all(test(name, tags) for test in tests)

    def single(self) -> Callable[[str, Sequence[str]], bool]:
        """``not single``, parentheses, or a word."""
        if not self.tokens or self.tokens[0] in (")", "and", "or"):
            self.refuse()
        token = self.tokens.pop(0)
        if token == "not":  # noqa: S105  # a word of the expression
            inner = self.single()
            return lambda name, tags: not inner(name, tags)
        if token == "(":  # noqa: S105  # a parenthesis
            grouped = self.either()
            if self.tokens[:1] != [")"]:
                self.refuse()
            self.tokens.pop(0)
            return grouped
        word = token.lower()
        return lambda name, tags: word in name.lower() or any(word in t.lower() for t in tags)
