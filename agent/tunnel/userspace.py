"""WireGuard by wireguard-go: a process with a TUN device, configured through its UAPI socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import uapi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .uapi import Got, PeerSet

SOCKETS = Path("/var/run/wireguard")
READY_S = 10.0
PROGRAMS = {"wireguard-go": "wireguard-go", "ip": "iproute2"}


async def ip(*words: str) -> None:
    """Run ``ip``.

    Raises:
        OSError: it failed, with its words.
    """
    process = await asyncio.create_subprocess_exec(
        "ip", *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise OSError(f"ip {' '.join(words)}: {said.decode(errors='replace').strip()}")


class UserspaceInterface:
    """An interface of a wireguard-go of its own."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._socket = SOCKETS / "none.sock"

    async def up(self, name: str, *, private: bytes, port: int | None, address: str) -> None:
        """Start wireguard-go.

        Raises:
            OSError: it is not installed, or may not make a TUN device.
        """
        missing = [package for tool, package in PROGRAMS.items() if shutil.which(tool) is None]
        if missing:
            raise OSError(f"a tunnel in user space needs programs: apt install {' '.join(missing)}")
        self._process = await asyncio.create_subprocess_exec(
            "wireguard-go",
            "-f",
            name,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "LOG_LEVEL": "silent"},
        )
        self._socket = SOCKETS / f"{name}.sock"
        try:
            await self._ready(name)
            await uapi.ask(self._socket, uapi.set_request(private=private, listen_port=port))
            await ip("addr", "add", address, "dev", name)
            await ip("link", "set", name, "mtu", "1420", "up")
        except uapi.UapiError as error:
            raise OSError(str(error)) from None

    @property
    def pid(self) -> int | None:
        """Of wireguard-go."""
        return None if self._process is None else self._process.pid

    async def _ready(self, name: str) -> None:
        assert self._process is not None
        # the loop's clock may be a fast one; the program starts in real time
        end_s = time.monotonic() + READY_S
        while not self._socket.exists():
            if self._process.returncode is not None:
                raise OSError(f"wireguard-go could not make {name}: it needs root and /dev/net/tun")
            if time.monotonic() > end_s:
                raise OSError(f"wireguard-go does not answer for {name}")
            await asyncio.sleep(0.005)

    async def set(self, peers: Iterable[PeerSet]) -> None:
        """Add, change or remove peers; an interface that is gone has none."""
        with contextlib.suppress(uapi.UapiError):
            await uapi.ask(self._socket, uapi.set_request(peers=peers))

    async def got(self) -> Got:
        """What it knows; nothing, once it is gone."""
        try:
            return await uapi.ask(self._socket, uapi.GET)
        except uapi.UapiError:
            return uapi.Got()

    async def down(self) -> None:
        """End the process; the interface goes with it."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(READY_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._process = None
        self._socket.unlink(missing_ok=True)
