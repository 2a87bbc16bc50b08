"""When TCP sends again: a tunnel that falls silent over a lossy link, one whose peer is no more.

Cloudlink is one TCP connection.  What follows a lost segment waits behind it, and each try to send
it again comes after twice the time, so a few losses in a row are a minute of silence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud_stub.settings import VpnSettings

    from ..streams import Stream
    from .links import Link

RETRANSMIT_MAX_MS = 120_000
"""Linux' longest retransmission time-out (``TCP_RTO_MAX``)."""


def chance(link: Link, *, ping_interval_ms: int, limit_ms: int) -> float:
    """That TCP stands still from a ping on until an end has heard nothing for its limit.

    Args:
        link: with its loss.
        ping_interval_ms: the ping before was heard.
        limit_ms: after so much silence the end gives up.
    """
    if not 0 < link.loss < 1:
        return 0.0
    left_ms, wait_ms = limit_ms - ping_interval_ms, link.retransmission_ms
    # tries at 0, 1, 3, 7, … times the time-out: all of them in vain
    tries = 1 + math.floor(math.log2(max(0, left_ms - 1) / wait_ms + 1))
    return link.lost_either_way**tries


def pings_until(risk: float, draws: Stream) -> int | None:
    """After how many pings that were heard it happens; ``None``: hardly ever.

    Args:
        risk: of each ping.
        draws: of the device's link.
    """
    if risk <= 0 or risk >= 1:
        return None if risk <= 0 else 0
    return math.floor(math.log(1 - draws.random()) / math.log1p(-risk))


def stand_stills(link: Link, settings: VpnSettings, draws: Stream) -> tuple[int | None, int | None]:
    """After how many pings the client, and the server, has heard nothing for too long.

    Args:
        link: of the device.
        settings: of cloudlink: how often it pings, and when each end gives up.
        draws: of the device's link; none are taken where nothing is lost.
    """
    period_ms = settings.ping_interval_ms
    risks = (
        chance(link, ping_interval_ms=period_ms, limit_ms=limit_ms)
        for limit_ms in (settings.client_timeout_ms, settings.server_timeout_ms)
    )
    client, server = (pings_until(risk, draws) for risk in risks)
    return client, server


def sent_again_ms(link: Link, first_ms: int, after_ms: int) -> int:
    """When a segment that nobody acknowledges is sent for the first time after a moment.

    Args:
        link: how long a round trip is.
        first_ms: it was sent first.
        after_ms: that moment.
    """
    at_ms, wait_ms = first_ms, link.retransmission_ms
    while at_ms <= after_ms:
        at_ms += wait_ms
        wait_ms = min(2 * wait_ms, RETRANSMIT_MAX_MS)
    return at_ms
