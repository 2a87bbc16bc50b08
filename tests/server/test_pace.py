"""Images flow at the rate that a test asks for, shared by what one address pulls."""

from __future__ import annotations

import asyncio

from cloud_stub.server.faults import MADE_UP_S, Pace
from scenarios.clock import FastLoop


def _passed_s(*pulls: tuple[str, int]) -> float:
    """How long pulls of so many bytes take at once, at 100 bytes per second."""
    loop = FastLoop(1_000)

    async def main() -> float:
        pace, began_s = Pace(), loop.time()

        async def pull(address: str, size: int) -> None:
            for _ in range(size // 100):
                await pace.keep(address, 100, 100)

        await asyncio.gather(*(pull(address, size) for address, size in pulls))
        return loop.time() - began_s

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def test_bytes_take_their_time() -> None:
    assert _passed_s(("10.0.0.1", 2_000)) >= 20


def test_two_pulls_of_an_address_share_its_rate() -> None:
    assert _passed_s(("10.0.0.1", 2_000), ("10.0.0.1", 2_000)) >= 40


def test_addresses_that_wait_for_nothing_are_forgotten() -> None:
    loop = FastLoop(1_000)

    async def many() -> int:
        pace = Pace()
        for number in range(50):
            await pace.keep(f"10.0.0.{number}", 0, 1)
        await asyncio.sleep(2 * MADE_UP_S)
        await pace.keep("10.0.0.1", 0, 1)
        return len(pace.waiting)

    try:
        assert loop.run_until_complete(many()) <= 1
    finally:
        loop.close()


def test_what_flowed_a_little_too_late_is_made_up_for() -> None:
    loop = FastLoop(1)

    async def late() -> float:
        pace, began_s = Pace(), loop.time()
        pace.waiting["10.0.0.1"] = began_s - MADE_UP_S / 2
        await pace.keep("10.0.0.1", 1, 100)
        return pace.waiting["10.0.0.1"] - began_s

    try:
        assert loop.run_until_complete(late()) < 0.01
    finally:
        loop.close()


def test_what_flowed_long_ago_is_not_made_up_for() -> None:
    loop = FastLoop(1_000)

    async def late() -> float:
        pace, began_s = Pace(), loop.time()
        pace.waiting["10.0.0.1"] = began_s - 2 * MADE_UP_S
        await pace.keep("10.0.0.1", 100, 100)
        return pace.waiting["10.0.0.1"] - began_s

    try:
        assert loop.run_until_complete(late()) >= 1.0
    finally:
        loop.close()
