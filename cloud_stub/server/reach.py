"""Calls devices' supervisor APIs at the address they report, where that can be reached.

On the real cloud such calls go through the VPN; a stub in the same network as its boards reaches
them directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from ..model import IDENTITY, PLATFORM
from .vpn_calls import by_tcp

if TYPE_CHECKING:
    from ..messages import CallDevice
    from .desk import Desk

_ADDRESS, _SECRET = IDENTITY.index("ip_address"), IDENTITY.index("api_secret")
_PORT = PLATFORM.index("api_port")


class Reach:
    """One HTTP client for all devices."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._session = aiohttp.ClientSession()

    async def call(self, call: CallDevice) -> tuple[int | None, Any]:
        """Status and body of a device's answer; ``None`` where there is none."""
        device = self._desk.cloud.devices.get(call.uuid)
        if device is None or device.identity[_ADDRESS] is None or device.platform[_PORT] is None:
            return None, None
        host = str(device.identity[_ADDRESS]).split()[0]
        url = f"http://{host}:{device.platform[_PORT]}{call.path}"
        secret = str(device.identity[_SECRET] or "")
        return await by_tcp(self._session, call.method, url, call.body, secret)

    async def close(self) -> None:
        """Close the client."""
        await self._session.close()
