"""Names are looked up by a fast loop's clock, as the C library does it at speed 1."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import dns.rcode
import pytest

from scenarios import resolving
from scenarios.clock import FastLoop
from scenarios.hostlab.places import HOSTS, NAMES
from scenarios.hostlab.resolver import answer_to

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = "127.0.0.1"
NOISE = b"\0" * 20
SOON_S = 1.0
"""Of the loop: what is sent over loopback has arrived."""


class _Answers(asyncio.DatagramProtocol):
    def __init__(
        self, answer: Callable[[bytes, int], bytes | None], in_vain: Callable[[], None]
    ) -> None:
        self.asked, self._answer, self._in_vain = 0, answer, in_vain

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        answer = self._answer(data, self.asked)
        if answer is not None:
            self._transport.sendto(answer, addr)
        if answer in (None, NOISE):
            asyncio.get_running_loop().call_later(SOON_S, self._in_vain)


def _looked_up(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[bytes, int], bytes | None],
    host: str = NAMES["api"],
) -> tuple[str, int]:
    """The address that comes out, and how often was asked; raises what the look-up does."""
    loop = FastLoop(50, own_lookups=True)
    really, tries = asyncio.timeout, list[asyncio.Timeout]()

    def patient(delay_s: float) -> asyncio.Timeout:
        # it ends when the question is known to be in vain: no busy machine is too slow for that
        assert delay_s == resolving.TRY_S
        tries.append(really(None))
        return tries[-1]

    def in_vain() -> None:
        tries[-1].reschedule(loop.time())

    monkeypatch.setattr(asyncio, "timeout", patient)

    async def main() -> tuple[str, int]:
        transport, answers = await loop.create_datagram_endpoint(
            lambda: _Answers(answer, in_vain), local_addr=(SERVER, 0)
        )
        monkeypatch.setattr(resolving, "PORT", transport.get_extra_info("sockname")[1])
        monkeypatch.setattr(resolving, "server_for", lambda _: SERVER)
        try:
            found = await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
        except OSError as error:
            error.add_note(f"asked {answers.asked} times")
            raise
        finally:
            transport.close()
        return found[0][4][0], answers.asked

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def test_a_name_becomes_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _looked_up(monkeypatch, lambda data, _: answer_to(data, None))
    assert found == (HOSTS[NAMES["api"]], 1)


def test_a_question_that_is_lost_is_asked_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _looked_up(monkeypatch, lambda data, n: answer_to(data, None) if n > 1 else None)
    assert found == (HOSTS[NAMES["api"]], 2)


def test_an_answer_to_something_else_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _looked_up(monkeypatch, lambda data, n: answer_to(data, None) if n > 1 else NOISE)
    assert found == (HOSTS[NAMES["api"]], 2)


@pytest.mark.parametrize("code", [None, dns.rcode.SERVFAIL])
def test_silence_and_failure_are_temporary(
    monkeypatch: pytest.MonkeyPatch, code: dns.rcode.Rcode | None
) -> None:
    with pytest.raises(socket.gaierror) as failure:
        _looked_up(monkeypatch, lambda data, _: None if code is None else answer_to(data, code))
    assert failure.value.errno == socket.EAI_AGAIN
    assert failure.value.__notes__ == [f"asked {resolving.TRIES} times"]


def test_a_name_that_is_not_there_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(socket.gaierror) as failure:
        _looked_up(monkeypatch, lambda data, _: answer_to(data, None), "nobody.fieldbeat.test")
    assert failure.value.errno == socket.EAI_NONAME
    assert failure.value.__notes__ == ["asked 1 times"]


def test_an_address_is_asked_of_nobody() -> None:
    assert resolving.server_for("10.1.2.3") is None
    assert resolving.server_for("fd00::1") is None


def test_the_first_name_server_of_the_file_is_asked() -> None:
    text = "# a comment\nsearch example.com\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n"
    assert resolving.name_server(text) == "10.0.0.1"
    assert resolving.name_server("search example.com\n") is None
