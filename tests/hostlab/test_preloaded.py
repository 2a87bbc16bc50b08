"""A program that is forked, not started, is as much the device's as one that ``ip`` starts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from scenarios.errors import LabError
from scenarios.hostlab import netns
from scenarios.hostlab.preloaded import Preloaded
from tests.hostlab.lab import needs_host

DEADLINE_S = 180.0
NAMES = "nameserver 192.0.2.1\n"


async def _forked(namespace: str, folder: Path) -> None:
    agents = Preloaded()
    await agents.start()
    (folder / "resolv.conf").write_text(NAMES)
    words = ("cloud", "--listen", "127.0.0.1:0", "--vpn", "off", "--db")
    begun = [
        await agents.agent(
            (*words, str(folder / f"db{number}")),
            namespace=namespace,
            place=folder,
            log=folder / "log",
            environment=dict(os.environ),
        )
        for number in range(2)
    ]
    # at once: else a power cut would not meet it
    there = netns.pids(namespace)
    assert len(there) == 2
    seen = Path(f"/proc/{there[0]}")
    assert (seen / "root/etc/resolv.conf").read_text() == NAMES
    async with asyncio.timeout(DEADLINE_S):
        while "fieldbeat cloud listens" not in (folder / "log").read_text():
            assert not any(program.ended for program in begun)
            await asyncio.sleep(0.01)
        netns.kill_all(namespace)
        await asyncio.gather(*(program.wait() for program in begun))
        refused = await agents.agent(
            ("agent", "--config", str(folder / "none")),
            namespace=namespace,
            place=folder,
            log=folder / "said",
            environment=dict(os.environ),
        )
        await refused.wait()
        assert "none" in (folder / "said").read_text()
        assert "Traceback" not in (folder / "said").read_text()
        with pytest.raises(LabError, match=r"no agent could be started: .*No such file"):
            await agents.agent(
                ("agent",),
                namespace=f"{namespace}-is-gone",
                place=folder,
                log=folder / "lost",
                environment=dict(os.environ),
            )
    await agents.close()


def test_a_forked_program_is_at_its_device_and_dies_there(tmp_path: Path) -> None:
    needs_host()
    names = netns.Names()
    assert Path("/etc/resolv.conf").read_text() != NAMES
    try:
        asyncio.run(_forked(names.make("d1"), tmp_path))
        assert Path("/etc/resolv.conf").read_text() != NAMES
    finally:
        names.remove()
