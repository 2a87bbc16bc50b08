"""A VPN client of the program, for tests that are its server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.daemon.cloudlink import Cloudlink
from agent.tunnel.inprocess import InProcessDevice

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp


async def _call(*_: Any) -> tuple[int, Any]:
    return 404, None


def client(
    session: aiohttp.ClientSession, port: int, clock_ms: Callable[[], int], speed: float
) -> Cloudlink:
    """One that connects to a port of loopback and tells nobody of it."""
    return Cloudlink(
        f"http://127.0.0.1:{port}",
        session=session,
        who=lambda: ("a" * 32, "key"),
        end=lambda: InProcessDevice(clock_ms=clock_ms),
        call=_call,
        changed=lambda _: None,
        clock_ms=clock_ms,
        speed=speed,
    )
