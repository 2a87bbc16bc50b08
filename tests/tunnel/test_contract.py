"""Every kind of tunnel keeps what ``contract`` says, with every kind at the other end.

The kernel's kind needs the kernel's module: ``.ci/kernel`` runs it in a virtual machine.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scenarios.hostlab.netns import Names, batch, run
from tests.tunnel.go import needs_wireguard_go

if TYPE_CHECKING:
    from pathlib import Path

SERVER, DEVICE = "10.203.0.1", "10.203.0.2"


@pytest.mark.parametrize("device", ["inprocess", "userspace"])
@pytest.mark.parametrize("server", ["inprocess", "userspace"])
def test_what_a_tunnel_promises(tmp_path: Path, server: str, device: str) -> None:
    needs_wireguard_go()
    names = Names()
    try:
        here, there = names.make("contract1"), names.make("contract2")
        run(
            *("ip", "-n", here, "link", "add", "v0", "type", "veth"),
            *("peer", "name", "v0", "netns", there),
        )
        for namespace, address in ((here, SERVER), (there, DEVICE)):
            batch([f"addr add {address}/24 dev v0", "link set v0 up"], inside=namespace)
        inside, program = ("ip", "netns", "exec"), (sys.executable, "-m", "tests.tunnel.contract")
        programs = [
            subprocess.Popen(
                [*inside, namespace, *program, role, kind, str(tmp_path), SERVER],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for namespace, role, kind in ((here, "server", server), (there, "device", device))
        ]
        said = [started.communicate(timeout=400)[0] for started in programs]
    finally:
        names.remove()
    assert [words.splitlines()[-1:] for words in said] == [["kept"], ["kept"]], said
