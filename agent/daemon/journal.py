"""``POST /v2/journal-logs``: the journal of the board, from ``journalctl``."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

CHUNK = 64 * 1024
PROGRAM = "journalctl"
_TEXTS = (("unit", "--unit"), ("since", "--since"), ("until", "--until"))


class NoJournal(Exception):  # noqa: N818  # it is the name of what is the case
    """There is no such program here."""


def arguments(asked: Mapping[str, Any]) -> list[str]:
    """The command's arguments: ``all``, ``follow``, ``count``, ``unit``, ``format``, …"""
    found = [name for key, name in (("all", "--all"), ("follow", "--follow")) if _true(asked, key)]
    with contextlib.suppress(TypeError, ValueError):
        count = int(asked.get("count", 0))
        if count > 0:
            found.append(f"--lines={count}")
    found += [f"{name}={asked[key]}" for key, name in _TEXTS if isinstance(asked.get(key), str)]
    found.append(f"--output={asked['format'] if isinstance(asked.get('format'), str) else 'short'}")
    container = asked.get("containerId")
    if isinstance(container, str):
        found.append(f"CONTAINER_ID_FULL={container}")
    return found


def _true(asked: Mapping[str, Any], key: str) -> bool:
    return asked.get(key) in (True, "true", "1", "on", 1)


async def lines(asked: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """What the journal says, as it comes; the program ends with whoever reads.

    Raises:
        NoJournal: at the first step.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise NoJournal(f"{PROGRAM} is not on this board")
    process = await asyncio.create_subprocess_exec(
        program,
        "--no-pager",
        *arguments(asked),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        while part := await process.stdout.read(CHUNK):
            yield part
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
