"""Ports that nobody is given by chance: for programs that cannot be asked which one they got."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_CHOSEN_BY_THE_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DRAWS = random.SystemRandom()


def free_port() -> int:
    """A port of loopback, TCP and UDP, that is free and below those that the kernel gives away.

    One of the kernel's own may be some other connection's a moment later, and whoever calls a
    port of them where nobody listens may be put through to itself.
    """
    end = int(_CHOSEN_BY_THE_KERNEL.read_text().split()[0])
    while True:
        port = _DRAWS.randrange(min(20_000, end // 2), end)
        try:
            with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
                for made in (tcp, udp):
                    made.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
