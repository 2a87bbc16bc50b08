"""Running something until it is told to stop: logs, signals, and what systemd wants to hear."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import click

from ..clock import SPEED_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..clock import Clock


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logs(*, as_json: bool) -> None:
    """Logs to standard error, one line a record."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_Json() if as_json else plain)
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger("fieldbeat").setLevel(logging.INFO)
    # what a client sends that is no HTTP is answered with 400; it is no event of ours
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


def notify(text: str) -> None:
    """Tell systemd, if it started us (``sd_notify``)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect(address)
            channel.sendall(text.encode())
        except OSError:
            logging.getLogger("fieldbeat.cloud").warning("systemd does not listen at %s", address)


async def _watchdog() -> None:
    """Tell systemd that the loop runs, twice in its time."""
    period_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
    while period_s > 0:
        notify("WATCHDOG=1")
        await asyncio.sleep(period_s)


class Service:
    """What runs until it is told to stop."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        """Set by SIGINT and SIGTERM."""
        self._watchdog: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """From now on signals are asked to wait for an orderly end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked)
        return self

    def _asked(self) -> None:
        notify("STOPPING=1")
        self.stop.set()

    def ready(self, status: str) -> None:
        """Tell systemd that we serve, with a line for ``systemctl status``."""
        notify(f"READY=1\nSTATUS={status}")
        self._watchdog = asyncio.create_task(_watchdog())

    async def __aexit__(self, *_: object) -> None:
        """It is over."""
        if self._watchdog is not None:
            self._watchdog.cancel()


def run(
    work: Coroutine[Any, Any, None], clock: Clock | None = None, *, small: bool = False
) -> None:
    """Run on uvloop, where it is installed and time is the system's.

    Args:
        work: what to run.
        clock: whose time it is; the system's where not given.
        small: the standard loop, which takes 3 MB less and is quick enough for one device.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if clock is not None and clock.speed != 1:
        factory = clock.loop
    elif not small:
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:  # an extra: the standard loop does, at less speed
            pass
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


SPEED = click.option(
    "--speed",
    type=click.FloatRange(0.1, SPEED_MAX),
    default=1.0,
    show_default=True,
    metavar="N",
    help="Let time run N times as fast.",
)
