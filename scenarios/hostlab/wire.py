"""A wire that can be bad: two interfaces of a namespace, and packets carried between.

Both ends are TUN interfaces of this process: they vanish with it, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import time

from ..errors import LabError
from ..streams import Stream
from .idle import Proxy
from .netns import inside
from .quality import CLEAR, Middlebox, Quality, Way

DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_PACKET_MAX = 65_536
_LOOK_S = 0.01
"""Real seconds between two looks for idle connections, at least."""
_TURN = 64
"""Packets carried before others have their turn."""


def can_have_wires() -> str:
    """Why this process cannot make TUN interfaces; empty: it can."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        return f"{DEVICE}: {(error.strerror or '').lower()}"
    return ""


class Wire:
    """Between a device and its site's router."""

    def __init__(
        self, namespace: str, *, seed: int, name: str, speed: float, remembers: bool
    ) -> None:
        """Make both interfaces, ``wire0`` at the device's end and ``wire1``.

        Nothing is carried before ``start``.

        Args:
            namespace: where they are.
            seed: of the run.
            name: of the device, for the stream of randomness.
            speed: how much faster than real time this link's seconds are.
            remembers: it has a middlebox and a proxy, which learn connections from packets.

        Raises:
            LabError: there is no TUN device, or it may not be used.
        """
        self.quality = CLEAR
        self.lost = 0
        """Packets that vanished."""
        self._speed, self._remembers = speed, remembers
        self._box, self._proxy = Middlebox(), Proxy()
        self._looking: asyncio.TimerHandle | None = None
        self._out = Way(Stream(seed, "wire", name, "out"))
        self._in = Way(Stream(seed, "wire", name, "in"))
        self._device = _tun(namespace, "wire0")
        try:
            self._router = _tun(namespace, "wire1")
        except LabError:
            os.close(self._device)
            raise

    def start(self) -> None:
        """Carry packets from now on."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._device, self._read, self._device, self._router, self._out)
        loop.add_reader(self._router, self._read, self._router, self._device, self._in)

    def close(self) -> None:
        """Both interfaces vanish."""
        loop = asyncio.get_running_loop()
        if self._looking is not None:
            self._looking.cancel()
        for file in (self._device, self._router):
            loop.remove_reader(file)
            os.close(file)
        self._device = self._router = -1

    def change(self, quality: Quality) -> None:
        """The link is so good, or bad, from now on."""
        self.quality = quality
        if self._looking is None:
            self._look()

    def _look(self) -> None:
        """The proxy closes what is idle, as long as there is one."""
        limit_ms, self._looking = self.quality.idle_timeout_ms, None
        if limit_ms is None:
            return
        limit_s = limit_ms / 1_000
        for inward, outward in self._proxy.closes(time.monotonic() * self._speed, limit_s):
            self._write(self._device, inward)
            self._write(self._router, outward)
        wait_s = max(_LOOK_S, limit_s / 20 / self._speed)
        self._looking = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _read(self, source: int, to: int, way: Way) -> None:
        for _ in range(_TURN):
            try:
                packet = os.read(source, _PACKET_MAX)
            except OSError:
                return
            wait_s = self._fate(packet, way)
            if wait_s is None:
                self.lost += 1
            elif wait_s <= 0:
                self._write(to, packet)
            else:
                loop = asyncio.get_running_loop()
                loop.call_later(wait_s / self._speed, self._write, to, packet)

    def _fate(self, packet: bytes, way: Way) -> float | None:
        now_s, outward = time.monotonic() * self._speed, way is self._out
        if self._remembers:
            limit_ms = self.quality.nat_timeout_ms
            limit_s = None if limit_ms is None else limit_ms / 1_000
            if not self._box.passes(packet, now_s, outward=outward, limit_s=limit_s):
                return None
        wait_s = 0.0
        if self.quality is not CLEAR:
            passes_s = way.wait_s(len(packet), self.quality, now_s)
            if passes_s is None:
                return None
            wait_s = passes_s
        if self._remembers:
            self._proxy.saw(packet, now_s, outward=outward)
        return wait_s

    def _write(self, to: int, packet: bytes) -> None:
        if self._device < 0:
            return
        with contextlib.suppress(OSError):  # the other interface is down
            os.write(to, packet)


def _tun(namespace: str, name: str) -> int:
    with inside(namespace):
        try:
            file = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise LabError(f"{DEVICE}: {(error.strerror or '').lower()}") from None
        try:
            words = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
            fcntl.ioctl(file, _TUNSETIFF, words)
        except OSError as error:
            os.close(file)
            raise LabError(f"{name} cannot be made by {DEVICE}: {error.strerror}") from None
        return file
