"""Who ends a host lab is told that, and nothing of what asyncio finds open."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import pytest

from scenarios.interrupts import terminated_as_interrupted, undisturbed

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger("asyncio")


@pytest.fixture(autouse=True)
def level() -> Iterator[int]:
    """Of asyncio's log; it is the same afterwards."""
    before = LOG.level
    yield before
    LOG.setLevel(before)


def test_cleaning_up_is_silent_and_cannot_be_interrupted(level: int) -> None:
    with undisturbed():
        assert not LOG.isEnabledFor(logging.ERROR)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert LOG.level == level


def test_after_an_interrupt_nothing_is_told_of_what_was_left_open() -> None:
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
        signal.raise_signal(signal.SIGTERM)
    assert not LOG.isEnabledFor(logging.ERROR)


def test_what_ends_in_order_leaves_the_log_as_it_was(level: int) -> None:
    with terminated_as_interrupted():
        pass
    assert LOG.level == level
