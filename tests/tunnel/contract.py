"""What every kind of tunnel promises, played by two programs: a server's end and a device's.

``python -m tests.tunnel.contract server|device KIND FOLDER HOST``.  They meet in files of a
folder, so that each may be in a network namespace of its own, joined by a wire.  Each prints
``kept`` and exits with status 0, or says which promise was broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.tunnel import channel
from agent.tunnel.kinds import device_end, server_end
from agent.tunnel.plan import Plan, as_text, key_of, read_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 120.0
PSK = bytes(range(32))
_NUMBERS = count()
"""Of pings."""
BLOCK_S = 20
"""Longer than the 15 s after which WireGuard begins anew where data stays unanswered."""
NOBODY = "02:00:00:00:00:01"
ADDRESS, NETWORK = "10.64.0.2", "10.64.0.1/16"


class BrokenError(Exception):
    """A promise was not kept."""


def say(folder: Path, name: str, value: Any) -> None:
    """Tell the other end something."""
    part = folder / f"{name}.part"
    part.write_text(json.dumps(value))
    part.rename(folder / f"{name}.json")


async def hear(folder: Path, name: str) -> Any:
    """What the other end says, once it does.

    Raises:
        BrokenError: it did not in time.
    """
    end_s = time.monotonic() + WAIT_S
    while not (folder / f"{name}.json").exists():
        if time.monotonic() > end_s:
            raise BrokenError(f"the other end never said {name}")
        await asyncio.sleep(0.05)
    return json.loads((folder / f"{name}.json").read_text())


async def serve(kind: str, folder: Path, host: str) -> None:
    """The server's end."""
    end = server_end(kind)
    sources: set[str] = set()

    def heard(address: str, datagram: bytes) -> None:
        sources.add(address)
        message = channel.Reader().take(datagram)
        if message is not None:
            end.say(address, channel.write(message._replace(kind=channel.PONG))[0])

    await end.open(host, 0, NETWORK, heard)
    try:
        say(folder, "server", {"public_key": as_text(end.public), "port": end.port})
        public = key_of(await hear(folder, "device"), "public_key")
        await end.add(public, PSK, ADDRESS)
        plan = Plan(
            public=end.public,
            psk=PSK,
            port=end.port,
            address=ADDRESS,
            server=NETWORK.partition("/")[0],
            ping_ms=1_000,
            ping_exit_ms=6_000,
        )
        say(folder, "plan", plan.words())
        await hear(folder, "answered")
        if sources != {ADDRESS}:
            raise BrokenError(f"words came from {sources}")
        counted = (await end.received()).get(public, 0)
        if counted < 148:
            raise BrokenError(f"it counted {counted} bytes of a client that shook hands")
        await hear(folder, "blocked")
        before = (await end.received()).get(public, 0)
        await hear(folder, "silent")
        if (await end.received()).get(public, 0) != before:
            raise BrokenError("it counted bytes that nobody can have sent")
        say(folder, "counted", True)
        await hear(folder, "heard")
        if (await end.received()).get(public, 0) <= before:
            raise BrokenError("it counted nothing of a client that is heard again")
        await end.remove(public)
        say(folder, "removed", True)
        await hear(folder, "unanswered")
        if (await end.received()).get(public):
            raise BrokenError("a client that was removed is still known")
    finally:
        await end.close()


async def connect(kind: str, folder: Path, host: str) -> None:
    """The device's end."""
    end = device_end(kind)
    got: list[bytes] = []
    say(folder, "device", {"public_key": as_text(end.public)})
    plan = read_plan(await hear(folder, "plan"))
    await end.open(plan, host, got.append)
    try:
        if not await _pinged(end, got, 30):
            raise BrokenError("no ping was answered")
        say(folder, "answered", True)
        with blocked(host):
            await asyncio.sleep(0.5)  # what was on its way arrives
            say(folder, "blocked", True)
            got.clear()
            if await _pinged(end, got, BLOCK_S):
                raise BrokenError("a ping was answered through a wire that carries nothing")
            say(folder, "silent", True)
            await hear(folder, "counted")
        began_s = time.monotonic()
        if not await _pinged(end, got, 30):
            raise BrokenError("the tunnel stays silent though its way is open again")
        print(f"after {BLOCK_S} s without a way heard again in {time.monotonic() - began_s:.1f} s")
        say(folder, "heard", True)
        await hear(folder, "removed")
        got.clear()
        if await _pinged(end, got, 3):
            raise BrokenError("a server that forgot us answered")
        say(folder, "unanswered", True)
    finally:
        await end.close()


@contextlib.contextmanager
def blocked(host: str) -> Iterator[None]:
    """What we send is lost on the wire, and nobody is told: it goes to a card that is not there."""
    wire = re.search(r"\bdev (\S+)", _ip("route", "get", host))
    if wire is None:
        raise BrokenError(f"there is no wire to {host}")
    _ip("neigh", "replace", host, "lladdr", NOBODY, "dev", wire[1], "nud", "permanent")
    try:
        yield
    finally:
        _ip("neigh", "del", host, "dev", wire[1])


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


async def _pinged(end: Any, got: list[bytes], tries: int) -> bool:
    """Whether one of these pings is answered; an answer to an earlier one may still come."""
    asked = {next(_NUMBERS) for _ in range(tries)}
    for number in sorted(asked):
        end.say(channel.write(channel.Message(channel.PING, number, None))[0])
        for _ in range(20):
            await asyncio.sleep(0.05)
            found = [channel.Reader().take(datagram) for datagram in got]
            if any(message is not None and message.number in asked for message in found):
                return True
    return False


if __name__ == "__main__":
    role, kind, folder, host = sys.argv[1:]
    work = serve if role == "server" else connect
    try:
        asyncio.run(work(kind, Path(folder), host))
    except (BrokenError, OSError) as error:
        sys.exit(f"{role} by {kind}: {error}")
    print("kept")
