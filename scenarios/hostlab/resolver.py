"""A site's resolver: real DNS over UDP, at an address of its own in the cloud's namespace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from .netns import socket_in
from .places import DNS_PORT, HOSTS

if TYPE_CHECKING:
    import socket

    from ..streams import Stream
    from ..verbs import Dns, Fault

TTL_S = 0
"""So that every look-up meets the resolver."""


class Resolver(asyncio.DatagramProtocol):
    """Of one site."""

    def __init__(self, namespace: str, address: str, *, draws: Stream, speed: float) -> None:
        """Nothing is answered before ``change``.

        Args:
            namespace: of the cloud.
            address: its own.
            draws: for faults that meet a share of the questions.
            speed: how much faster than real time its latency is.
        """
        self._namespace, self._address = namespace, address
        self._draws, self._speed = draws, speed
        self._fault: Fault | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self.asked = 0
        """Questions that came."""

    async def change(self, fault: Dns | None) -> None:
        """Be well, or as a fault says; where nobody listens the kernel says so (``down``)."""
        self._fault = fault
        down = fault is not None and fault.state == "down" and fault.share >= 1
        if down:
            self.close()
        elif self._transport is None:
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: self, sock=self._socket()
            )

    def _socket(self) -> socket.socket:
        from socket import AF_INET, SOCK_DGRAM

        made = socket_in(self._namespace, AF_INET, SOCK_DGRAM, 0)
        made.bind((self._address, DNS_PORT))
        return made

    def close(self) -> None:
        """Stop listening."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A question."""
        self.asked += 1
        fault = self._fault
        hit = fault is not None and self._draws.random() < fault.share
        state = fault.state if fault is not None and hit else "up"
        if state == "hang":
            return
        code = {"error": dns.rcode.SERVFAIL, "down": dns.rcode.REFUSED}.get(state)
        answer = answer_to(data, code)
        if answer is None:
            return
        wait_s = fault.latency_ms / 1_000 / self._speed if fault is not None else 0.0
        if wait_s:
            asyncio.get_running_loop().call_later(wait_s, self._say, answer, addr)
        else:
            self._say(answer, addr)

    def _say(self, answer: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(answer, addr)


def answer_to(question: bytes, code: dns.rcode.Rcode | None) -> bytes | None:
    """The answer to a question; ``None`` where it is none.

    Args:
        question: as it came.
        code: answer with this; ``None``: with what is true.
    """
    try:
        asked = dns.message.from_wire(question)
    except (dns.exception.DNSException, ValueError):
        return None
    if asked.flags & dns.flags.QR or len(asked.question) != 1:
        return None
    answer = dns.message.make_response(asked, recursion_available=True)
    (about,) = asked.question
    host = HOSTS.get(about.name.to_text(omit_final_dot=True).lower())
    if code is not None:
        answer.set_rcode(code)
    elif host is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif about.rdtype == dns.rdatatype.A:
        answer.answer.append(dns.rrset.from_text(about.name, TTL_S, "IN", "A", host))
    return answer.to_wire()
