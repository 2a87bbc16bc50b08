"""How a behaviour is taken away from the cores, for the tests that ask who notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloud_stub import status

Patch = Callable[[pytest.MonkeyPatch], None]


def without_rung(row: str) -> Patch:
    """Drop a row of the table of overall_status."""
    return _ladder(lambda rungs: tuple(rung for rung in rungs if rung.row != row))


def rung_before(row: str, other: str) -> Patch:
    """Put a row of the table above another."""

    def moved(rungs: tuple[status.Rung, ...]) -> tuple[status.Rung, ...]:
        if not {row, other} <= {rung.row for rung in rungs}:
            return rungs
        rest = [rung for rung in rungs if rung.row != row]
        place = next(i for i, rung in enumerate(rest) if rung.row == other)
        return (*rest[:place], next(r for r in rungs if r.row == row), *rest[place:])

    return _ladder(moved)


def _ladder(change: Callable[[tuple[status.Rung, ...]], tuple[status.Rung, ...]]) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        ladders = {profile: change(rungs) for profile, rungs in status._LADDERS.items()}
        monkeypatch.setattr(status, "_LADDERS", ladders)

    return patch


def without(owner: Any, name: str, instead: Callable[..., Any] = lambda *_, **__: None) -> Patch:
    """Replace a method or function."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(owner, name, instead)

    return patch


def around(owner: Any, name: str, wrap: Callable[..., Any]) -> Patch:
    """Replace a method or function by one that is given the original first."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **given: Any) -> Any:
            return wrap(original, *args, **given)

        monkeypatch.setattr(owner, name, wrapped)

    return patch
