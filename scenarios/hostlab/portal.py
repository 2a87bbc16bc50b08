"""A captive portal: the site's router answers every HTTP request with its own page."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from aiohttp import web

from ..simulation.links import HELD_BY_PORTAL
from . import nft
from .netns import socket_in
from .places import PLACES

if TYPE_CHECKING:
    from .places import Site

PORT = 80
TABLE = "fieldbeat_portal"
PAGE = """<!doctype html>
<html><head><title>Sign in to the network</title></head>
<body><form method="post"><input name="room"><button>Sign in</button></form></body></html>
"""


class Portal:
    """Of one site."""

    def __init__(self, site: Site) -> None:
        """Nothing stands in the way before ``on``."""
        self._site = site
        self._runner: web.AppRunner | None = None
        self.answered = 0
        """Requests that met the page."""

    async def on(self) -> None:
        """Answer new HTTP connections, and let nothing else through."""
        if self._runner is not None:
            return
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._page)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        listening = socket_in(self._site.router, socket.AF_INET, socket.SOCK_STREAM, 0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self._site.gateway, PORT))
        await web.SockSite(self._runner, listening).start()
        held = [PLACES[name] for name in sorted(HELD_BY_PORTAL) if name in PLACES]
        nft.apply(self._site.router, nft.portal(TABLE, "lan0", PORT, held=held))

    async def off(self) -> None:
        """Let everything pass."""
        if self._runner is None:
            return
        nft.delete(self._site.router, TABLE)
        await self.close()

    async def close(self) -> None:
        """Stop answering; the rule goes with the namespace."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _page(self, _: web.Request) -> web.Response:
        self.answered += 1
        return web.Response(text=PAGE, content_type="text/html")
