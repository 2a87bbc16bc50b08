"""A real wireguard-go, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKETS = Path("/var/run/wireguard")


def needs_wireguard_go() -> None:
    """Skip where it cannot run."""
    missing = [name for name in ("wireguard-go", "ip", "ping") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'a TUN device'}")


@contextmanager
def wireguard_go(name: str, address: str) -> Iterator[Path]:
    """An interface of its own; its UAPI socket."""
    started = subprocess.Popen(
        ["wireguard-go", "-f", name],
        env={**os.environ, "LOG_LEVEL": "error"},
        stdout=subprocess.DEVNULL,
    )
    try:
        socket, end_s = SOCKETS / f"{name}.sock", time.monotonic() + 120
        while not socket.exists():
            assert time.monotonic() < end_s
            assert started.poll() is None
            time.sleep(0.01)
        subprocess.run(["ip", "addr", "add", address, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield socket
    finally:
        started.kill()
        started.wait()
        (SOCKETS / f"{name}.sock").unlink(missing_ok=True)
