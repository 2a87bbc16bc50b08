"""HTTP from a device to the cloud, over its link: every failure a real client would see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlsplit

from agent.events import Event, FailureReason, RequestFailed, ResponseReceived
from cloud_stub.messages import Request, Response

from .links import RETRANSMIT_MIN_MS, SYN_INSTANTS_MS, Fate, Link

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.effects import SendRequest

    from ..streams import Stream
    from .agenda import Agenda
    from .cloudside import CloudSide, Failure

ETHERNET_MTU = 1_500
HEADERS_BYTES = 20 + 20 + 12
"""IPv4, TCP, and TCP's timestamps."""
PORTAL_PAGE = "<html><head><title>Sign in to the network</title></head></html>"


class Endpoint(Protocol):
    """The device end of an exchange."""

    @property
    def name(self) -> str: ...

    @property
    def link(self) -> Link: ...

    @property
    def life(self) -> int:
        """Changes when the process that asked is gone."""

    @property
    def trusts_certificates(self) -> bool:
        """False while the device's clock is outside the certificate's validity."""

    @property
    def link_draws(self) -> Stream: ...


class _Exchange:
    """One request on its way."""

    __slots__ = ("answer", "deadline_ms", "endpoint", "life", "request", "started_ms")

    def __init__(
        self,
        endpoint: Endpoint,
        request: SendRequest,
        answer: Callable[[int, Event], None],
        now_ms: int,
    ) -> None:
        self.endpoint = endpoint
        self.life = endpoint.life
        self.request = request
        self.answer = answer
        self.started_ms = now_ms
        self.deadline_ms = now_ms + request.timeout_ms


