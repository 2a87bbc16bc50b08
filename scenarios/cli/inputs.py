"""Which scenario files a command works on: paths, the packaged library, and ``-k``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError, InputErrors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..model import Scenario

LIBRARY = Path(__file__).resolve().parent.parent / "library"
"""The scenarios that come with the package."""
SUFFIX = ".scenario.yaml"
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


def near(path: Path) -> Path:
    """The path as seen from the working directory, where it lies below."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):
        return path


def compile_all(paths: Iterable[Path], *, devices: int | None = None) -> list[Scenario]:
    """Compile files; raises ``InputErrors`` with the mistakes of all of them."""
    from ..compile import compile_file

    scenarios: list[Scenario] = []
    errors: list[InputError] = []
    for path in paths:
        try:
            scenarios.append(compile_file(path, devices=devices))
        except InputError as error:
            errors.append(error)
        except InputErrors as several:
            errors.extend(several.errors)
    if errors:
        raise InputErrors(errors)
    return scenarios


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
