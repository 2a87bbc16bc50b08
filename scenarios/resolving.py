"""Looking names up by the clock of a loop that runs faster than real time.

The C library waits whole seconds for a resolver, whatever our clock says: at sixty times the speed
a lost question would cost a device minutes.  So a lab's programs ask the resolver themselves, as
the C library does it at speed 1 (``resolv.conf(5)``: two tries of 5 s).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES, TRY_S = 2, 5.0
PORT = 53
RESOLV_CONF = Path("/etc/resolv.conf")


class _Asking(asyncio.DatagramProtocol):
    """One question."""

    def __init__(self, question: dns.message.QueryMessage) -> None:
        self._question = question
        self.answer: asyncio.Future[dns.message.Message] = (
            asyncio.get_running_loop().create_future()
        )

    def datagram_received(self, data: bytes, _addr: tuple[str | Any, int]) -> None:
        """An answer, if it is one to the question."""
        with contextlib.suppress(dns.exception.DNSException):
            found = dns.message.from_wire(data)
            if self._question.is_response(found) and not self.answer.done():
                self.answer.set_result(found)

    def error_received(self, exc: OSError) -> None:  # type: ignore[override]  # it is none other
        """Nobody listens there."""
        if not self.answer.done():
            self.answer.set_exception(exc)


def name_server(text: str) -> str | None:
    """The first that a ``resolv.conf`` names."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            return words[1]
    return None


def server_for(host: str) -> str | None:
    """The resolver to ask; ``None``: the host is an address, or there is no resolver."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return None
    try:
        return name_server(RESOLV_CONF.read_text())
    except OSError:
        return None


async def look_up(host: str, port: int, *, server: str, kind: int = 0) -> list[tuple[Any, ...]]:
    """The addresses (IPv4) of a name, as ``getaddrinfo`` gives them.

    Args:
        host: a name.
        port: put into the addresses.
        server: address of the resolver.
        kind: of the socket wanted; 0: of a stream.

    Raises:
        socket.gaierror: there is no such name, or no answer.
    """
    for _ in range(TRIES):
        answer = await _asked(host, server)
        if answer is None or answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            continue
        found: list[tuple[Any, ...]] = [
            (socket.AF_INET, kind or socket.SOCK_STREAM, 0, "", (address, port))
            for address in _addresses(answer)
        ]
        if found:
            return found
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


async def _asked(host: str, server: str) -> dns.message.Message | None:
    """The answer; ``None``: nobody listens, or answers in time."""
    loop, question = asyncio.get_running_loop(), dns.message.make_query(host, dns.rdatatype.A)
    transport, asking = await loop.create_datagram_endpoint(
        lambda: _Asking(question), remote_addr=(server, PORT)
    )
    try:
        transport.sendto(question.to_wire())
        async with asyncio.timeout(TRY_S):
            return await asking.answer
    except OSError:  # a time-out is one too
        return None
    finally:
        transport.close()


def _addresses(answer: dns.message.Message) -> Iterator[str]:
    for rows in answer.answer:
        if rows.rdtype == dns.rdatatype.A:
            for row in rows:
                yield row.address
