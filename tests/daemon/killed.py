"""``fieldbeat agent`` that kills itself at the n-th point at which its disk changes.

``python -m tests.daemon.killed N FILE …``: N 0 never; FILE gets the name of each point passed.
"""

from __future__ import annotations

import os
import signal
import sys

from agent.daemon import files


def main() -> None:
    last, log = int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    passed = 0

    def count(name: str) -> None:
        nonlocal passed
        passed += 1
        os.write(log, f"{name}\n".encode())
        if passed == last:
            os.kill(os.getpid(), signal.SIGKILL)

    files.on_write_point = count
    sys.argv[1:] = ["agent", *sys.argv[3:]]
    from scenarios.__main__ import main as fieldbeat

    fieldbeat()


if __name__ == "__main__":
    main()