class Exchanges:
    """Carries requests; ``answer(life, event)`` is called once for each, unless power is lost."""

    __slots__ = ("_agenda", "_cloud", "_numbers")

    def __init__(self, agenda: Agenda, cloud: CloudSide) -> None:
        self._agenda = agenda
        self._cloud = cloud
        self._numbers = 0

    def send(
        self, endpoint: Endpoint, request: SendRequest, answer: Callable[[int, Event], None]
    ) -> None:
        """Begin an exchange: name look-up, connection, request, answer."""
        exchange = _Exchange(endpoint, request, answer, self._agenda.now_ms)
        link = endpoint.link
        if not link.up:
            self._fail(exchange, "unreachable")
        else:
            resolved, wait_ms = link.look_up(endpoint.link_draws)
            wait_ms = min(wait_ms, request.timeout_ms)
            if not resolved:
                self._agenda.after(wait_ms, self._fail, exchange, "dns")
            elif wait_ms:
                self._agenda.after(wait_ms, self._connect, exchange, 0)
            else:
                self._connect(exchange, 0)

    def _connect(self, exchange: _Exchange, tries: int) -> None:
        endpoint = exchange.endpoint
        if endpoint.life != exchange.life:
            return
        link = endpoint.link
        fate = link.fate("api", outward=True)
        if fate is Fate.NO_ROUTE:
            self._fail(exchange, "unreachable")
        elif fate is Fate.REJECT:
            self._fail(exchange, "refused")
        elif fate is Fate.DROP or link.fate("api", outward=False) is not Fate.PASS:
            following = tries + 1
            if following < len(SYN_INSTANTS_MS):
                at_ms = exchange.started_ms + SYN_INSTANTS_MS[following]
                self._at(exchange, at_ms, self._connect, following)
            else:
                self._time_out(exchange)
        elif link.captive:
            page = Response(status=200, body=PORTAL_PAGE, headers={"content-type": "text/html"})
            self._agenda.after(self._trip_ms(endpoint), self._return, exchange, page, 0)
        elif not endpoint.trusts_certificates:
            self._agenda.after(2 * self._trip_ms(endpoint), self._fail, exchange, "tls")
        elif _too_large(link, _request_bytes(exchange.request)):
            self._time_out(exchange)
        else:
            self._agenda.after(self._trip_ms(endpoint), self._arrive, exchange, 0)

    def _arrive(self, exchange: _Exchange, tries: int) -> None:
        fate = exchange.endpoint.link.fate("api", outward=True)
        if fate is Fate.REJECT:
            self._fail(exchange, "reset")
        elif fate is not Fate.PASS:
            self._retransmit(exchange, self._arrive, tries)
        else:
            self._numbers += 1
            asked = exchange.request
            if self._cloud.running:  # else nobody is there to take it
                self._count("requests", exchange, 1)
                self._count("bytes_sent", exchange, _request_bytes(asked))
            parts = urlsplit(asked.path)
            request = Request(
                id=self._numbers,
                method=asked.method,
                path=parts.path,
                query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                headers=asked.headers,
                body=asked.body,
            )
            self._cloud.submit(
                request,
                exchange.endpoint.link_draws if self._cloud.door.share < 1.0 else None,
                lambda answer: self._answered(exchange, answer),
            )

    def _answered(self, exchange: _Exchange, answer: Response | Failure) -> None:
        if answer == "timeout":
            self._time_out(exchange)
        elif answer == "refused":
            self._agenda.after(self._trip_ms(exchange.endpoint), self._fail, exchange, "refused")
        else:
            assert isinstance(answer, Response)
            trip_ms = self._trip_ms(exchange.endpoint)
            self._agenda.after(trip_ms, self._return, exchange, answer, 0)

    def _return(self, exchange: _Exchange, response: Response, tries: int) -> None:
        endpoint = exchange.endpoint
        if endpoint.life != exchange.life:
            return
        if self._agenda.now_ms >= exchange.deadline_ms:
            self._fail(exchange, "timeout")
        elif endpoint.link.fate("api", outward=False) is not Fate.PASS:
            self._retransmit(exchange, self._return, tries, response)
        elif _too_large(endpoint.link, _response_bytes(response)):
            self._time_out(exchange)
        else:
            self._count("bytes_received", exchange, _response_bytes(response))
            headers = {name.lower(): value for name, value in response.headers.items()}
            event = ResponseReceived(
                id=exchange.request.id, status=response.status, headers=headers, body=response.body
            )
            exchange.answer(exchange.life, event)

    def _count(self, what: str, exchange: _Exchange, amount: int) -> None:
        traffic = self._cloud.history.traffic
        if traffic is not None:
            traffic.add(what, self._agenda.now_ms, exchange.endpoint.name, amount)

    def _retransmit(
        self, exchange: _Exchange, resume: Callable[..., None], tries: int, *more: Response
    ) -> None:
        wait = RETRANSMIT_MIN_MS << min(tries, 9)
        self._at(exchange, self._agenda.now_ms + wait, resume, *more, tries + 1)

    def _at(
        self, exchange: _Exchange, at_ms: int, resume: Callable[..., None], *more: object
    ) -> None:
        if at_ms >= exchange.deadline_ms:
            self._time_out(exchange)
        else:
            self._agenda.after(at_ms - self._agenda.now_ms, resume, exchange, *more)

    def _time_out(self, exchange: _Exchange) -> None:
        wait = max(0, exchange.deadline_ms - self._agenda.now_ms)
        self._agenda.after(wait, self._fail, exchange, "timeout")

    def _fail(self, exchange: _Exchange, reason: FailureReason) -> None:
        if exchange.endpoint.life == exchange.life:
            event = RequestFailed(id=exchange.request.id, reason=reason)
            self._agenda.after(0, exchange.answer, exchange.life, event)

    def _trip_ms(self, endpoint: Endpoint) -> int:
        """One way through the link; only a bad one needs randomness."""
        link = endpoint.link
        if link.jitter_ms or link.loss:
            return link.trip_ms(endpoint.link_draws)
        return link.latency_ms + link.extra_latency_ms


def _too_large(link: Link, message_bytes: int) -> bool:
    """A black hole swallows full-size packets; what fits one small packet passes."""
    return link.mtu is not None and min(message_bytes + HEADERS_BYTES, ETHERNET_MTU) > link.mtu


def _request_bytes(request: SendRequest) -> int:
    """The HTTP/1.1 message: its first line, headers and body."""
    first = len(f"{request.method} {request.path} HTTP/1.1\r\n")
    return first + _header_bytes(request.headers) + _body_bytes(request.body)


def _response_bytes(response: Response) -> int:
    """The HTTP/1.1 message: its first line, headers and body."""
    return len("HTTP/1.1 200 OK\r\n") + _header_bytes(response.headers) + _body_bytes(response.body)


def _header_bytes(headers: Mapping[str, str]) -> int:
    return 2 + sum(len(name) + len(value) + 4 for name, value in headers.items())


def _body_bytes(body: object) -> int:
    if body is None:
        return 0
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    return len(text.encode())
