"""The host lab without root: the same lab inside namespaces of its own, where the kernel lets us.

In a user namespace the program is root of nothing but what it makes.  With namespaces of mounts
and of processes around it nothing can be left behind: all goes with its first process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from agent.daemon.processes import python

from ..errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

INSIDE = "FIELDBEAT_UNPRIVILEGED"
_UNSHARE = (
    *("unshare", "--user", "--map-root-user", "--net", "--mount"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
_BEGIN = 'mount -t tmpfs none /run && export TMPDIR=/run && exec "$@"'
REMEDY = "run it as root, or have the kernel allow user namespaces to everybody"


def enter(arguments: Sequence[str]) -> None:
    """Go on as root of namespaces of our own, where we are root of nothing; else do nothing.

    Args:
        arguments: of the command line, for the program that takes this one's place.

    Raises:
        LabError: the kernel does not let us.
    """
    if os.geteuid() == 0:
        return
    if shutil.which("unshare") is None:
        raise LabError(f"the host lab needs root, or unshare: apt install util-linux; {REMEDY}")
    begin = (*_UNSHARE, "sh", "-c", _BEGIN, "sh")
    tried = subprocess.run(  # noqa: S603  # our own words
        (*begin, "true"), capture_output=True, text=True, check=False
    )
    if tried.returncode:
        words = (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1]
        raise LabError(f"the host lab makes network namespaces ({words}): {REMEDY}")
    sys.stdout.flush()
    os.environ[INSIDE] = "1"
    os.execvp(begin[0], (*begin, *python(), "-m", "scenarios", *arguments))  # noqa: S606
