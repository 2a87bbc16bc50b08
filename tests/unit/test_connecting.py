"""TCP's tries to connect are made by the clock of a loop that runs fast."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from scenarios.clock import FastLoop
from scenarios.connecting import can_try, connect
from scenarios.simulation.links import CONNECT_GIVEN_UP_MS, SYN_INSTANTS_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SPEED = 200.0


def _connected(via: Callable[[socket.socket, Any, int], Awaitable[None]]) -> tuple[bool, float]:
    """Whether the given socket is connected in the end, and after how many of the loop's seconds.

    ``via`` is told which try it is, and the loop's own way to connect with.
    """
    loop = FastLoop(SPEED)

    async def main() -> tuple[bool, float]:
        tries = 0
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as given:
            given.setblocking(False)

            async def numbered(one: socket.socket, address: Any) -> None:
                nonlocal tries
                tries += 1
                await via(one, address, tries)

            began_s = loop.time()
            await connect(given, server.getsockname(), numbered, speed=SPEED)
            passed_s = loop.time() - began_s
            return given.getpeername() == server.getsockname(), passed_s

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


async def _really(one: socket.socket, address: Any) -> None:
    await asyncio.SelectorEventLoop.sock_connect(asyncio.get_running_loop(), one, address)  # type: ignore[arg-type]


def test_a_try_that_is_not_answered_is_followed_by_the_next_at_its_instant() -> None:
    async def third(one: socket.socket, address: Any, number: int) -> None:
        if number < 3:
            await asyncio.Event().wait()
        await _really(one, address)

    connected, passed_s = _connected(third)
    assert connected
    assert passed_s >= SYN_INSTANTS_MS[2] / 1_000


def test_a_late_answer_to_the_first_try_counts() -> None:
    again = asyncio.Event()

    async def first(one: socket.socket, address: Any, number: int) -> None:
        if number > 1:
            again.set()
            await asyncio.Event().wait()
        await again.wait()
        await _really(one, address)

    assert _connected(first)[0]


def test_a_refusal_of_any_try_ends_it() -> None:
    async def second(_: socket.socket, __: Any, number: int) -> None:
        if number < 2:
            await asyncio.Event().wait()
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        _connected(second)


def test_it_gives_up_as_long_after_the_last_try_as_the_kernel_does() -> None:
    begun: list[float] = []

    async def never(_: socket.socket, __: Any, number: int) -> None:
        del number
        begun.append(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        _connected(never)
    assert len(begun) == len(SYN_INSTANTS_MS)
    assert 2 * SYN_INSTANTS_MS[-1] + 1_000 == CONNECT_GIVEN_UP_MS


def test_a_fast_loop_connects_with_what_it_was_given() -> None:
    loop = FastLoop(SPEED)

    async def main() -> None:
        server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()

    loop.run_until_complete(main())
    loop.close()


def test_sockets_of_other_kinds_and_bound_ones_are_the_kernels() -> None:
    with socket.socket() as plain, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert can_try(plain)
        assert not can_try(bound)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert not can_try(datagrams)
