"""Take a behaviour away and see whether a scenario of the library still holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.cloudlink import CloudlinkClient
from agent.poll import Poll
from cloud_stub import status
from cloud_stub.heartbeat import Tracker
from cloud_stub.observe import judged
from scenarios.compile import compile_variants
from tests.histories import not_held

LIBRARY = Path(__file__).parents[1] / "scenarios" / "library"
Patch = Callable[[pytest.MonkeyPatch], None]
Mutation = tuple[str, str, Patch]
"""A scenario of the library, a behaviour, and how to take it away."""


def names_of(*folders: str) -> set[str]:
    """The scenarios of some folders of the library, as ``folder/name``."""
    return {
        path.relative_to(LIBRARY).as_posix().removesuffix(".scenario.yaml")
        for folder in folders
        for path in (LIBRARY / folder).rglob("*.scenario.yaml")
    }


def holds(name: str) -> bool:
    """Whether a scenario of the library holds now, in each of its variants."""
    judged.cache_clear()  # of the rules as they are now, and
    try:
        variants = compile_variants(LIBRARY / f"{name}.scenario.yaml")
        return not any(not_held(scenario) for scenario in variants)
    finally:
        judged.cache_clear()  # not as they were while something was missing


def noticed(mutations: Sequence[Mutation]) -> Callable[..., None]:
    """A test of each row: its scenario holds, and no longer does without the behaviour."""

    @pytest.mark.parametrize(
        ("name", "behaviour", "remove"),
        mutations,
        ids=[f"{name.split('/')[1]}: {behaviour}" for name, behaviour, _ in mutations],
    )
    def test(name: str, behaviour: str, remove: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
        assert behaviour
        assert holds(name)
        remove(monkeypatch)
        assert not holds(name), f"{name} holds without: {behaviour}"

    return test


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


def online_until_further_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "due", lambda self, *, now_ms: None)
    monkeypatch.setattr(Tracker, "next_deadline_ms", lambda self: None)


def dead_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    def due(self: CloudlinkClient, _now_ms: int) -> list[Any]:
        self._next_ms = None
        return []

    monkeypatch.setattr(CloudlinkClient, "_due", due)


def polls_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Poll, "_failed", lambda *_, **__: None)
