"""Calls devices' supervisor APIs at the address they report, where that can be reached.

On the real cloud such calls go through the VPN; a stub in the same network as its boards reaches
them directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from ..model import IDENTITY, PLATFORM

if TYPE_CHECKING:
    from ..messages import CallDevice
    from .desk import Desk

TIMEOUT_S = 49.0
_ADDRESS, _SECRET = IDENTITY.index("ip_address"), IDENTITY.index("api_secret")
_PORT = PLATFORM.index("api_port")


class Reach:
    """One HTTP client for all devices."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def call(self, call: CallDevice) -> tuple[int | None, Any]:
        """Status and body of a device's answer; ``None`` where there is none."""
        device = self._desk.cloud.devices.get(call.uuid)
        if device is None or device.identity[_ADDRESS] is None or device.platform[_PORT] is None:
            return None, None
        host = str(device.identity[_ADDRESS]).split()[0]
        url = f"http://{host}:{device.platform[_PORT]}{call.path}"
        try:
            async with self._session.request(
                call.method,
                url,
                params={"apikey": device.identity[_SECRET] or ""},
                json=None if call.method == "GET" else dict(call.body),
            ) as answer:
                if answer.content_type == "application/json":
                    return answer.status, await answer.json()
                return answer.status, await answer.text() or None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None, None

    async def close(self) -> None:
        """Close the client."""
        await self._session.close()
